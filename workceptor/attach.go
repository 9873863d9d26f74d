package workceptor

import (
	"context"
	"fmt"
	"slices"

	"github.com/project-receptor/receptor/workceptor/internal/state"
	"github.com/project-receptor/receptor/workceptor/internal/store"
)

// Attachment is a worker that is here. Its methods may be called concurrently.
type Attachment struct {
	w       *Workceptor
	worker  Worker
	name    string
	ctx     context.Context // done when the worker is away
	cancel  context.CancelFunc
	forgets chan struct{} // a token for each unit that the worker is told to forget
}

// maxForgets bounds those at a time. Of the others a worker tells again.
const maxForgets = 64

// Attach takes in a worker, whose name is for people. It gets work of the types that
// it offers, until Detach.
func (w *Workceptor) Attach(name string, worker Worker) *Attachment {
	a := &Attachment{w: w, worker: worker, name: name, forgets: make(chan struct{}, maxForgets)}
	a.ctx, a.cancel = context.WithCancel(w.ctx)
	return a
}

// Offer has a worker get units of a type, and asks it for those that it should have
// from before. Another offer of the same type changes its slots and the rest.
func (a *Attachment) Offer(offer WorkType) error {
	w := a.w
	if _, remote := a.worker.(*remoteNode); state.IsRemotePlace(offer.Name) != remote {
		return fmt.Errorf("%q is no name for a type of work", offer.Name)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.workType(offer.Name)
	if t.worker != nil && t.worker != a {
		return fmt.Errorf("work type %s is offered by %s", offer.Name, t.worker.name)
	}
	again := t.worker == a
	t.WorkType, t.worker, t.offered = offer, a, true
	close(w.offer)
	w.offer = make(chan struct{})
	if !again && len(t.busy) > 0 {
		var ids []string
		for id := range t.busy {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		w.task(func() { w.recover(a, ids) })
	}
	w.schedule(t)
	w.offersChanged()
	return nil
}

// Withdraw ends an offer: there is no more work of that type for the worker. The units
// that it has go on.
func (a *Attachment) Withdraw(name string) {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	if t := a.w.types[name]; t != nil && t.worker == a {
		t.worker, t.offered = nil, false
		a.w.offersChanged()
	}
}

// Detach ends an attachment. The units that the worker has go on.
func (a *Attachment) Detach() {
	a.cancel()
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	for _, t := range a.w.types {
		if t.worker == a {
			t.worker = nil
		}
	}
}

// Report takes what the worker tells of a unit. Units that are not there any more
// are released at the worker: so it may tell of all that it has when it attaches.
// An error says that the worker cannot tell this.
func (a *Attachment) Report(r Report) error { return a.w.report(a, r) }

// attachment is the worker of a type, or nil.
func (w *Workceptor) attachment(typ string) *Attachment {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.types[typ]; t != nil {
		return t.worker
	}
	return nil
}

// recover asks a worker what has become of units that it should have.
func (w *Workceptor) recover(a *Attachment, ids []string) {
	var known []Known
	for _, id := range ids {
		u, err := w.store.Get(id)
		if err == nil && (u.Phase == state.Starting || u.State == state.Running) {
			known = append(known, Known{Unit: id, Handle: u.Handle})
		}
	}
	if len(known) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(a.ctx, callTimeout)
	defer cancel()
	reports, err := a.worker.Recover(ctx, known)
	if err != nil {
		w.log.Warn("a worker did not say what has become of its units", "worker", a.name, "units", len(known), "error", err)
		w.askLater(a, ids...)
		return
	}
	told := make(map[string]bool)
	for _, r := range reports {
		told[r.Unit] = true
		w.take(a, r)
	}
	for _, k := range known {
		if !told[k.Unit] {
			w.forgotten(a, k.Unit)
		}
	}
}

// forgotten is for a unit that its worker does not know.
func (w *Workceptor) forgotten(a *Attachment, id string) {
	u, err := w.store.Get(id)
	switch {
	case err != nil, w.attachment(u.Spec.WorkType) != a: // not its worker any more
	case u.Phase == state.Starting: // it never got there: the worker would know
		if u, ok := w.happen(id, state.Event{Kind: state.TakenBack}); ok && u.Phase == state.Queued {
			w.putBack(u)
		}
	case u.State == state.Running:
		w.end(u, Report{State: ReportLost, Reason: "its worker does not know it any more"})
	}
}

// take is report for an answer of the worker's.
func (w *Workceptor) take(a *Attachment, r Report) {
	if err := w.report(a, r); err != nil {
		w.log.Warn("what a worker tells of a unit is not taken", "worker", a.name, "error", err)
	}
}

// report takes what a worker tells of a unit.
func (w *Workceptor) report(a *Attachment, r Report) error {
	u, err := w.store.Get(r.Unit)
	switch {
	case gone(err):
		w.forgetTold(a, r.Unit)
		return nil
	case err != nil:
		return err
	case w.attachment(u.Spec.Place()) != a:
		return fmt.Errorf("unit %s is not of a type that this worker offers", r.Unit)
	case u.State.Final():
		return nil // old news
	case u.Phase == state.Receiving:
		return fmt.Errorf("unit %s was given to nobody yet", r.Unit)
	}
	switch r.State {
	case ReportStarting:
		if r.Detail != "" || len(r.Handle) > 0 {
			w.happen(u.ID, state.Event{Kind: state.Detailed, Detail: r.Detail, Handle: r.Handle})
		}
		if u.CancelAsked && u.Spec.Remote != nil {
			w.stop(a, u.ID) // it may wait there for long
		}
	case ReportRunning:
		w.runs(a, u, r)
	case ReportExited, ReportLost, reportWithdrawn:
		w.end(u, r)
	case ReportRefused:
		w.happen(u.ID, state.Event{Kind: state.Refused, Reason: r.Reason, Refusal: r.refusal})
	default:
		return fmt.Errorf("unit %s: unknown state %q", r.Unit, r.State)
	}
	return nil
}

// runs notes that a unit runs, and how far its output has got.
func (w *Workceptor) runs(a *Attachment, u store.Unit, r Report) {
	ok := true
	switch {
	case u.State != state.Running:
		w.occupy(u)
		u, ok = w.happen(u.ID, state.Event{Kind: state.Started, PID: r.PID, Detail: r.Detail, Handle: r.Handle})
	case r.PID != 0 && r.PID != u.PID:
		u, ok = w.happen(u.ID, state.Event{Kind: state.Started, PID: r.PID, Detail: r.Detail})
	case r.PID == u.PID && state.RunningText(r.PID, r.Detail) != u.Detail:
		u, ok = w.happen(u.ID, state.Event{Kind: state.Detailed, Detail: state.RunningText(r.PID, r.Detail)})
	}
	if !ok || u.State != state.Running {
		return
	}
	w.grow(r)
	if u.CancelAsked {
		w.stop(a, u.ID)
	}
}

// end measures what a unit has written, and then ends it.
func (w *Workceptor) end(u store.Unit, r Report) {
	w.mu.Lock()
	l := w.liveUnit(u.ID)
	ending := l.ending
	l.ending = true
	w.mu.Unlock()
	if ending {
		return
	}
	w.task(func() {
		e := state.Event{Kind: state.Exited, Exit: r.Exit, Reason: r.Reason}
		switch r.State {
		case ReportLost:
			e.Kind = state.Vanished
		case reportWithdrawn:
			e.Kind = state.Withdrawn
		default: // it has exited
		}
		var err error
		if r.measured != nil {
			e.Stdout, e.Stderr = r.measured[0], r.measured[1]
		} else if e.Stdout, err = l.digests[0].measure(w.store, u.ID, Stdout); err == nil && !u.Spec.Merged {
			e.Stderr, err = l.digests[1].measure(w.store, u.ID, Stderr)
		}
		if err != nil && !gone(err) {
			w.log.Error("cannot read what a unit has written", "unit", u.ID, "error", err)
			e.Reason = err.Error()
		}
		w.happen(u.ID, e)
	})
}

// happen has an event happen to a unit, and does what follows from its end. Without
// ok the unit is gone, or the event cannot be, which is logged, or the node ends.
func (w *Workceptor) happen(id string, e state.Event) (u store.Unit, ok bool) {
	u, err := w.store.Next(w.ctx, id, e)
	if err != nil {
		if !gone(err) && w.ctx.Err() == nil {
			w.log.Warn("what is told of a unit cannot be", "unit", id, "error", err)
		}
		return u, false
	}
	if u.State.Final() {
		w.forgetLive(id)
		w.free(u.Spec.Place(), id)
		if u.Spec.Remote != nil {
			w.disown(u)
		}
		if u.ReleaseAsked {
			w.task(func() { w.releaseEnded(id) })
		}
	}
	return u, true
}

// liveUnit returns what is known of a unit that a worker has. The caller holds w.mu.
func (w *Workceptor) liveUnit(id string) *liveUnit {
	l := w.live[id]
	if l == nil {
		l = new(liveUnit)
		w.live[id] = l
	}
	return l
}

// grow notes how far a unit's output has got, and wakes who follows it.
func (w *Workceptor) grow(r Report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.liveUnit(r.Unit)
	if r.Stdout <= l.stdout && r.Stderr <= l.stderr {
		return
	}
	l.stdout, l.stderr = max(l.stdout, r.Stdout), max(l.stderr, r.Stderr)
	l.wake()
}

func (l *liveUnit) wake() {
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
}

// forgetLive lets go of what is not needed of a unit that has ended.
func (w *Workceptor) forgetLive(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l := w.live[id]; l != nil {
		l.wake()
		delete(w.live, id)
	}
}
