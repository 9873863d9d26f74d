package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v2"

	"github.com/project-receptor/receptor/plug/schema"
)

// ParseYAML reads the items of a file called name, of either form:
//
//   - a list, of which each element is the name of a kind or a map of one kind
//     to its parameters, to a single bare value, or to nothing;
//   - a map (version 2) of kinds to parameters, and of the plurals of kinds to
//     lists of parameters.
//
// YAML is of version 1.1: yes and off are booleans, 0640 is octal. The error is
// an [Errors]; what could be read is returned beside it.
func ParseYAML(name string, b []byte) ([]Item, error) {
	r := reader{name: name}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.SetStrict(true) // a key given twice is a mistake
	var doc node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		r.yamlError(err)
		return nil, r.errs.err()
	}
	if err := d.Decode(&node{}); !errors.Is(err, io.EOF) {
		r.errs = append(r.errs, fmt.Errorf("%s: more than one YAML document", name))
	}
	switch {
	case doc.list != nil:
		for _, n := range doc.list {
			r.element(n)
		}
	case doc.keys != nil:
		for _, key := range doc.keys {
			r.section(key.name, key.value)
		}
	case doc.value != nil:
		r.errorf(doc.line, "expected a list of items, got %v", doc.value)
	}
	return r.items, r.errs.err()
}

// node is a YAML value with its line. Lists and maps keep the lines of what they hold.
type node struct {
	line  int
	value any     // the whole value
	list  []node  // its elements, if it is a list
	keys  []entry // its keys in order, if it is a map with text keys
}

// entry is one key of a map.
type entry struct {
	name  string
	value node
}

// yamlLine finds the line in an error of the YAML library.
var yamlLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)

// UnmarshalYAML implements yaml.Unmarshaler. The library tells positions in its
// errors only, so a node finds its line by asking for something impossible.
func (n *node) UnmarshalYAML(unmarshal func(any) error) error {
	var impossible func()
	var te *yaml.TypeError
	if err := unmarshal(&impossible); errors.As(err, &te) && len(te.Errors) > 0 {
		if m := yamlLine.FindStringSubmatch(te.Errors[0]); m != nil {
			n.line, _ = strconv.Atoi(m[1])
		}
	}
	if err := unmarshal(&n.value); err != nil {
		return err
	}
	switch n.value.(type) {
	case []any:
		return unmarshal(&n.list)
	case map[any]any:
		var order yaml.MapSlice
		var values map[string]node
		if err := unmarshal(&order); err != nil {
			return err
		}
		if err := unmarshal(&values); err != nil {
			return err
		}
		n.keys = []entry{}
		for _, o := range order {
			if key, isText := o.Key.(string); isText {
				n.keys = append(n.keys, entry{key, values[key]})
				delete(values, key)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(values)) { // y, 5 and such: text here, else not
			n.keys = append(n.keys, entry{key, values[key]})
		}
	}
	return nil
}

// reader turns nodes into items.
type reader struct {
	name  string
	items []Item
	errs  Errors
}

func (r *reader) errorf(line int, format string, a ...any) {
	r.errs = append(r.errs, fmt.Errorf("%s: %s", r.place(line), oneLine(fmt.Sprintf(format, a...))))
}

// oneLine escapes what would break the line of an error: texts of the file may
// hold anything.
func oneLine(s string) string {
	var b strings.Builder
	for _, c := range s {
		if unicode.IsPrint(c) {
			b.WriteRune(c)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(c), "'"))
		}
	}
	return b.String()
}

func (r *reader) place(line int) string {
	if line == 0 {
		return r.name
	}
	return fmt.Sprintf("%s:%d", r.name, line)
}

// yamlError takes over the mistakes that the YAML library found.
func (r *reader) yamlError(err error) {
	var te *yaml.TypeError
	if !errors.As(err, &te) {
		te = &yaml.TypeError{Errors: []string{err.Error()}}
	}
	for _, e := range slices.Compact(te.Errors) {
		if m := yamlLine.FindStringSubmatch(e); m != nil {
			line, _ := strconv.Atoi(m[1])
			r.errorf(line, "%s", m[2])
		} else {
			r.errorf(0, "%s", strings.TrimPrefix(e, "yaml: "))
		}
	}
}

// element reads one element of the list form.
func (r *reader) element(n node) {
	kind, isText := n.value.(string)
	switch {
	case isText:
		r.item(n.line, kind, node{})
	case len(n.keys) == 1:
		r.item(n.line, n.keys[0].name, n.keys[0].value)
	case n.keys != nil:
		names := make([]string, len(n.keys))
		for i, k := range n.keys {
			names[i] = k.name
		}
		r.errorf(n.line, "expected one kind an item, got %d: %s (is the indentation right?)", len(names), strings.Join(names, ", "))
	case n.value == nil:
		r.errorf(n.line, "item %d is empty", len(r.items)+1)
	default:
		r.errorf(n.line, "expected the name of a kind, or a map of one kind to its parameters, got %v", n.value)
	}
}

// plurals are the keys of the map form that hold lists of items, where the
// plural of a kind is not the kind with an s.
var plurals = map[string]string{
	"iprouters":       "ip-router",
	"work-kubernetes": "work-kubernetes",
}

// section reads one key of the map form.
func (r *reader) section(key string, n node) {
	kind := strings.ToLower(key)
	switch {
	case kind == "version":
		if n.value != 2 {
			r.errorf(n.line, "version: expected 2, got %v", n.value)
		}
		return
	case n.list == nil:
		r.item(n.line, kind, n)
		return
	case plurals[kind] != "":
		kind = plurals[kind]
	default:
		kind = strings.TrimSuffix(kind, "s")
	}
	for _, e := range n.list {
		r.item(e.line, kind, e)
	}
}

// item files one item.
func (r *reader) item(line int, kind string, n node) {
	item := Item{
		Kind:   canonicalKind(kind),
		Params: map[string]any{},
		Label:  r.place(line) + ": " + strings.ToLower(kind),
	}
	switch {
	case n.keys != nil:
		for _, k := range n.keys {
			add(item.Params, strings.ToLower(k.name), plain(k.value.value))
		}
	case n.list != nil:
		r.errorf(line, "%s: expected parameters, got a list", kind)
		return
	case n.value != nil:
		item.Params[schema.Bare] = plain(n.value)
	}
	r.items = append(r.items, item)
}

// plain makes the maps within a YAML value fit for JSON.
func plain(v any) any {
	switch v := v.(type) {
	case map[any]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[fmt.Sprint(k)] = plain(e)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, e := range v {
			l[i] = plain(e)
		}
		return l
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v) // JSON has no such numbers, and no parameter wants one
		}
	}
	return v
}
