package workfunc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/wire"
)

// Func is what a unit does. It ends when ctx is done, which means that the unit is
// unwanted. nil is exit status 0, Exit another one, and any other error status 1,
// with its text as the reason.
type Func func(ctx context.Context, u *Unit) error

// Exit is the error of a unit that exits with a status.
type Exit int

// Error implements error.
func (e Exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// Worker runs units by a function. It implements plug.Worker.
type Worker struct {
	run    Func
	report func(wire.Unit)
	ledger *ledger
	all    sync.WaitGroup

	mu    sync.Mutex
	units map[string]*Unit // those that run
}

// Serve offers a type of work of an item whose units are calls of run, until ctx is
// done, and waits for them; see Open for dir.
func Serve(ctx context.Context, it *plug.Item, dir string, t plug.WorkType, run Func) error {
	w, err := Open(dir, it.Report, run)
	if err != nil {
		return err
	}
	return errors.Join(it.Work(ctx, t, w), w.Close())
}

// Open makes a worker that keeps what it has to keep in dir, which it makes if it is
// not there, and holds until Close: a second process gets socket.ErrLocked. report is
// told how units fare, as a rule Item.Report.
func Open(dir string, report func(wire.Unit), run Func) (*Worker, error) {
	l, err := openLedger(dir)
	if err != nil {
		return nil, err
	}
	return &Worker{run: run, report: report, ledger: l, units: make(map[string]*Unit)}, nil
}

// Close has all units end, and waits for them.
func (w *Worker) Close() error {
	w.mu.Lock()
	for _, u := range w.units {
		u.stop(errors.New("the worker ends"))
	}
	w.mu.Unlock()
	w.all.Wait()
	return w.ledger.close()
}

// Start implements plug.Worker.
func (w *Worker) Start(_ context.Context, s plug.StartUnit) (wire.Unit, error) {
	u, known, err := w.begin(s)
	if err != nil || u == nil {
		s.Close()
		return known, err
	}
	w.all.Go(func() { w.serve(u) })
	return u.status(), nil
}

// begin has a unit be there. Without one it was there before, as known.
func (w *Worker) begin(s plug.StartUnit) (u *Unit, known wire.Unit, err error) {
	if !unitID.MatchString(s.Unit) {
		return nil, known, wire.NewError(wire.CodeInvalid, "unit %q: expected letters and digits", s.Unit)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if u := w.units[s.Unit]; u != nil {
		return nil, u.status(), nil
	}
	err = w.ledger.add(s.Unit)
	if errors.Is(err, fs.ErrExist) {
		known, err = w.ledger.ended(s.Unit)
		return nil, known, err
	}
	if err != nil {
		return nil, known, err
	}
	u = newUnit(s, w.report)
	w.units[s.Unit] = u
	return u, known, nil
}

// serve runs a unit and says how it has ended, on the disk first.
func (w *Worker) serve(u *Unit) {
	err := w.run(u.ctx, u)
	end := u.finish(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.units, u.Unit)
	if u.released {
		if err := w.ledger.remove(u.Unit); err == nil {
			return
		}
	}
	if err := w.ledger.end(end); err != nil {
		end.Reason = fmt.Sprintf("%s (and after a restart of the worker it will be lost: %v)", end.Reason, err)
	}
	w.report(end)
}

// Stop implements plug.Worker. A function cannot be killed: after grace the unit has
// no files any more.
func (w *Worker) Stop(_ context.Context, unit string, grace time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if u := w.units[unit]; u != nil {
		u.stop(context.Canceled)
		u.closeAfter(grace)
	}
	return nil
}

// Release implements plug.Worker.
func (w *Worker) Release(_ context.Context, unit string) error {
	if !unitID.MatchString(unit) {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if u := w.units[unit]; u != nil {
		u.released = true
		u.stop(context.Canceled)
		u.closeAfter(0)
		return nil
	}
	return w.ledger.remove(unit)
}

// Recover implements plug.Worker.
func (w *Worker) Recover(_ context.Context, units []wire.KnownUnit) (told []wire.Unit, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range units {
		if !unitID.MatchString(k.Unit) {
			continue
		}
		if u := w.units[k.Unit]; u != nil {
			told = append(told, u.status())
			continue
		}
		u, err := w.ledger.ended(k.Unit)
		switch {
		case err == nil:
			told = append(told, u)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("read what became of unit %s: %w", k.Unit, err)
		}
	}
	return told, nil
}

var _ plug.Worker = (*Worker)(nil)
