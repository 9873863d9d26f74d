package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/plug/schema"
)

// firewall takes over the firewallrules of the node item.
func (s *splitter) firewall(item Item, v schema.Values) {
	text, _ := v[paramFirewall].(string)
	if text == "" {
		return
	}
	rules, err := ruleTexts(text)
	if err != nil {
		s.errorf(item, `parameter %s: expected a list such as [{"action": "reject", "toservice": "ssh"}]: %v`, paramFirewall, err)
		return
	}
	for i, text := range rules {
		rule, errs := parseFirewallRule(text)
		for _, err := range errs {
			s.errorf(item, "parameter %s: rule %d: %v", paramFirewall, i+1, err)
		}
		s.core.Firewall = append(s.core.Firewall, rule)
	}
}

// ruleTexts are the rules of a JSON list, each of which is an object or a text that
// holds one, as they are on a command line; or a single one.
func ruleTexts(text string) ([]json.RawMessage, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		return []json.RawMessage{json.RawMessage(text)}, nil
	}
	var rules []json.RawMessage
	if err := json.Unmarshal([]byte(text), &rules); err != nil {
		return nil, err
	}
	for i, r := range rules {
		var inner string
		if r[0] == '"' && json.Unmarshal(r, &inner) == nil {
			rules[i] = json.RawMessage(inner)
		}
	}
	return rules, nil
}

// parseFirewallRule reads one rule, with key names in any letter case, and finds
// all its mistakes.
func parseFirewallRule(text []byte) (rule netceptor.FirewallRule, errs []error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // a name may be a number
	var keys map[string]any
	err := d.Decode(&keys)
	if _, more := d.Token(); err != nil || keys == nil || !errors.Is(more, io.EOF) {
		return rule, []error{fmt.Errorf(`expected a map such as {"action": "reject", "toservice": "ssh"}, got %.100s`, text)}
	}
	to := map[string]*string{
		"action": &rule.Action, "fromnode": &rule.FromNode, "tonode": &rule.ToNode,
		"fromservice": &rule.FromService, "toservice": &rule.ToService,
	}
	for _, written := range slices.Sorted(maps.Keys(keys)) {
		key := strings.ToLower(written)
		field, ok := to[key]
		value, isText := scalar(keys[written])
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("unknown key %q: expected action, fromnode, tonode, fromservice or toservice", written))
		case *field != "":
			errs = append(errs, fmt.Errorf("%s: is given twice", key))
		case !isText:
			errs = append(errs, fmt.Errorf("%s: expected a text, got %.100v", key, keys[written]))
		case value == "" && field != &rule.Action:
			// To take it for no condition would make the rule wider than was meant.
			errs = append(errs, fmt.Errorf("%s: is empty; leave it out for any name", key))
		default:
			*field = value
		}
	}
	var mistakes interface{ Unwrap() []error }
	if len(errs) == 0 && errors.As(rule.Validate(), &mistakes) {
		return rule, mistakes.Unwrap()
	}
	return rule, errs
}

// scalar is the text of a value that can be one.
func scalar(v any) (text string, ok bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}
