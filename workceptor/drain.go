package workceptor

import (
	"context"
	"errors"
	"time"
)

// ErrDraining says that a node takes no new work.
var ErrDraining = errors.New("the node is draining and takes no new work")

// Draining is how a node stands that takes no new work. A node that is started again
// takes work.
type Draining struct {
	Since    time.Time `json:"since"`
	Deadline time.Time `json:"deadline,omitzero"` // when what still runs is canceled; zero: never
	Left     int       `json:"left"`              // units that have not ended
}

// drained is the state of that.
type drained struct {
	Draining
	cancel context.CancelFunc // of the deadline
}

// Drain has no new work taken; what there is goes on. After the deadline, 0: none, the
// units that are left are canceled. Another call changes the deadline.
func (w *Workceptor) Drain(deadline time.Duration) {
	w.mu.Lock()
	d := &drained{Draining: Draining{Since: w.c.Now()}, cancel: func() {}}
	if w.drain != nil {
		w.drain.cancel()
		d.Since = w.drain.Since
	}
	if deadline > 0 {
		d.Deadline = w.c.Now().Add(deadline)
		var ctx context.Context
		ctx, d.cancel = context.WithTimeout(w.ctx, deadline)
		w.task(func() {
			<-ctx.Done()
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				w.cancelAll()
			}
		})
	}
	w.drain = d
	w.mu.Unlock()
	w.offersChanged()
}

// Undrain has new work taken again.
func (w *Workceptor) Undrain() {
	w.mu.Lock()
	if w.drain != nil {
		w.drain.cancel()
		w.drain = nil
	}
	w.mu.Unlock()
	w.offersChanged()
}

// Draining tells how a drain stands; nil: new work is taken.
func (w *Workceptor) Draining() *Draining {
	w.mu.Lock()
	drain := w.drain
	w.mu.Unlock()
	if drain == nil {
		return nil
	}
	d := drain.Draining
	for _, u := range w.store.List() {
		if !u.State.Final() {
			d.Left++
		}
	}
	return &d
}

// cancelAll asks for the end of all units.
func (w *Workceptor) cancelAll() {
	for _, u := range w.store.List() {
		if u.State.Final() {
			continue
		}
		w.task(func() {
			if _, err := w.askEnd(w.ctx, u.ID, false); err != nil && !gone(err) && w.ctx.Err() == nil {
				w.log.Error("cannot cancel a unit at the end of a drain", "unit", u.ID, "error", err)
			}
		})
	}
}

// offersChanged has it told which types of work are to be had here.
func (w *Workceptor) offersChanged() {
	select {
	case w.offers <- struct{}{}:
	default:
	}
}

// tellOffers tells it, always as it is now.
func (w *Workceptor) tellOffers() {
	for w.c.Offers != nil {
		select {
		case <-w.ctx.Done():
			return
		case <-w.offers:
		}
		var offered []TypeStatus
		if w.Draining() == nil {
			for _, t := range w.WorkTypes() {
				w.mu.Lock()
				is := w.types[t.Name] != nil && w.types[t.Name].offered
				w.mu.Unlock()
				if is {
					offered = append(offered, t)
				}
			}
		}
		w.c.Offers(offered)
	}
}

// ownDrain is for people at this node only.
func (c *Command) ownDrain(s Session, a ownArgs) (any, error) {
	if !s.Local() {
		return nil, &CommandError{CodeDenied, "only clients on a Unix socket of the node may drain it"}
	}
	if a.Sub == "undrain" {
		c.w.Undrain()
		return map[string]any{"draining": nil}, nil
	}
	deadline, err := duration("deadline", a.Deadline)
	if err != nil {
		return nil, err
	}
	c.w.Drain(deadline)
	return map[string]any{"draining": c.w.Draining()}, nil
}
