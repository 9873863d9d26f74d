package firewall

import (
	"math/bits"
	"regexp"
)

// set is a set of rules, a bit each.
type set []uint64

func newSet(rules int) set { return make(set, (rules+63)/64) }

func (s set) add(rule int) { s[rule/64] |= 1 << (rule % 64) }

// join adds all rules of another set.
func (s set) join(other set) {
	for i, w := range other {
		s[i] |= w
	}
}

// first is the first rule that is in all of the sets, or Default.
func first(a, b, c, d set) int {
	for i := range a {
		if w := a[i] & b[i] & c[i] & d[i]; w != 0 {
			return i*64 + bits.TrailingZeros64(w)
		}
	}
	return Default
}

// names knows which rules a name satisfies, for one of the four that messages have.
type names struct {
	others   set            // for names that no rule spells out
	exact    map[string]set // for those that one does
	patterns []pattern
	seen     memory[string, set] // of both, with the patterns; only if there are some
}

// pattern is a regular expression with the rules that have it.
type pattern struct {
	re    *regexp.Regexp
	rules set
}

// compileNames compiles the conditions of all rules on one name. They are valid.
func compileNames(conditions []string) names {
	n := names{others: newSet(len(conditions)), exact: map[string]set{}}
	patterns := map[string]set{}
	for rule, c := range conditions {
		text, ok := expression(c)
		of := n.others
		switch {
		case ok:
			of = member(patterns, text, len(conditions))
		case c != "":
			of = member(n.exact, c, len(conditions))
		}
		of.add(rule)
	}
	for _, s := range n.exact {
		s.join(n.others)
	}
	for text, rules := range patterns {
		n.patterns = append(n.patterns, pattern{regexp.MustCompile("^" + text + "$"), rules})
	}
	if len(n.patterns) > 0 {
		n.seen = newMemory[string, set](nameMemory)
	}
	return n
}

// member is the set of a key, made where there was none.
func member(of map[string]set, key string, rules int) set {
	s, ok := of[key]
	if !ok {
		s = newSet(rules)
		of[key] = s
	}
	return s
}

// rules are the rules that a name satisfies.
func (n *names) rules(name string) set {
	known, ok := n.exact[name]
	if !ok {
		known = n.others
	}
	if len(n.patterns) == 0 {
		return known
	}
	if s, ok := n.seen.get(name); ok {
		return s
	}
	s := newSet(len(known) * 64)
	s.join(known)
	for _, p := range n.patterns {
		if p.re.MatchString(name) {
			s.join(p.rules)
		}
	}
	n.seen.put(name, s)
	return s
}
