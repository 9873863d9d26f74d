package legacy

import (
	"fmt"
	"regexp"
	"strings"
)

// Rule is a firewall rule. A condition is a text, or /regex/; an empty one holds
// always, and so does a regex that is none: an existing node loses it.
type Rule struct {
	Action                                   string // accept, reject or drop, in any letter case
	FromNode, ToNode, FromService, ToService string
}

type action int

const (
	accept action = iota
	reject
	drop
)

func (r *Rule) action() (action, error) {
	switch strings.ToLower(r.Action) {
	case "accept":
		return accept, nil
	case "reject":
		return reject, nil
	case "drop":
		return drop, nil
	}
	return 0, fmt.Errorf("the action %q is neither accept, reject nor drop", r.Action)
}

func (r *Rule) validate() error {
	_, err := r.action()
	return err
}

// firewall decides about every message that a node sees.
type firewall struct{ rules []firewallRule }

type firewallRule struct {
	action     action
	conditions [4]condition
}

// condition tells whether a name fits; nil: every name.
type condition func(name string) bool

func newFirewall(rules []Rule) *firewall {
	f := new(firewall)
	for _, r := range rules {
		a, _ := r.action() // validated
		f.rules = append(f.rules, firewallRule{a, [...]condition{
			newCondition(r.FromNode), newCondition(r.ToNode), newCondition(r.FromService), newCondition(r.ToService),
		}})
	}
	return f
}

func newCondition(text string) condition {
	expr, isRegex := strings.CutPrefix(text, "/")
	switch {
	case text == "":
		return nil
	case !isRegex:
		return func(name string) bool { return name == text }
	}
	expr, closed := strings.CutSuffix(expr, "/")
	re, err := regexp.Compile("^" + expr + "$") // without grouping: ^a|b$
	if !closed || err != nil {
		return nil
	}
	return re.MatchString
}

// decide returns what the first rule says whose conditions all hold.
func (f *firewall) decide(fromNode, toNode, fromService, toService string) action {
	names := [...]string{fromNode, toNode, fromService, toService}
next:
	for _, r := range f.rules {
		for i, c := range r.conditions {
			if c != nil && !c(names[i]) {
				continue next
			}
		}
		return r.action
	}
	return accept
}
