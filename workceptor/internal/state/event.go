package state

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind is what happened.
type Kind string

// Kinds of events, and the fields of Event that count with each.
const (
	Created     Kind = "created"   // in histories only: New makes such a unit
	Received    Kind = "received"  // the payload is whole: Stdin, Payload
	Handed      Kind = "handed"    // it is about to be given to a worker
	TakenBack   Kind = "returned"  // the worker has never had it
	Started     Kind = "started"   // it runs: PID, Handle, Detail
	Detailed    Kind = "detailed"  // the worker has something to say: Detail, Handle
	CancelAsked Kind = "cancel"    // somebody wants its end: Release
	Exited      Kind = "exited"    // its process has ended: Exit, Stdout, Stderr
	Refused     Kind = "refused"   // it will never run: Reason, Refusal
	Vanished    Kind = "vanished"  // nobody knows of it any more: Reason, Stdout, Stderr
	Abandoned   Kind = "abandoned" // its payload will never be whole: Reason
	Withdrawn   Kind = "withdrawn" // it was canceled where it runs: Stdout, Stderr
	Expired     Kind = "expired"   // it has not begun in time: Reason
)

// Event is something that happens to a unit.
type Event struct {
	Kind   Kind
	At     time.Time
	Detail string
	Reason string
	// Refusal is the code of the answer of another node that has not taken it.
	Refusal string
	PID     int
	// Release tells that it is not wanted after its end either.
	Release bool
	Handle  json.RawMessage
	Exit    Exit
	// Payload is what is in Stdin, if it is to be kept with the unit. It is not copied.
	Payload []byte
	Stdin   Output
	Stdout  Output
	Stderr  Output
}

// ErrIllegal says that an event cannot happen to a unit in that state: whoever
// reports it is mistaken. The unit is as it was.
var ErrIllegal = errors.New("illegal transition")

// MaxHandle bounds what a worker has kept with a unit. It is written with every
// change of it.
const MaxHandle = 16 << 10

// maxText bounds details and reasons, which come from workers and are kept with
// every version of a unit. The rest is cut off.
const maxText = 4 << 10

// Next is u after e. An event that is old news gives u itself, with the same Rev.
func (u Unit) Next(e Event) (Unit, error) {
	if u.State.Final() {
		return u, nil
	}
	if len(e.Handle) > MaxHandle || len(e.Handle) > 0 && !json.Valid(e.Handle) {
		return u, fmt.Errorf("%w: a handle of %d bytes; it is JSON of up to %d", ErrIllegal, len(e.Handle), MaxHandle)
	}
	e.Detail, e.Reason = cut(e.Detail), cut(e.Reason)
	next, legal := u.onward(e)
	if !legal {
		next, legal = u.towardsEnd(e)
	}
	if !legal {
		return u, fmt.Errorf("%w: %s while %s %s", ErrIllegal, e.Kind, u.State, u.Phase)
	}
	return next, nil
}

// onward is u after an event that brings it closer to running, or tells of that.
func (u Unit) onward(e Event) (next Unit, legal bool) {
	switch {
	case e.Kind == Received && u.Phase == Receiving:
		u.Stdin, u.Payload, u.Phase = e.Stdin, e.Payload, Queued
		return u.changed(e, "Starting Worker"), true

	case e.Kind == Handed && u.Phase == Queued:
		u.Phase = Starting
		return u.changed(e, "Launching command runner"), true

	case e.Kind == TakenBack && u.Phase == Starting && !u.CancelAsked:
		u.Phase = Queued
		return u.changed(e, "Starting Worker"), true

	case e.Kind == Started && (u.Phase == Queued || u.Phase == Starting):
		u.State, u.Phase, u.Started = Running, "", e.At
		u.PID, u.Payload = e.PID, nil
		if len(e.Handle) > 0 {
			u.Handle = slices.Clone(e.Handle)
		}
		return u.changed(e, RunningText(e.PID, e.Detail)), true

	case e.Kind == Started && u.State == Running && e.PID != 0 && e.PID != u.PID:
		u.PID = e.PID
		return u.changed(e, RunningText(e.PID, e.Detail)), true

	case e.Kind == Detailed && (u.Phase == Starting || u.State == Running) && u.tells(e):
		if len(e.Handle) > 0 {
			u.Handle = slices.Clone(e.Handle)
		}
		return u.changed(e, cmp.Or(e.Detail, u.Detail)), true
	}
	return u, u.knows(e)
}

