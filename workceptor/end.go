package workceptor

import (
	"context"
	"errors"
	"time"

	"github.com/project-receptor/receptor/workceptor/internal/state"
	"github.com/project-receptor/receptor/workceptor/internal/store"
)

const (
	// stopGrace is what a unit has to end by itself when it is canceled, as with
	// legacy nodes.
	stopGrace = 10 * time.Second

	// cancelTimeout is how long Cancel and Release wait for the end: a little more
	// than a unit that has to be killed takes.
	cancelTimeout = stopGrace + 5*time.Second
)

// Cancel has a unit end, and waits for that: not if its worker is away, and a little
// longer than a stubborn unit takes. Without ended the wish is kept, and fulfilled
// when it can be. A unit that has ended is fine.
func (w *Workceptor) Cancel(ctx context.Context, id string) (ended bool, err error) {
	u, err := w.askEnd(ctx, id, false)
	if errors.Is(err, errGoneNow) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return w.await(ctx, u, func(u store.Unit, err error) bool { return err != nil || u.State.Final() })
}

// Release has a unit end, if it has not, and forgets it with all its files. Like
// Cancel it waits. With force it is forgotten at once, whatever becomes of it.
func (w *Workceptor) Release(ctx context.Context, id string, force bool) (released bool, err error) {
	u, err := w.askEnd(ctx, id, true)
	switch {
	case errors.Is(err, errGoneNow):
		return true, nil
	case err != nil:
		return false, err
	case force || u.State.Final():
		if err := w.release(id); err != nil && !gone(err) {
			return false, err
		}
		return true, nil
	}
	return w.await(ctx, u, func(_ store.Unit, err error) bool { return gone(err) })
}

// errGoneNow says that a unit was there, and was released meanwhile.
var errGoneNow = errors.New("the unit has just been released")

// askEnd has the wish for a unit's end written down, and passes it on.
func (w *Workceptor) askEnd(ctx context.Context, id string, release bool) (store.Unit, error) {
	if u, err := w.store.Get(id); err != nil {
		return u, err
	}
	u, err := w.store.Next(ctx, id, state.Event{Kind: state.CancelAsked, Release: release})
	switch {
	case gone(err):
		return u, errGoneNow
	case err != nil:
		return u, err
	case u.State.Final():
		w.forgetLive(id)
		w.free(u.Spec.Place(), id)
		if u.Spec.Remote != nil {
			w.disown(u)
		}
	case u.State == state.Running || u.Spec.Remote != nil:
		w.wakeTime(u)
		if a := w.attachment(u.Spec.Place()); a != nil {
			w.stop(a, id)
		}
	}
	return u, nil
}

// await waits until a unit is as it should be, if somebody is there to make it so.
func (w *Workceptor) await(ctx context.Context, u store.Unit, done func(store.Unit, error) bool) (bool, error) {
	timeout := time.NewTimer(cancelTimeout)
	defer timeout.Stop()
	for {
		now, more, err := w.store.Watch(u.ID)
		if done(now, err) {
			return true, nil
		}
		a := w.attachment(u.Spec.Place())
		if a == nil && !now.State.Final() {
			return false, nil
		}
		away := (<-chan struct{})(nil)
		if a != nil {
			away = a.ctx.Done()
		}
		select {
		case <-more:
		case <-away:
			return false, nil
		case <-timeout.C:
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// stop has a worker end a unit: once for each time that it attaches, it does not
// forget.
func (w *Workceptor) stop(a *Attachment, id string) {
	w.mu.Lock()
	l := w.liveUnit(id)
	again := l.stopping == a
	l.stopping = a
	w.mu.Unlock()
	if again {
		return
	}
	w.task(func() {
		ctx, cancel := context.WithTimeout(a.ctx, callTimeout)
		defer cancel()
		if err := a.worker.Stop(ctx, id, stopGrace); err != nil {
			w.log.Warn("a worker did not take the wish to cancel a unit", "worker", a.name, "unit", id, "error", err)
			w.mu.Lock()
			if l := w.live[id]; l != nil {
				l.stopping = nil
			}
			w.mu.Unlock()
			w.askLater(a, id)
		}
	})
}

// release forgets a unit, here and at its worker.
func (w *Workceptor) release(id string) error {
	u, err := w.store.Get(id)
	if err != nil {
		return err
	}
	if err := w.store.Release(id); err != nil {
		return err
	}
	w.forgetLive(id)
	w.free(u.Spec.Place(), id)
	if u.Spec.Remote != nil {
		w.disown(u)
		return nil
	}
	if a := w.attachment(u.Spec.Place()); a != nil {
		w.forget(a, id) // else when the worker tells of it
	}
	return nil
}

// releaseEnded releases a unit whose release was asked for before it ended.
func (w *Workceptor) releaseEnded(id string) {
	if err := w.release(id); err != nil && !gone(err) {
		w.log.Error("cannot release a unit", "unit", id, "error", err)
	}
}

// forgetTold has a worker forget a unit that it tells of and that is gone. It may tell
// of any number.
func (w *Workceptor) forgetTold(a *Attachment, id string) {
	select {
	case a.forgets <- struct{}{}:
	default:
		return // it will tell of this one again
	}
	w.task(func() {
		defer func() { <-a.forgets }()
		w.tellForget(a, id)
	})
}

// forget has a worker forget a unit.
func (w *Workceptor) forget(a *Attachment, id string) {
	w.task(func() { w.tellForget(a, id) })
}

func (w *Workceptor) tellForget(a *Attachment, id string) {
	ctx, cancel := context.WithTimeout(a.ctx, callTimeout)
	defer cancel()
	if err := a.worker.Release(ctx, id); err != nil && a.ctx.Err() == nil {
		w.log.Warn("a worker did not release a unit; it will when it tells of it again", "worker", a.name, "unit", id, "error", err)
	}
}
