package config

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/project-receptor/receptor/plug/schema"
)

// Option is a flag of a program itself, beside the items.
type Option struct {
	Name     string
	Value    bool // takes a value
	Optional bool // takes one or none
}

// CommandLine is what a command line says.
type CommandLine struct {
	Items   []Item
	Options map[string][]string // values by name; a flag without value has ""
}

// Has tells whether an option was given.
func (c *CommandLine) Has(name string) bool { return len(c.Options[name]) > 0 }

// Get returns the last value of an option, empty if there is none.
func (c *CommandLine) Get(name string) string {
	if v := c.Options[name]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// parameter matches "name=value"; the name of a parameter is one word, so that
// ws://host/path?a=b is a value without a name.
var parameter = regexp.MustCompile(`(?s)^([A-Za-z0-9_-]+)=(.*)$`)

// Parse reads a command line:
//
//	--<kind> [<parameter>=<value> ...] [<value>]
//
// with one dash or two, names in any letter case, --<kind>=<value> for a kind
// with just its bare value. "--config FILE" (-c) stands for the items of that
// file. options are the program's own flags. The error is an [Errors].
func Parse(args []string, options ...Option) (*CommandLine, error) {
	p := parser{line: &CommandLine{Options: map[string][]string{}}, options: options}
	for len(args) > 0 {
		args = p.flag(args)
	}
	return p.line, p.errs.err()
}

// parser collects what a command line says.
type parser struct {
	line    *CommandLine
	options []Option
	errs    Errors
}

// flag reads one flag with all that belongs to it and returns the rest.
func (p *parser) flag(args []string) []string {
	word, args := args[0], args[1:]
	name, value, inline := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-"), "=")
	name = strings.ToLower(name)
	switch {
	case !strings.HasPrefix(word, "-"):
		p.errorf("unexpected argument %q: expected --<kind> with parameters after it", word)
		return args
	case name == "":
		p.errorf("unexpected argument %q: expected the name of a kind after the dashes", word)
		return args
	}

	var own []string
	if inline {
		own = append(own, value)
	} else {
		for len(args) > 0 && !strings.HasPrefix(args[0], "-") {
			own, args = append(own, args[0]), args[1:]
		}
	}
	if o, ok := p.option(name); ok {
		p.setOption(o, own)
		return args
	}
	item := Item{Kind: canonicalKind(name), Params: map[string]any{}, Label: strings.Join(append([]string{name}, own...), " ")}
	for _, w := range own {
		if m := parameter.FindStringSubmatch(w); m != nil && !inline {
			add(item.Params, strings.ToLower(m[1]), m[2])
		} else {
			add(item.Params, schema.Bare, w)
		}
	}
	p.line.Items = append(p.line.Items, item)
	return args
}

func (p *parser) option(name string) (Option, bool) {
	if name == "c" || name == "config" {
		return Option{Name: "config", Value: true}, true
	}
	for _, o := range p.options {
		if o.Name == name {
			return o, true
		}
	}
	return Option{}, false
}

func (p *parser) setOption(o Option, values []string) {
	switch {
	case !o.Value && !o.Optional && len(values) > 0:
		p.errorf("--%s takes no value, got %q", o.Name, strings.Join(values, " "))
	case !o.Value && len(values) == 0:
		p.line.Options[o.Name] = append(p.line.Options[o.Name], "")
	case len(values) != 1 || values[0] == "":
		p.errorf("--%s takes one value, got %q", o.Name, strings.Join(values, " "))
	case o.Name == "config":
		items, err := ReadFile(values[0])
		p.line.Items = append(p.line.Items, items...)
		if err != nil {
			p.errs = append(p.errs, err.(Errors)...) //nolint:errorlint,forcetypeassert // says ReadFile
		}
	default:
		p.line.Options[o.Name] = append(p.line.Options[o.Name], values[0])
	}
}

func (p *parser) errorf(format string, a ...any) {
	p.errs = append(p.errs, fmt.Errorf(format, a...))
}

// ReadFile reads the items of a YAML file. The error is an [Errors]; what could
// be read is returned beside it.
func ReadFile(name string) ([]Item, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, Errors{fmt.Errorf("read configuration: %w", err)}
	}
	defer f.Close() // nothing was written
	b, err := readAll(f)
	if err != nil {
		return nil, Errors{fmt.Errorf("read configuration %s: %w", name, err)}
	}
	return ParseYAML(name, b)
}
