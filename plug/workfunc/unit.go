package workfunc

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/wire"
)

// Unit is a unit that runs. What is written to it goes to its stdout, and whoever
// follows it hears of that at once. It reads its payload from Stdin.
type Unit struct {
	plug.StartUnit

	ctx      context.Context // ends when the unit is unwanted
	stop     context.CancelCauseFunc
	report   func(wire.Unit)
	released bool // guarded by the worker's mutex

	mu    sync.Mutex
	state wire.Unit
	late  *time.Timer // until its files are closed; nil: nobody wants its end

	closing sync.Once
}

func newUnit(s plug.StartUnit, report func(wire.Unit)) *Unit {
	u := &Unit{StartUnit: s, report: report, state: wire.Unit{Unit: s.Unit, State: wire.UnitRunning, PID: os.Getpid()}}
	u.ctx, u.stop = context.WithCancelCause(context.Background())
	return u
}

// Write writes to stdout.
func (u *Unit) Write(b []byte) (int, error) {
	n, err := u.Stdout.Write(b)
	u.update(func(s *wire.Unit) { s.OutBytes += int64(n) })
	return n, err
}

// Errors is where to write for stderr, which may be the same as stdout.
func (u *Unit) Errors() io.Writer {
	if u.Merged {
		return u
	}
	return errorWriter{u}
}

type errorWriter struct{ u *Unit }

// Write implements io.Writer.
func (w errorWriter) Write(b []byte) (int, error) {
	n, err := w.u.Stderr.Write(b)
	w.u.update(func(s *wire.Unit) { s.ErrBytes += int64(n) })
	return n, err
}

// Detail tells people how far the unit is, in one line.
func (u *Unit) Detail(text string) { u.update(func(s *wire.Unit) { s.Detail = text }) }

func (u *Unit) update(f func(*wire.Unit)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f(&u.state)
	u.report(u.state) // in order
}

func (u *Unit) status() wire.Unit {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.state
}

// closeAfter closes the unit's files after a while.
func (u *Unit) closeAfter(grace time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.late == nil {
		u.late = time.AfterFunc(grace, u.closeFiles)
	} else {
		u.late.Reset(grace)
	}
}

func (u *Unit) closeFiles() { u.closing.Do(u.Close) }

// finish makes the end of the unit of what its function has returned. What was
// written is on the disk then.
func (u *Unit) finish(err error) wire.Unit {
	var unsynced []error
	for _, f := range []*os.File{u.Stdout, u.Stderr} {
		if f == nil {
			continue
		}
		if err := f.Sync(); !errors.Is(err, os.ErrClosed) {
			unsynced = append(unsynced, err)
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.late != nil {
		u.late.Stop()
	}
	u.closeFiles()
	err = errors.Join(append(unsynced, err)...)
	end := &u.state
	end.State, end.PID, end.Detail, end.Exit = wire.UnitExited, 0, "", new(wire.Exit)
	var exit Exit
	switch {
	case err == nil:
	case errors.As(err, &exit):
		end.Exit.Code = int(exit)
	case errors.Is(err, u.ctx.Err()):
		end.Exit.Code, end.Reason = 1, context.Cause(u.ctx).Error()
	default:
		end.Exit.Code, end.Reason = 1, err.Error()
	}
	u.stop(nil)
	return *end
}
