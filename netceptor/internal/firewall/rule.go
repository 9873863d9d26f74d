package firewall

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// Action is what a rule does.
type Action int

// The actions.
const (
	Accept Action = iota
	Reject        // drop it and tell its source
	Drop
)

// String is the action as rules write it.
func (a Action) String() string { return [...]string{"accept", "reject", "drop"}[a] }

func parseAction(s string) (Action, error) {
	for _, a := range []Action{Accept, Reject, Drop} {
		if strings.EqualFold(s, a.String()) {
			return a, nil
		}
	}
	return 0, fmt.Errorf("expected accept, reject or drop, got %.100q", s)
}

// Rule is one rule. A condition that is empty always holds; one between slashes is
// a regular expression (RE2) of the whole name; any other is the name itself.
//
// As with existing nodes, the expression is put between ^ and $ as it is: /a|b/
// means ^a|b$, names that begin with a or end with b. See Warning.
type Rule struct {
	FromNode, ToNode       string
	FromService, ToService string
	Action                 string // accept, reject or drop, in any letter case
}

// condition is a condition of a rule with its name.
type condition struct {
	key, value string
	service    bool
}

func (r *Rule) conditions() [4]condition {
	return [4]condition{
		{"fromnode", r.FromNode, false},
		{"tonode", r.ToNode, false},
		{"fromservice", r.FromService, true},
		{"toservice", r.ToService, true},
	}
}

// String is the rule as users write it.
func (r Rule) String() string {
	var b strings.Builder
	b.WriteString(strings.ToLower(r.Action))
	for _, c := range r.conditions() {
		if c.value != "" {
			fmt.Fprintf(&b, " %s=%s", c.key, c.value)
		}
	}
	return b.String()
}

// Validate checks r. The error joins one for each mistake, which begins with the
// name of what is wrong.
func (r Rule) Validate() error {
	var errs []error
	if _, err := parseAction(r.Action); err != nil {
		errs = append(errs, fmt.Errorf("action: %w", err))
	}
	for _, c := range r.conditions() {
		if err := c.validate(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.key, err))
		}
	}
	return errors.Join(errs...)
}

// Warning tells of what r hardly means, empty if there is nothing.
func (r Rule) Warning() string {
	for _, c := range r.conditions() {
		text, ok := expression(c.value)
		if !ok {
			continue
		}
		as, err1 := syntax.Parse("^"+text+"$", syntax.Perl)
		grouped, err2 := syntax.Parse("^(?:"+text+")$", syntax.Perl)
		if err1 == nil && err2 == nil && !as.Equal(grouped) {
			return fmt.Sprintf("%s: /%s/ is read as ^%s$, as ever; write /(%s)/ if all of it is to match the whole name", c.key, text, text, text)
		}
	}
	return ""
}

func (c condition) validate() error {
	text, ok := expression(c.value)
	switch {
	case c.value == "":
		return nil
	case ok:
		_, err := compile(text)
		return err
	case c.value[0] == '/':
		return fmt.Errorf("expected a regular expression between slashes, got %.100q without the second one", c.value)
	case c.service:
		_, err := wire.ParseService(c.value)
		return err
	}
	return wire.CheckNodeID(c.value)
}

// expression is what is between the slashes of a condition.
func expression(condition string) (text string, ok bool) {
	if len(condition) < 2 || condition[0] != '/' || condition[len(condition)-1] != '/' {
		return "", false
	}
	return condition[1 : len(condition)-1], true
}

// compile compiles a regular expression as existing nodes do.
func compile(text string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(text); err != nil { // so that the error shows what was written
		return nil, explained(err)
	}
	re, err := regexp.Compile("^" + text + "$")
	if err != nil {
		return nil, explained(err)
	}
	return re, nil
}

// explained takes the package's words from an error of regexp.
func explained(err error) error {
	var e *syntax.Error
	if !errors.As(err, &e) {
		return err
	}
	return fmt.Errorf("expected a regular expression between slashes, got one with %s: %.100q", e.Code, e.Expr)
}
