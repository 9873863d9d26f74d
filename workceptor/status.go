package workceptor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/project-receptor/receptor/workceptor/internal/state"
	"github.com/project-receptor/receptor/workceptor/internal/store"
)

// State is where a unit is in its life.
type State = state.State

// States of a unit.
const (
	Pending   = state.Pending
	Running   = state.Running
	Succeeded = state.Succeeded
	Failed    = state.Failed
	Canceled  = state.Canceled
	Lost      = state.Lost
)

// Status is a unit, as our own form shows it. It holds no secrets.
type Status = state.Status

// Output is one of a unit's files.
type Output = state.Output

// Change is one entry of a unit's history.
type Change = state.Change

// Get returns a unit.
func (w *Workceptor) Get(id string) (Status, error) {
	u, err := w.store.Get(id)
	if err != nil {
		return Status{}, err
	}
	return w.status(u), nil
}

// List returns all units, the one that changed last at the end.
func (w *Workceptor) List() []Status {
	return w.statuses(w.store.List())
}

// statuses are those of units. Their places in the queues are looked up once for all.
func (w *Workceptor) statuses(units []store.Unit) []Status {
	all := make([]Status, 0, len(units))
	w.mu.Lock()
	defer w.mu.Unlock()
	positions := make(map[string]int)
	for _, t := range w.types {
		for i, id := range t.queue {
			positions[id] = i + 1
		}
	}
	for _, u := range units {
		all = append(all, w.statusAt(u, positions[u.ID]))
	}
	return all
}

// Watch calls each with the units that have changed after seq, and the seq to go on
// from, whenever there are any, until each fails or ctx is done, with that error. 0 is
// the beginning: all units. Nobody who is slow misses more than what was overtaken.
func (w *Workceptor) Watch(ctx context.Context, seq uint64, each func(changed []Status, seq uint64) error) error {
	for {
		units, next, more := w.store.Changes(seq)
		if len(units) > 0 {
			if err := each(w.statuses(units), next); err != nil {
				return err
			}
		}
		seq = next
		select {
		case <-more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// WorkTypes are the types that were offered, with what runs and waits, by name.
func (w *Workceptor) WorkTypes() []TypeStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]TypeStatus, 0, len(w.types))
	for _, t := range w.types {
		if state.IsRemotePlace(t.Name) || !t.offered && len(t.busy)+len(t.queue) == 0 {
			continue
		}
		s := TypeStatus{Name: t.Name, Slots: t.Slots, Busy: len(t.busy), Queued: len(t.queue), Secure: t.Secure}
		if t.worker != nil {
			s.Worker = t.worker.name
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b TypeStatus) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// TypeStatus is a type of work.
type TypeStatus = state.TypeStatus

func (w *Workceptor) status(u store.Unit) Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	position := 0
	if t := w.types[u.Spec.Place()]; t != nil && u.Phase == state.Queued {
		position = slices.Index(t.queue, u.ID) + 1
	}
	return w.statusAt(u, position)
}

// detail is what there is to say of a unit: of one that waits for its node, why. The
// caller holds w.mu.
func (w *Workceptor) detail(u store.Unit) string {
	n := w.remotes[u.Spec.Place()]
	if n == nil || u.Phase != state.Queued && u.Phase != state.Starting {
		return u.Detail
	}
	s := n.status()
	if s.Alive || s.Reason == "" {
		return u.Detail
	}
	return fmt.Sprintf("Waiting for node %s: %s", s.Node, s.Reason)
}

// statusAt is a unit at a place in the queue. The caller holds w.mu.
func (w *Workceptor) statusAt(u store.Unit, position int) Status {
	if u.Released {
		return Status{ID: u.ID, Released: true, Submission: u.Spec.Submission}
	}
	s := Status{
		ID: u.ID, State: u.State, Phase: u.Phase, Position: position, Detail: u.Detail, Type: u.Spec.WorkType,
		Params: u.Spec.WithoutSecrets().Params, Submission: u.Spec.Submission, Merged: u.Spec.Merged, Secure: u.Spec.Secure,
		CancelAsked: u.CancelAsked, PID: u.PID, Exit: u.Exit, Reason: u.Reason, Refusal: u.Refusal,
		Created: u.Spec.Created, Started: u.Started, Ended: u.Ended,
		Stdin: u.Stdin, Stdout: u.Stdout, Stderr: u.Stderr, History: u.History,
	}
	if r := u.Spec.Remote; r != nil {
		s.Node, s.RemoteUnit = r.Node, state.RemoteUnit(u.Handle)
		if n := w.remotes[u.Spec.Place()]; n != nil && !u.State.Final() {
			s.NodeUnknownSince = n.status().UnknownSince
		}
		s.Detail = w.detail(u)
	}
	if u.Phase == state.Starting || u.State == state.Running {
		if t := w.types[u.Spec.Place()]; t != nil && t.worker != nil {
			s.Worker = t.worker.name
		}
		if l := w.live[u.ID]; l != nil {
			s.Stdout.Size, s.Stderr.Size = l.stdout, l.stderr
		}
	}
	return s
}