// tells tells whether there is news in what the worker says.
func (u *Unit) tells(e Event) bool {
	return e.Detail != "" && e.Detail != u.Detail || len(e.Handle) > 0 && !bytes.Equal(e.Handle, u.Handle)
}

// knows tells whether e is old news: possible, and nothing to change for.
func (u *Unit) knows(e Event) bool {
	switch e.Kind {
	case Received:
		return u.Phase != Receiving
	case Handed:
		return u.Phase == Starting
	case TakenBack:
		return u.Phase == Queued
	case Started:
		return u.State == Running
	case Detailed:
		return u.Phase == Starting || u.State == Running
	case CancelAsked:
		return u.CancelAsked && (u.ReleaseAsked || !e.Release)
	default:
		return false
	}
}

// towardsEnd is u after an event that ends it or asks for its end.
func (u Unit) towardsEnd(e Event) (next Unit, legal bool) {
	switch {
	case e.Kind == CancelAsked:
		u.CancelAsked, u.ReleaseAsked = true, u.ReleaseAsked || e.Release
		if u.Phase == Receiving || u.Phase == Queued {
			return u.ended(e, Canceled), true
		}
		return u.changed(e, u.Detail), true

	case e.Kind == Exited && u.Phase != Receiving:
		u.Exit = &e.Exit
		if e.Exit.Code == 0 && e.Exit.Signal == "" {
			return u.ended(e, Succeeded), true
		}
		return u.ended(e, Failed), true

	case e.Kind == TakenBack && u.Phase == Starting && u.CancelAsked:
		return u.ended(e, Canceled), true
	case e.Kind == Withdrawn && (u.Phase == Starting || u.State == Running):
		u.CancelAsked = true
		return u.ended(e, Canceled), true
	case e.Kind == Expired && u.State == Pending:
		return u.ended(e, Failed), true
	case e.Kind == Refused && (u.Phase == Queued || u.Phase == Starting):
		u.Refusal = e.Refusal
		return u.ended(e, Failed), true
	case e.Kind == Abandoned && u.Phase == Receiving:
		return u.ended(e, Failed), true
	case e.Kind == Vanished && (u.Phase == Starting || u.State == Running):
		return u.ended(e, Lost), true
	}
	return u, false
}

// ended is u in a final state, which is Canceled if that was asked for.
func (u Unit) ended(e Event, s State) Unit {
	if u.CancelAsked {
		s = Canceled
	}
	u.State, u.Phase, u.PID, u.Payload = s, "", 0, nil
	u.Reason, u.Ended = e.Reason, e.At
	u.Stdout, u.Stderr = e.Stdout, e.Stderr
	return u.changed(e, u.endText(e))
}

// changed is u with its next revision, and with the change in its history.
func (u Unit) changed(e Event, detail string) Unit {
	c := Change{At: e.At, What: e.Kind, State: u.State, Detail: detail}
	kept := len(u.History)
	if u.repeats(c) {
		kept--
	}
	u.Rev++
	u.Detail = detail
	u.History = append(slices.Clone(u.History[:kept]), c)
	return u
}

// repeats tells whether c takes the place of the last entry of the history: what a
// worker says takes one entry, however often it speaks, and one that comes and
// goes takes maxHistory at most.
func (u *Unit) repeats(c Change) bool {
	last := u.History[len(u.History)-1]
	return last.State == c.State && (c.What == Detailed && last.What == Detailed || len(u.History) >= maxHistory)
}

// maxHistory is where a history grows by new states only.
const maxHistory = 32

// cut bounds a text that comes from others, and makes it fit for JSON.
func cut(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxText)], "\uFFFD")
}
