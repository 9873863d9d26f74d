// Package history checks what was seen of units of work, by whom and when, against the
// life that a unit may have. What a node knows of a unit is a row of versions, of which
// each takes the place of the one before. So everything that was ever told of it must
// fit into one row, and nobody may be told of an older version than somebody else was
// told of before the question. A node that has another one run a unit has a row of its
// own for it, which is never ahead of the other's, and ends as that does.
//
// There is no clock and no chance in it: the same looks have the same faults.
package history

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/project-receptor/receptor/workceptor/client"
)

// A Look is what was told of a unit.
type Look struct {
	Node string // whose unit it is
	// By names who looks, if that is one who looks again and again and must not be taken
	// back. Empty: somebody who has looked once.
	By string
	// Asked and Told are when, on one clock. A watcher has asked when it began.
	Asked, Told time.Duration
	Unit        client.Status // with Released there was none any more
}

// String implements fmt.Stringer.
func (l Look) String() string {
	what := fmt.Sprintf("%s with %d changes", l.Unit.State, len(l.Unit.History))
	if l.Unit.Released {
		what = "gone"
	}
	return fmt.Sprintf("%s (asked %v, told %v): %s", cmp.Or(l.By, "somebody"), l.Asked, l.Told, what)
}

// name is that of a unit.
type name struct{ node, unit string }

// Check returns what is wrong with the looks. Those of one who looks again and again are
// in their order.
func Check(looks []Look) (faults []error) {
	units := map[name][]Look{}
	for _, l := range looks {
		n := name{l.Node, l.Unit.ID}
		units[n] = append(units[n], l)
	}
	run, submitted := map[name]name{}, map[[2]string]string{}
	for _, n := range slices.SortedFunc(maps.Keys(units), func(a, b name) int {
		return cmp.Or(cmp.Compare(a.node, b.node), cmp.Compare(a.unit, b.unit))
	}) {
		found := checkRow(units[n])
		for _, l := range units[n] {
			if s := [2]string{n.node, l.Unit.Submission}; s[1] != "" {
				if other, twice := submitted[s]; twice && other != n.unit {
					found = fmt.Errorf("it and unit %s have one submission", other)
				}
				submitted[s] = n.unit
			}
			far := name{l.Unit.Node, l.Unit.RemoteUnit}
			if far.unit == "" {
				continue
			}
			if other, twice := run[far]; twice && other != n {
				found = fmt.Errorf("it and unit %s are one unit at %s", other.unit, far.node)
			}
			run[far] = n
			for _, there := range units[far] {
				found = errors.Join(found, checkAhead(l, there))
			}
		}
		if found != nil {
			faults = append(faults, fmt.Errorf("unit %s at %s: %w", n.unit, n.node, found))
		}
	}
	return faults
}

// checkRow checks the looks at one unit: each by itself, and each two.
func checkRow(looks []Look) error {
	var news []Look // but for what a watcher is told again
	last := map[string]Look{}
	for _, l := range looks {
		if err := sound(l.Unit); err != nil {
			return fmt.Errorf("%v: %w", l, err)
		}
		before, again := last[l.By]
		if again = again && l.By != ""; again {
			if err := follows(before.Unit, l.Unit); err != nil {
				return fmt.Errorf("%v, and then %v: %w", before, l, err)
			}
		}
		if !again || l.Asked != before.Asked || follows(l.Unit, before.Unit) != nil {
			news = append(news, l)
		}
		last[l.By] = l
	}
	slices.SortStableFunc(news, func(a, b Look) int { return cmp.Compare(a.Told, b.Told) })
	for i, a := range news {
		for _, b := range news[i+1:] {
			err := follows(a.Unit, b.Unit)
			if err != nil && a.Told >= b.Asked && follows(b.Unit, a.Unit) == nil {
				err = nil // at the same time, and what was told first is newer
			}
			if err != nil {
				return fmt.Errorf("%v, and %v: %w", a, b, err)
			}
		}
	}
	return nil
}

// follows tells why b is neither the same version of a unit as a nor a later one.
func follows(a, b client.Status) error {
	switch {
	case b.Released:
		return nil
	case a.Released:
		return fmt.Errorf("it was gone, and is %s", b.State)
	case rank(b.State) < rank(a.State):
		return fmt.Errorf("it was %s, and is %s", a.State, b.State)
	case a.State.Final() && end(a) != end(b):
		return fmt.Errorf("it had ended with %+v, and has ended with %+v", end(a), end(b))
	case a.CancelAsked && !b.CancelAsked:
		return errors.New("it was to be canceled, and nobody knows of that any more")
	case asked(a) != asked(b):
		return fmt.Errorf("%+v was asked for, and %+v is there", asked(a), asked(b))
	case !a.Started.IsZero() && !a.Started.Equal(b.Started):
		return fmt.Errorf("it had started at %v, and has at %v", a.Started, b.Started)
	case a.RemoteUnit != "" && a.RemoteUnit != b.RemoteUnit:
		return fmt.Errorf("it was unit %s at %s, and is %q", a.RemoteUnit, a.Node, b.RemoteUnit)
	}
	return grows(changes(a), changes(b))
}

// rank orders states: that of a unit never falls.
func rank(s client.State) int {
	switch {
	case s.Final():
		return 2
	case s == client.Running:
		return 1
	}
	return 0
}

// request is what was asked for.
type request struct{ node, typ, submission, created string }

