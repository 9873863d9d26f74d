// Package check tells whether a program is a well-behaved plug: it plays the
// core to it, for a link, a stream or datagrams the medium as well, gives a worker its units, and says of each
// rule of the plug protocol whether it is kept. The rules have stable IDs,
// "link/relay-bytes", in groups.
//
// Each check has a core and a process of its own, so that none depends on
// another. The medium is TCP on loopback, WebSocket or UDP, or none of these: an item of direction "in" listens for
// connections, one of direction "out" makes them; what their parameters mean is
// taken from the types, or from Options.
package check

import (
	"context"
	"path"
	"slices"
	"sync"
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

	// Kill ends the plug at once and waits for it.
	Kill()
}

// Mode says who carries the bytes while a plug is checked.
type Mode string

// The modes.
const (
	Both    Mode = ""        // one after the other
	Relay   Mode = "relay"   // the plug: the core grants no descriptors
	Handoff Mode = "handoff" // the core, wherever the plug hands its socket over
)

// Item says which kind of items to use in one direction, and how.
type Item struct {
	Kind string // empty: the plug's first of that role and direction

	// Params are parameters as a user writes them. In strings @PORT@ and @ADDR@
	// are the port and the host:port of the medium, @NODE@ and @SERVICE@ a
	// mesh address, @DIR@ a directory of the item's own, which is not there yet. Required parameters that are not named get these by their
	// type, and one called bindaddr gets 127.0.0.1.
	Params map[string]any
}

// Options say what is checked, and how.
type Options struct {
	Role   string // "link", "stream", "worker" or "packet"
	Medium string // MediumUDP or MediumWS, of links; MediumNone; else MediumTCP

	// Start runs the plug, to attach to the core at socket. Whatever ends ctx
	// may kill it.
	Start func(ctx context.Context, socket string) (Process, error)

	// Describe, if set, returns what the program prints for "describe".
	Describe func(ctx context.Context) ([]byte, error)

	Mode         Mode
	Listen, Dial Item          // of direction "in" and "out"
	Work         Work          // role worker
	Pattern      string        // path.Match of IDs, or a group; empty: all
	Timeout      time.Duration // of each check; 0: DefaultTimeout
	Parallel     int           // how many run at once; 0: one. Fixed addresses among the parameters allow no more
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
	Handoff bool    `json:"handoff,omitempty"` // the core has granted descriptors
	Outcome Outcome `json:"outcome"`
	Detail  string  `json:"detail,omitempty"` // of FAIL and skip: one line
}

// String is the result as people read it.
func (r Result) String() string {
	s := string(r.Outcome) + " " + r.ID
	if r.Handoff {
		s += " (hand-off)"
	}
	if r.Detail != "" {
		s += ": " + r.Detail
	}
	return s
}

// Check is one rule: its ID never changes its meaning.
type Check struct {
	ID      string
	Handoff bool   // the core grants descriptors; some rules are checked with and without
	About   string // the rule, in a line

	// PlaysMedium is of a check that is at the other end of the medium.
	PlaysMedium bool

	run       func(*stand)
	connected bool // it is about a medium with connections
}

// Checks returns those for a role and a mode that pattern names, in the order in
// which they run.
func Checks(role string, mode Mode, pattern string) []Check {
	var all []Check
	all = append(all, programChecks()...)
	all = append(all, sessionChecks(role)...)
	switch role {
	case wire.RoleLink:
		all = append(all, linkChecks()...)
	case wire.RoleStream:
		all = append(all, streamChecks()...)
	}
	all = append(all, restartChecks(role)...)
	all = append(all, skewChecks()...)
	all = append(all, authorisationChecks(role)...)
	if connects(role) {
		all = append(all, Check{
			ID:    "descriptors/not-granted",
			About: "without the feature fdpass everything is relayed over data connections",
			run:   func(s *stand) { s.both(s.exchange) }, PlaysMedium: true,
		})
	}
	for _, c := range all {
		if c.Handoff = true; handedOverAsWell(c.ID) {
			all = append(all, c)
		}
	}
	all = append(all, descriptorsChecks(role)...)
	switch role {
	case wire.RoleWorker:
		all = append(all, workerChecks()...)
	case wire.RolePacket:
		all = append(all, packetChecks()...)
	}
	return slices.DeleteFunc(all, func(c Check) bool {
		return !matches(pattern, c.ID) || mode == Relay && c.Handoff || mode == Handoff && !c.Handoff
	})
}

// handedOverAsWell says which rules hold whoever carries the bytes, but where the
// plug may keep them in one case only: it listens, opens and configures.
func handedOverAsWell(id string) bool {
	switch id {
	case "session/config", "session/config-diff", "session/config-refused", "session/drain",
		"restart/attach", "restart/listener", "restart/plug", "restart/links-again", "restart/bind",
		"skew/unknown-fields", "authorisation/secret", "authorisation/link-back-off":
		return true
	default:
		return false
	}
}

// matches says whether a pattern names an ID, as a whole or by its group.
func matches(pattern, id string) bool {
	if pattern == "" || pattern == path.Dir(id) {
		return true
	}
	ok, err := path.Match(pattern, id)
	return ok && err == nil
}

// Run runs the chosen checks and reports each, in their order. It returns whether
// none has failed.
func Run(ctx context.Context, o Options, report func(Result)) bool {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Ports == nil {
		o.Ports = new(Ports)
	}
	checks := Checks(o.Role, o.Mode, o.Pattern)
	results := make([]chan Result, len(checks))
	turn := make(chan struct{}, max(o.Parallel, 1))
	var running sync.WaitGroup
	defer running.Wait()
	for i := range checks {
		results[i] = make(chan Result, 1)
	}
	running.Go(func() {
		for i, c := range checks {
			turn <- struct{}{}
			running.Go(func() {
				defer func() { <-turn }()
				if ctx.Err() == nil {
					results[i] <- RunOne(ctx, o, c)
				}
				close(results[i])
			})
		}
	})
	good := true
	for _, result := range results {
		r, ran := <-result
		if !ran {
			return false // ctx is done
		}
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
	outcome, detail := try(ctx, o.Timeout, func(t *trial) {
		s := &stand{trial: t, o: &o, handoff: c.Handoff}
		switch {
		case c.PlaysMedium && !s.plays():
			s.skip("the medium is none that is played here")
		case c.connected && s.datagrams():
			s.skip("the medium has no connections")
		}
		c.run(s)
	})
	return Result{ID: c.ID, Handoff: c.Handoff, Outcome: outcome, Detail: detail}
}
