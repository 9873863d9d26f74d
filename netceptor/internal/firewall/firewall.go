// Package firewall decides about data messages by rules on the names of their
// ends. The first rule all of whose conditions hold decides; where none does, the
// message is accepted.
//
// Rules are compiled once. Each of the four names (source and destination, node
// and service) is looked up by itself and gives the set of rules that it
// satisfies; the first rule in all four sets decides. A set comes from a map for
// exact conditions and from the regular expressions for the others, whose result
// is remembered by name. The decision is remembered by flow, so that nearly
// every message costs one look at a table. Both memories are bounded: names that
// somebody invents push out others, which are then worked out again, and do no
// more harm.
//
// A Firewall takes no lock, and for a flow that it knows allocates nothing. It
// does no input or output and has no clock.
package firewall

import (
	"fmt"
	"sync/atomic"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// MaxRules bounds the rules of a node. A set of rules is kept for every name that
// a regular expression has seen; this makes it half a kilobyte at most.
const MaxRules = 4096

// The sizes of the memories, in entries: hundreds of kilobytes.
const (
	flowMemory = 4096
	nameMemory = 1024 // for each of the four names
)

// Default is the rule of a Verdict that no rule gave.
const Default = -1

// Verdict is what is to become of a message, and why.
type Verdict struct {
	Action Action
	Rule   int // index of the rule that decided; Default: none did
}

// Flow is the names of a message.
type Flow struct{ FromNode, ToNode, FromService, ToService string }

// Names gives the names of nodes by their hash.
type Names interface{ Name(node uint64) string }

// Firewall decides by rules. Its methods may be called concurrently. A nil
// *Firewall has no rules.
type Firewall struct {
	rules    []Rule
	actions  []Action
	names    [4]names // by FromNode, ToNode, FromService, ToService
	flows    memory[Key, int]
	counters []atomic.Uint64 // by rule, the last one is of the messages that no rule decided
}

// Compile makes a Firewall; of no rules it is nil. The error names the first rule
// that is wrong.
func Compile(rules []Rule) (*Firewall, error) {
	if len(rules) == 0 {
		return nil, nil //nolint:nilnil // documented: no rules
	}
	if len(rules) > MaxRules {
		return nil, fmt.Errorf("%d rules are more than %d", len(rules), MaxRules)
	}
	f := &Firewall{
		rules:    rules,
		actions:  make([]Action, len(rules)),
		flows:    newMemory[Key, int](flowMemory),
		counters: make([]atomic.Uint64, len(rules)+1),
	}
	var conditions [4][]string
	for i, r := range rules {
		if err := r.Validate(); err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		f.actions[i], _ = parseAction(r.Action) // validated
		for at, c := range r.conditions() {
			conditions[at] = append(conditions[at], c.value)
		}
	}
	for at := range f.names {
		f.names[at] = compileNames(conditions[at])
	}
	return f, nil
}

// Decide decides about messages of a flow, and counts them for the rule.
func (f *Firewall) Decide(flow Key, names Names, messages int) Verdict {
	rule, ok := f.flows.get(flow)
	if !ok {
		rule = f.rule(flow.names(names))
		f.flows.put(flow, rule)
	}
	f.counter(rule).Add(uint64(messages))
	return f.verdict(rule)
}

// Explain is what Decide would say, without counting.
func (f *Firewall) Explain(flow Flow) Verdict {
	if f == nil {
		return Verdict{Accept, Default}
	}
	return f.verdict(f.rule(flow))
}

// Count counts a message for the rule of a verdict that Explain gave.
func (f *Firewall) Count(v Verdict) { f.counter(v.Rule).Add(1) }

// Forget forgets the decisions, as must be when the hash of a node no longer
// stands for the same name.
func (f *Firewall) Forget() {
	if f != nil {
		f.flows.clear()
	}
}

// RuleStatus is one rule, and what it has decided.
type RuleStatus struct {
	Rule     Rule
	Messages uint64
}

// Status is all rules in order, and how many messages none of them decided.
func (f *Firewall) Status() (rules []RuleStatus, undecided uint64) {
	if f == nil {
		return nil, 0
	}
	for i, r := range f.rules {
		rules = append(rules, RuleStatus{r, f.counters[i].Load()})
	}
	return rules, f.counter(Default).Load()
}

// rule finds the first rule that a flow satisfies.
func (f *Firewall) rule(flow Flow) int {
	return first(
		f.names[0].rules(flow.FromNode), f.names[1].rules(flow.ToNode),
		f.names[2].rules(flow.FromService), f.names[3].rules(flow.ToService),
	)
}

func (f *Firewall) verdict(rule int) Verdict {
	if rule == Default {
		return Verdict{Accept, Default}
	}
	return Verdict{f.actions[rule], rule}
}

func (f *Firewall) counter(rule int) *atomic.Uint64 {
	if rule == Default {
		rule = len(f.counters) - 1
	}
	return &f.counters[rule]
}

// Key is what tells flows apart: the two hashes and the two services, as they lie
// in the header of a data message.
type Key [32]byte

// KeyOf is the key of a data message with a whole header.
func KeyOf(msg wire.Data) Key { return Key(msg[wire.HeaderSize-len(Key{}):]) }

// names gives the names of a flow.
func (k Key) names(nodes Names) Flow {
	msg := wire.Data(append(make([]byte, wire.HeaderSize-len(k), wire.HeaderSize), k[:]...))
	return Flow{
		FromNode: nodes.Name(msg.From()), ToNode: nodes.Name(msg.To()),
		FromService: msg.FromService().String(), ToService: msg.ToService().String(),
	}
}
