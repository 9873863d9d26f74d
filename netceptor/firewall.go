package netceptor

import (
	"fmt"

	"github.com/project-receptor/receptor/netceptor/internal/firewall"
	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// FirewallRule is one rule of a node's firewall. A condition that is empty always
// holds; one between slashes is a regular expression (RE2) of the whole name; any
// other is the name itself.
//
// As with existing nodes, an expression is put between ^ and $ as it is: /a|b/
// means ^a|b$, names that begin with a or end with b. The node warns of it.
//
// The source that a message names is no proof of where it comes from.
type FirewallRule struct {
	FromNode, ToNode       string
	FromService, ToService string
	Action                 string // accept, reject (its source is told) or drop, in any letter case
}

// Validate checks r. The error joins one for each mistake, which begins with the
// name of what is wrong, in lower case.
func (r FirewallRule) Validate() error { return firewall.Rule(r).Validate() }

// String is the rule as configurations write it.
func (r FirewallRule) String() string { return firewall.Rule(r).String() }

// FirewallRuleStatus is one rule of the firewall, and what it has decided. The
// last one, without a number, is of the messages that no rule decided.
type FirewallRuleStatus struct {
	Number   int    `json:"number,omitempty"` // from 1
	Rule     string `json:"rule"`
	Messages uint64 `json:"messages"`
}

// compileFirewall makes the firewall of a configuration.
func compileFirewall(rules []FirewallRule) (*firewall.Firewall, error) {
	all := make([]firewall.Rule, len(rules))
	for i, r := range rules {
		all[i] = firewall.Rule(r)
	}
	f, err := firewall.Compile(all)
	if err != nil {
		return nil, fmt.Errorf("Firewall%w", err)
	}
	return f, nil
}

// warnOfRules says which rules hardly mean what they say.
func (n *Node) warnOfRules() {
	rules, _ := n.firewall.Status()
	for i, r := range rules {
		if w := r.Rule.Warning(); w != "" {
			n.log.Warn("firewall rule may not mean what was meant", "rule", i+1, "reason", w)
		}
	}
}

// firewallStatus is the state of the rules; nil without any.
func (n *Node) firewallStatus() []FirewallRuleStatus {
	rules, undecided := n.firewall.Status()
	if rules == nil {
		return nil
	}
	all := make([]FirewallRuleStatus, 0, len(rules)+1)
	for i, r := range rules {
		all = append(all, FirewallRuleStatus{Number: i + 1, Rule: r.Rule.String(), Messages: r.Messages})
	}
	return append(all, FirewallRuleStatus{Rule: "accept (no rule)", Messages: undecided})
}

// filter asks the rules about messages with this header, of which both nodes are
// known, and counts what may not pass.
func (n *Node) filter(header []byte, messages int) firewall.Action {
	if n.firewall == nil {
		return firewall.Accept
	}
	action := n.firewall.Decide(firewall.KeyOf(header), n.table.Load(), messages).Action
	switch action {
	case firewall.Reject:
		n.counters[countRejected].Add(uint64(messages))
	case firewall.Drop:
		n.counters[countDropped].Add(uint64(messages))
	case firewall.Accept:
	}
	return action
}

// pass tells whether a message that came over a link may pass. The source of one
// that was rejected is told.
func (n *Node) pass(msg []byte) bool {
	switch n.filter(msg, 1) {
	case firewall.Reject:
		n.report(msg, wire.ProblemFirewall)
		return false
	case firewall.Drop:
		return false
	case firewall.Accept:
	}
	return true
}

// mayDial tells at once if our own rules keep the packets of a stream from going
// there or coming back. What is dropped is no secret to the node's own users.
func (n *Node) mayDial(to Addr) error {
	there, back := n.flows(to)
	for _, flow := range []firewall.Flow{there, back} {
		if v := n.firewall.Explain(flow); v.Action != firewall.Accept {
			n.firewall.Count(v)
			return blocked(n.config.NodeID, v.Rule+1, n.ruleText(v.Rule))
		}
	}
	return nil
}

// flows are those of a stream that this node dials.
func (n *Node) flows(to Addr) (there, back firewall.Flow) {
	from := ""
	if n.carrier != nil {
		from = wire.Service(n.carrier.DialService()).String()
	}
	return firewall.Flow{FromNode: n.config.NodeID, ToNode: to.Node, FromService: from, ToService: to.Service},
		firewall.Flow{FromNode: to.Node, ToNode: n.config.NodeID, FromService: to.Service, ToService: from}
}

// ruleText is the text of one of our rules.
func (n *Node) ruleText(rule int) string { return n.config.Firewall[rule].String() }

// blocked is the error for a dial that a rule of ours forbids.
func blocked(node string, number int, rule string) error {
	return fmt.Errorf("%w of node %s (rule %d: %s)", ErrBlocked, node, number, rule)
}