func asked(u client.Status) request {
	return request{u.Node, u.Type, u.Submission, u.Created.UTC().String()}
}

// ending is what is known of a unit that has ended.
type ending struct {
	state           client.State
	ended           string
	exited          bool
	exit            client.Exit
	reason, refusal string
	stdout, stderr  string // digests
	size            int64  // of both
}

func end(u client.Status) ending {
	e := ending{
		state: u.State, ended: u.Ended.UTC().String(), exited: u.Exit != nil, reason: u.Reason, refusal: u.Refusal,
		stdout: u.Stdout.SHA256, stderr: u.Stderr.SHA256, size: u.Stdout.Size + u.Stderr.Size,
	}
	if u.Exit != nil {
		e.exit = *u.Exit
	}
	return e
}

// change is an entry of the history of a unit.
type change struct {
	at, what string
	state    client.State
	detail   string
}

// changes are those that are told of a unit; none: its history was left out.
func changes(u client.Status) []change {
	var all []change
	for _, c := range u.History {
		all = append(all, change{c.At.UTC().String(), string(c.What), c.State, c.Detail})
	}
	return all
}

// maxChanges is where a history grows by new states only.
const maxChanges = 32

// grows tells why b is not the history that a has become. What its last entry says may
// have been said anew.
func grows(a, b []change) error {
	if len(a) == 0 || len(b) == 0 {
		return nil
	}
	if len(b) < len(a) {
		return fmt.Errorf("its history had %d changes, and has %d", len(a), len(b))
	}
	for i, was := range a {
		is := b[i]
		anew := i == len(a)-1 && is.state == was.state && (is.what == "detailed" && was.what == "detailed" || len(a) >= maxChanges)
		if is != was && !anew {
			return fmt.Errorf("change %d of its history was %+v, and is %+v", i, was, is)
		}
	}
	return nil
}

// steps are the states that a unit may have after a change, by those it had before.
var steps = map[string]map[client.State][]client.State{
	"created":   {"": {client.Pending}},
	"received":  {client.Pending: {client.Pending}},
	"handed":    {client.Pending: {client.Pending}},
	"returned":  {client.Pending: {client.Pending, client.Canceled}},
	"started":   {client.Pending: {client.Running}, client.Running: {client.Running}},
	"detailed":  {client.Pending: {client.Pending}, client.Running: {client.Running}},
	"cancel":    {client.Pending: {client.Pending, client.Canceled}, client.Running: {client.Running}},
	"exited":    {client.Pending: exits, client.Running: exits},
	"refused":   {client.Pending: {client.Failed, client.Canceled}},
	"abandoned": {client.Pending: {client.Failed, client.Canceled}},
	"expired":   {client.Pending: {client.Failed, client.Canceled}},
	"vanished":  {client.Pending: {client.Lost, client.Canceled}, client.Running: {client.Lost, client.Canceled}},
	"withdrawn": {client.Pending: {client.Canceled}, client.Running: {client.Canceled}},
}

var exits = []client.State{client.Succeeded, client.Failed, client.Canceled}

// sound tells what is wrong with a unit as it is told of.
func sound(u client.Status) error {
	final := u.State.Final()
	switch {
	case u.Released:
		return nil
	case final && u.CancelAsked && u.State != client.Canceled:
		return fmt.Errorf("it was to be canceled, and is %s", u.State)
	case u.State == client.Succeeded && (u.Exit == nil || *u.Exit != client.Exit{}):
		return fmt.Errorf("it is succeeded, and has exited with %+v", u.Exit)
	case final == u.Ended.IsZero():
		return fmt.Errorf("it is %s, and has ended at %v", u.State, u.Ended)
	}
	before, ran := client.State(""), false
	for i, c := range changes(u) {
		if !slices.Contains(steps[c.what][before], c.state) {
			return fmt.Errorf("change %d of its history is %q, which takes it from %q to %q", i, c.what, before, c.state)
		}
		before, ran = c.state, ran || c.state == client.Running
	}
	switch {
	case len(u.History) == 0:
		return nil
	case before != u.State:
		return fmt.Errorf("it is %s, and its history ends with %s", u.State, before)
	case ran == u.Started.IsZero():
		return fmt.Errorf("it has started at %v, and ran by its history: %v", u.Started, ran)
	}
	return nil
}

// checkAhead compares a unit that another node runs with what it is there.
func checkAhead(here, there Look) error {
	h, t := here.Unit, there.Unit
	var err error
	switch ran := h.State == client.Running || h.Exit != nil; {
	case h.Released: // what is left there is on its way out
	case t.Released:
		if there.Told < here.Asked && !h.State.Final() {
			err = errors.New("it is gone there")
		}
	case here.Told < there.Asked && ran && t.State == client.Pending, here.Told < there.Asked && h.Exit != nil && !t.State.Final():
		err = errors.New("it is ahead")
	case h.State.Final() && t.State.Final() && h.State != t.State && !h.CancelAsked:
		err = errors.New("it has ended otherwise")
	case h.Exit != nil && t.Exit != nil && (*h.Exit != *t.Exit || h.Stdout != t.Stdout || h.Stderr != t.Stderr):
		err = fmt.Errorf("it has ended otherwise: %+v, %+v here, %+v, %+v there", *h.Exit, h.Stdout, *t.Exit, t.Stdout)
	}
	if err != nil {
		return fmt.Errorf("%v, and at %s %v: %w", here, there.Node, there, err)
	}
	return nil
}
