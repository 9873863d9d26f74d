package workceptor

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/project-receptor/receptor/workceptor/internal/fsys"
	"github.com/project-receptor/receptor/workceptor/internal/state"
	"github.com/project-receptor/receptor/workceptor/internal/store"
)

// enqueue has a unit wait for a slot, if it does not already.
func (w *Workceptor) enqueue(u store.Unit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.workType(u.Spec.Place())
	if _, busy := t.busy[u.ID]; !busy && !slices.Contains(t.queue, u.ID) {
		t.queue = append(t.queue, u.ID)
	}
	w.schedule(t)
}

// putBack has a unit wait at the head of the queue, instead of the slot that it had.
func (w *Workceptor) putBack(u store.Unit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.workType(u.Spec.Place())
	delete(t.busy, u.ID)
	if !slices.Contains(t.queue, u.ID) {
		t.queue = slices.Insert(t.queue, 0, u.ID)
	}
	w.schedule(t)
}

// occupy gives a unit, which runs already, a slot whether or not one is free.
func (w *Workceptor) occupy(u store.Unit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.workType(u.Spec.Place())
	t.busy[u.ID] = struct{}{}
	t.queue = slices.DeleteFunc(t.queue, func(id string) bool { return id == u.ID })
}

// free gives a unit's place to the next one.
func (w *Workceptor) free(typ, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.workType(typ)
	delete(t.busy, id)
	t.queue = slices.DeleteFunc(t.queue, func(i string) bool { return i == id })
	w.schedule(t)
}

// schedule gives free slots to those who wait. The caller holds w.mu.
func (w *Workceptor) schedule(t *workType) {
	for t.worker != nil && len(t.queue) > 0 && t.starting < maxStarts && (t.Slots == 0 || len(t.busy) < t.Slots) {
		id := t.queue[0]
		t.queue = t.queue[1:]
		t.busy[id] = struct{}{}
		t.starting++
		a, name := t.worker, t.Name
		w.task(func() {
			w.start(a, name, id)
			w.mu.Lock()
			defer w.mu.Unlock()
			t.starting--
			w.schedule(t)
		})
	}
}

// start gives a unit to a worker.
func (w *Workceptor) start(a *Attachment, typ, id string) {
	u, ok := w.happen(id, state.Event{Kind: state.Handed})
	if !ok || u.Phase != state.Starting {
		w.free(typ, id) // canceled, or released, while it waited
		return
	}
	begin, err := w.files(u)
	if fsys.Scarce(err) {
		w.log.Warn("a unit waits", "unit", id, "error", err)
		w.askLater(a, id) // who does not know it: so it begins again
		return
	}
	if err != nil {
		w.happen(id, state.Event{Kind: state.Refused, Reason: err.Error()})
		return
	}
	ctx, cancel := context.WithTimeout(a.ctx, callTimeout)
	defer cancel()
	report, err := a.worker.Start(ctx, begin)
	switch {
	case err == nil:
		report.Unit = id
		w.take(a, report)
	case errors.Is(err, ErrUnavailable), ctx.Err() != nil:
		w.log.Warn("a worker did not say whether it has started a unit", "unit", id, "worker", a.name, "error", err)
		w.askLater(a, id)
	default:
		w.happen(id, state.Event{Kind: state.Refused, Reason: err.Error()})
	}
}

// files opens what a unit reads and writes.
func (w *Workceptor) files(u store.Unit) (s Start, err error) {
	const write = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	s = Start{Unit: u.ID, Type: u.Spec.WorkType, Params: u.Spec.Params, Merged: u.Spec.Merged}
	stderr := store.Stderr
	if u.Spec.Merged {
		stderr = store.Stdout
	}
	for _, f := range []struct {
		to   **os.File
		name string
		flag int
	}{{&s.Stdin, store.Stdin, os.O_RDONLY | os.O_CREATE}, {&s.Stdout, store.Stdout, write}, {&s.Stderr, stderr, write}} {
		var file any
		if file, err = w.store.OpenFile(u.ID, f.name, f.flag); err != nil {
			for _, open := range []*os.File{s.Stdin, s.Stdout} {
				if open != nil {
					open.Close()
				}
			}
			return Start{}, err
		}
		*f.to = file.(*os.File) // as fsys.OS has them
	}
	return s, nil
}

// askLater asks a worker for units again, as long as it is attached.
func (w *Workceptor) askLater(a *Attachment, ids ...string) {
	w.task(func() {
		select {
		case <-a.ctx.Done():
		case <-time.After(retryPause):
			w.recover(a, ids)
		}
	})
}
