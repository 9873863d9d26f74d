// Package check tells whether a program is a well-behaved plug: it plays the
// core to it, and for a link or a stream the medium as well, and says of each
// rule of the plug protocol whether it is kept. The rules have stable IDs,
// "link/relay-bytes", in groups.
//
// Each check has a core and a process of its own, so that none depends on
// another. The medium is TCP on loopback: an item of direction "in" listens for
// connections, one of direction "out" makes them; what their parameters mean is
// taken from the types, or from Options.
package check

import (
	"context"
	"path"
	"time"

	"github.com/project-receptor/receptor/plug/wire"
)

// DefaultTimeout is how long one check may take: well above the longest pause
// between attempts of a patient plug.
const DefaultTimeout = 30 * time.Second

// Process is a plug that runs.
type Process interface {
	// Ended is closed when the plug has ended, by itself or by Stop.
	Ended() <-chan struct{}

	// Stop ends the plug in order and waits for it. It is an error if that had
	// ended before, or ends otherwise.
	Stop() error
}

// Item says which kind of items to use in one direction, and how.
type Item struct {
	Kind string // empty: the plug's first of that role and direction

	// Params are parameters as a user writes them. In strings @PORT@ and @ADDR@
	// are the port and the host:port of the medium, @NODE@ and @SERVICE@ a
	// mesh address. Required parameters that are not named get these by their
	// type, and one called bindaddr gets 127.0.0.1.
	Params map[string]any
}

// Options say what is checked, and how.
type Options struct {
	Role string // "link" or "stream"

	// Start runs the plug, to attach to the core at socket. Whatever ends ctx
	// may kill it.
	Start func(ctx context.Context, socket string) (Process, error)

	// Describe, if set, returns what the program prints for "describe".
	Describe func(ctx context.Context) ([]byte, error)

	Listen, Dial Item          // of direction "in" and "out"
	Pattern      string        // path.Match of IDs, or a group; empty: all
	Timeout      time.Duration // of each check; 0: DefaultTimeout
	Ports        *Ports        // for listeners of the plug; nil: of their own
}

// Outcome is what came of a check.
type Outcome string

// The outcomes.
const (
	OK   Outcome = "ok"
	Fail Outcome = "FAIL"
	Skip Outcome = "skip"
)

// Result is what one check has found.
type Result struct {
	ID      string  `json:"id"`
	Outcome Outcome `json:"outcome"`
	Detail  string  `json:"detail,omitempty"` // of FAIL and skip: one line
}

// String is the result as people read it.
func (r Result) String() string {
	s := string(r.Outcome) + " " + r.ID
	if r.Detail != "" {
		s += ": " + r.Detail
	}
	return s
}

// Check is one rule: its ID never changes its meaning.
type Check struct {
	ID    string
	About string // the rule, in a line
	run   func(*stand)
}

// Checks returns those for a role that pattern names, in the order in which they run.
func Checks(role, pattern string) []Check {
	var all []Check
	all = append(all, programChecks()...)
	all = append(all, sessionChecks()...)
	switch role {
	case wire.RoleLink:
		all = append(all, linkChecks()...)
	case wire.RoleStream:
		all = append(all, streamChecks()...)
	}
	all = append(all, restartChecks(role)...)
	all = append(all, skewChecks()...)
	all = append(all, authorisationChecks(role)...)
	all = append(all, descriptorsChecks()...)
	var chosen []Check
	for _, c := range all {
		if matches(pattern, c.ID) {
			chosen = append(chosen, c)
		}
	}
	return chosen
}

// matches says whether a pattern names an ID, as a whole or by its group.
func matches(pattern, id string) bool {
	if pattern == "" || pattern == path.Dir(id) {
		return true
	}
	ok, err := path.Match(pattern, id)
	return ok && err == nil
}

// Run runs the chosen checks, one after the other, and reports each. It returns
// whether none has failed.
func Run(ctx context.Context, o Options, report func(Result)) bool {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Ports == nil {
		o.Ports = new(Ports)
	}
	good := true
	for _, c := range Checks(o.Role, o.Pattern) {
		if ctx.Err() != nil {
			return false
		}
		r := RunOne(ctx, o, c)
		good = good && r.Outcome != Fail
		report(r)
	}
	return good
}

// RunOne runs one check.
func RunOne(ctx context.Context, o Options, c Check) Result {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Ports == nil {
		o.Ports = new(Ports)
	}
	outcome, detail := try(ctx, o.Timeout, func(t *trial) { c.run(&stand{trial: t, o: &o}) })
	return Result{ID: c.ID, Outcome: outcome, Detail: detail}
}
