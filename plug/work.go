package plug

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// tellInterval is the shortest time between two reports: a unit that writes byte by
// byte is told of some hundred times a second, far below what a core lets a plug ask.
const tellInterval = 2 * time.Millisecond

// offered is a type of work that is offered, or to be offered again.
type offered struct {
	item   *Item
	worker Worker
	calls  sync.WaitGroup // to worker
}

// Work offers a type of work and has w run the units of that type that the core
// sends. The item is up, with the type as its address, once that is offered. Work
// returns when ctx is done (nil, after the calls to w that are under way) or the core
// refuses the offer; a lost core is waited for, and the offer made again. Units that
// run are not concerned by any of this: they are the worker's.
//
// One worker may be given for several types.
func (it *Item) Work(ctx context.Context, t WorkType, w Worker) error {
	r := it.runner
	o := &offered{item: it, worker: w}
	r.mu.Lock()
	taken := r.work[t.Name] != nil
	if !taken {
		r.work[t.Name] = o
	}
	r.mu.Unlock()
	if taken {
		return fmt.Errorf("work type %s is offered already", t.Name)
	}
	err := it.offer(ctx, wire.WorkType{Type: t.Name, Item: it.ID, Slots: t.Slots, Params: t.Params})
	r.mu.Lock()
	delete(r.work, t.Name) // nothing is started from here on
	r.mu.Unlock()
	o.calls.Wait()
	return err
}

// offer keeps a type of work offered until ctx is done.
func (it *Item) offer(ctx context.Context, body wire.WorkType) error {
	var core *attachment
	for {
		var err error
		if core, err = it.runner.await(ctx, core); err != nil {
			return nil // ctx is done: the offer ends with the item
		}
		if !core.handoff {
			return errors.New("the core cannot pass descriptors to this plug: a worker needs them")
		}
		err = core.session.Call(ctx, wire.TypeWorkType, body, nil)
		switch {
		case err == nil:
			it.Up(body.Type)
			it.runner.reports.tellAll() // before the offer the core has not listened
			core.offered()
		case ctx.Err() == nil && !errors.Is(err, session.ErrClosed):
			return fmt.Errorf("offer work type %s: %w", body.Type, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-core.session.Done():
		}
	}
}

// Report tells the core how a unit fares, soon, and every core that attaches later,
// until the unit is released: all that there is to say, each time. It does not block.
func (it *Item) Report(u wire.Unit) { it.runner.reports.put(u) }

// started answers START.
func (r *runner) started(ctx context.Context, q *session.Request) (any, error) {
	s := StartUnit{}
	if err := q.Decode(&s.Start); err != nil {
		return nil, err
	}
	want := 3
	if s.Merged {
		want = 2
	}
	if len(q.Files) != want {
		return nil, wire.NewError(wire.CodeInvalid, "START of %s came with %d descriptors, expected %d", s.Unit, len(q.Files), want)
	}
	r.mu.Lock()
	o := r.work[s.Type]
	if o != nil {
		o.calls.Add(1)
	}
	r.mu.Unlock()
	if o == nil {
		return nil, wire.NewError(wire.CodeDraining, "work type %s is not offered any more", s.Type)
	}
	defer o.calls.Done()
	files := q.TakeFiles()
	s.Stdin, s.Stdout = files[0], files[1]
	if !s.Merged {
		s.Stderr = files[2]
	}
	u, err := o.worker.Start(ctx, s)
	if told := (*wire.Error)(nil); err != nil && !errors.As(err, &told) {
		err = &wire.Error{Code: wire.CodeRefused, Class: wire.ClassNever, Msg: err.Error()}
	}
	return u, err
}

// workers are all that the plug has, each once, as STOP, RELEASE and RECOVER do not
// say whose a unit is: so none may be missing. done is called when they are not needed
// any more.
func (r *runner) workers() (all []Worker, done func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := make(map[Worker]bool)
	offers := make(map[*Item]bool)
	var held []*offered
	for _, o := range r.work {
		offers[o.item] = true
		if !seen[o.worker] {
			seen[o.worker] = true
			o.calls.Add(1)
			held = append(held, o)
			all = append(all, o.worker)
		}
	}
	done = func() {
		for _, o := range held {
			o.calls.Done()
		}
	}
	for _, it := range r.items {
		if k := schema.Find(r.hello.Kinds, it.Kind); k != nil && k.Role == wire.RoleWorker && !offers[it] {
			done()
			return nil, nil, wire.NewError(wire.CodeDraining, "item %s does not work now, and a unit may be its", it.ID)
		}
	}
	return all, done, nil
}

// stopped answers STOP.
func (r *runner) stopped(ctx context.Context, s wire.Stop) error {
	all, done, err := r.workers()
	if err != nil {
		return err
	}
	defer done()
	var errs []error
	for _, w := range all {
		errs = append(errs, w.Stop(ctx, s.Unit, time.Duration(s.GraceMS)*time.Millisecond))
	}
	return errors.Join(errs...)
}

// released answers RELEASE.
func (r *runner) released(ctx context.Context, unit string) error {
	all, done, err := r.workers()
	if err != nil {
		return err
	}
	defer done()
	var errs []error
	for _, w := range all {
		errs = append(errs, w.Release(ctx, unit))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	r.reports.forget(unit)
	return nil
}

// recovered answers RECOVER.
func (r *runner) recovered(ctx context.Context, units []wire.KnownUnit) (wire.Recovered, error) {
	told := wire.Recovered{Units: []wire.Unit{}}
	all, done, err := r.workers()
	if err != nil {
		return told, err
	}
	defer done()
	for _, w := range all {
		of, err := w.Recover(ctx, units)
		if err != nil {
			return told, err
		}
		for i := range of {
			of[i].Handle = nil // the core has it
		}
		told.Units = append(told.Units, of...)
	}
	return told, nil
}

// tellUnits tells a core how the units fare, whenever there is something to tell,
// until its session ends.
func (r *runner) tellUnits(a *attachment) {
	select {
	case <-a.session.Done():
		return
	case <-a.listens:
	}
	for {
		select {
		case <-a.session.Done():
			return
		case <-r.reports.due:
		}
		units := r.reports.take(wire.MaxUnits)
		if len(units) == 0 {
			continue
		}
		err := a.session.Call(context.Background(), wire.TypeUnit, wire.Units{Units: units}, nil)
		if told := (*wire.Error)(nil); errors.As(err, &told) {
			r.log.Warn("the core does not take what is told of units", "error", err)
		} else if err != nil {
			r.reports.again(units) // this core does not answer, or the next is told
		}
		select {
		case <-a.session.Done():
		case <-time.After(tellInterval):
		}
	}
}
