package workceptor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/project-receptor/receptor/workceptor/internal/state"
	"github.com/project-receptor/receptor/workceptor/internal/store"
)

// Request asks for a unit.
type Request struct {
	Type   string
	Params map[string]string // those named secret_* are told to the worker only
	// Submission is the submitter's own name for it: the same one is the same unit.
	// Empty: every request is a unit.
	Submission string
	// Merged has stderr go where stdout goes, as with legacy nodes.
	Merged bool

	// Node is another node, which is to run it; empty: this one. The rest is for that.
	Node      string
	TLSClient string // the profile for the way there; empty: none
	// TTL is how long it may take until it has begun there. 0: any time, but then
	// there must be a way to the node now.
	TTL time.Duration
	// Disconnect is how long the node may be away, once it may have the unit, before
	// the unit is Lost. 0: for ever.
	Disconnect time.Duration
	// Sign has this node sign what it asks the other one for.
	Sign bool

	unsigned bool // who asks may not have work of types that want signatures
}

const maxSubmission = 128 // bytes; 128 random bits are 32 in hexadecimal

// Submission is a unit that has been made, and waits for its payload. One goroutine
// uses it.
type Submission struct {
	w        *Workceptor
	payload  *store.Payload
	Unit     Status // as it was when it was submitted
	Existing bool   // the same submission had made it before
}

// Submit makes a unit. It is on the disk when this returns. Then its payload is
// written to the Submission, and Commit starts it.
func (w *Workceptor) Submit(r Request) (*Submission, error) {
	if len(r.Submission) > maxSubmission {
		return nil, fmt.Errorf("%w: a submission's name has at most %d bytes", ErrInvalid, maxSubmission)
	}
	// One that is repeated is no new work, and what it wants may have gone since.
	u, err := w.store.BySubmission(r.Submission)
	existing := !errors.Is(err, store.ErrUnknown)
	if !existing {
		u, existing, err = w.create(r)
	}
	if err != nil {
		return nil, err
	}
	payload, err := w.store.Receive(u.ID)
	if err != nil {
		return nil, err
	}
	return &Submission{w: w, payload: payload, Unit: w.status(u), Existing: existing}, nil
}

// create makes the unit if it can be run, as far as is known here.
func (w *Workceptor) create(r Request) (u store.Unit, existing bool, err error) {
	if w.Draining() != nil {
		return u, false, ErrDraining
	}
	spec := state.Spec{WorkType: r.Type, Params: r.Params, Submission: r.Submission, Merged: r.Merged}
	if r.Node != "" {
		err = w.specifyRemote(r, &spec)
	} else {
		err = w.specifyLocal(r, &spec)
	}
	if err != nil {
		return u, false, err
	}
	u, existing, err = w.store.Create(spec)
	if err == nil && u.Spec.Remote != nil && !existing {
		w.want(u)
	}
	return u, existing, err
}

// specifyLocal fills in what is known of a type of work here.
func (w *Workceptor) specifyLocal(r Request, spec *state.Spec) error {
	w.mu.Lock()
	t := w.types[r.Type]
	known := t != nil && t.offered
	var offer WorkType
	if known {
		offer = t.WorkType
	}
	w.mu.Unlock()
	switch {
	case !known:
		return fmt.Errorf("%w %s", ErrUnknownType, r.Type)
	case r.Params["params"] != "" && !offer.Params:
		return fmt.Errorf("%w: extra params provided but not allowed", ErrInvalid)
	case offer.Secure && r.unsigned:
		return errNoSignature // the type has been offered just now
	}
	spec.Secure = offer.Secure
	return nil
}

// Write adds to the payload, on the disk.
func (s *Submission) Write(b []byte) (int, error) { return s.payload.Write(b) }

// Commit ends the payload and has the unit started, or queued. The unit is returned
// when its worker has taken or refused it; at once if it has to wait for a slot or
// for its worker. If its payload was whole before, this one is dropped.
func (s *Submission) Commit(ctx context.Context) (Status, error) {
	u, err := s.payload.Commit(ctx)
	if err != nil {
		return Status{}, errors.Join(err, s.fail(err.Error()))
	}
	if u.Phase == state.Queued {
		s.w.enqueue(u)
	}
	if u.Spec.Remote != nil {
		return s.w.settledRemote(ctx, u.ID)
	}
	return s.w.settled(ctx, u.ID)
}

// Abort gives the payload up, for a reason that the unit will show. A unit with a
// submission goes on waiting: its submitter may try again.
func (s *Submission) Abort(reason string) error {
	err := s.payload.Abort()
	if s.Unit.Submission != "" {
		return err
	}
	return errors.Join(err, s.fail(reason))
}

func (s *Submission) fail(reason string) error {
	if s.Unit.Submission != "" {
		return nil
	}
	_, err := s.w.store.Next(s.w.ctx, s.Unit.ID, state.Event{Kind: state.Abandoned, Reason: reason})
	if gone(err) {
		return nil
	}
	return err
}

// settled waits until a unit is not about to be started.
func (w *Workceptor) settled(ctx context.Context, id string) (Status, error) {
	for {
		u, more, err := w.store.Watch(id)
		if err != nil {
			return Status{}, err
		}
		a := w.starter(u)
		if a == nil {
			return w.status(u), nil
		}
		select {
		case <-more:
		case <-a.ctx.Done():
			return w.Get(id)
		case <-ctx.Done():
			return Status{}, context.Cause(ctx)
		}
	}
}

// starter is the worker that is just being given a unit, or nil.
func (w *Workceptor) starter(u store.Unit) *Attachment {
	if u.Phase != state.Queued && u.Phase != state.Starting {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.workType(u.Spec.Place())
	if _, busy := t.busy[u.ID]; !busy {
		return nil
	}
	return t.worker
}
