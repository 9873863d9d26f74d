// Package schema checks the parameters of configuration items against what a
// plug (or the core) describes, and puts values of any source, flags as well as
// YAML, into one canonical form.
//
// A [wire.Kind] is the description; [Check] turns what a user wrote into
// [Values], or into one line per mistake. Values marshal to the params object
// that CONFIG carries, and checking that object again changes nothing.
package schema

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/project-receptor/receptor/plug/wire"
)

// Bare is the key, in the raw parameters given to Check, of a value that the
// user wrote without a name: "--tcp-listener 2222". It fills the kind's bare
// parameter.
const Bare = ""

// Values are the canonical parameters of an item, by lower-case name.
type Values map[string]any

// Check puts raw parameters (any letter case; values of type string, bool,
// int, int64, uint64, float64, []any, map[string]any, map[any]any, nil) into
// canonical form against k, with defaults filled in. A nil value counts as not
// given; []any is what a parameter given several times has, too. alias is the
// name that the user wrote, which may carry other defaults. All mistakes are
// returned, each an *Error with Item set to label. Check keeps none of its
// arguments and changes none.
func Check(k *wire.Kind, alias, label string, raw map[string]any) (Values, []error) {
	given, meant, errs := collect(k, label, raw)
	fallback := aliasDefaults(k, alias)
	v := make(Values, len(k.Params))
	for i := range k.Params {
		p := &k.Params[i]
		g, ok := given[p.Name]
		if !ok {
			if d, set := fallback[p.Name]; set {
				g = entry{p.Name, d}
			} else if p.Default != nil {
				g = entry{p.Name, p.Default}
			} else {
				if p.Required && !meant[p.Name] {
					errs = append(errs, &Error{Item: label, Param: p.Name, Want: want(p)})
				}
				continue
			}
		}
		c, bad := canonical(p, g.value)
		if bad != nil {
			bad.Item, bad.Param = label, g.name+bad.Param
			errs = append(errs, bad)
			continue
		}
		v[p.Name] = c
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return v, nil
}

// entry is a raw value and the name that it was written under.
type entry struct {
	name  string
	value any
}

// collect files the raw values under the names of k's parameters. meant are the
// parameters that an unknown name seems to be a slip of: one line about it is
// enough.
func collect(k *wire.Kind, label string, raw map[string]any) (given map[string]entry, meant map[string]bool, errs []error) {
	given = make(map[string]entry, len(raw))
	meant = make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		value := raw[name]
		if value == nil {
			continue
		}
		p := param(k, name)
		switch {
		case p == nil && name == Bare:
			errs = append(errs, &Error{Item: label, Problem: fmt.Sprintf("%s takes no value without a name, got %s; %s", k.Kind, got(value), takes(k))})
			continue
		case p == nil:
			meant[nearest(k, name)] = true
			errs = append(errs, &Error{Item: label, Param: name, Problem: unknown(k, name)})
			continue
		}
		if name == Bare {
			name = p.Name
		}
		if first, twice := given[p.Name]; twice {
			if !repeats(p) {
				errs = append(errs, &Error{Item: label, Param: name, Problem: fmt.Sprintf("parameter %s is given twice: %s and %s", p.Name, got(first.value), got(value))})
				continue
			}
			value = append(elements(first.value), elements(value)...)
		}
		given[p.Name] = entry{name, value}
	}
	return given, meant, errs
}

// param returns k's parameter called name in any letter case, or its bare one.
func param(k *wire.Kind, name string) *wire.Param {
	for i := range k.Params {
		p := &k.Params[i]
		if name == Bare && p.Bare || name != Bare && strings.EqualFold(p.Name, name) {
			return p
		}
	}
	return nil
}

// repeats says whether a parameter may be given several times.
func repeats(p *wire.Param) bool { return p.Repeat || p.Type == TypeList }

// elements makes a list of a value that may be one already.
func elements(v any) []any {
	if l, ok := v.([]any); ok {
		return slices.Clone(l)
	}
	return []any{v}
}

func aliasDefaults(k *wire.Kind, alias string) map[string]any {
	for _, a := range k.Aliases {
		if strings.EqualFold(a.Kind, alias) {
			return a.Defaults
		}
	}
	return nil
}

// Find returns the kind called name, or having it as an alias, in any letter case.
func Find(kinds []wire.Kind, name string) *wire.Kind {
	for i := range kinds {
		k := &kinds[i]
		if strings.EqualFold(k.Kind, name) || slices.ContainsFunc(k.Aliases, func(a wire.Alias) bool { return strings.EqualFold(a.Kind, name) }) {
			return k
		}
	}
	return nil
}

// Identity is the item's name that is stable over restarts: the kind and its
// key parameters, "tcp-listener port=2222". An optional key is left out where
// it has the kind's default, so that spelling out a default changes nothing.
func Identity(k *wire.Kind, v Values) string {
	var b strings.Builder
	b.WriteString(k.Kind)
	for i := range k.Params {
		p := &k.Params[i]
		c, ok := v[p.Name]
		if !p.Key || !ok {
			continue
		}
		s := text(c)
		if !p.Required && p.Default != nil {
			if d, bad := canonical(p, p.Default); bad == nil && text(d) == s {
				continue
			}
		}
		fmt.Fprintf(&b, " %s=%s", p.Name, quoteIfNeeded(s))
	}
	return b.String()
}
