// Package workertest has a worker for tests: units are Go functions in the process of
// the test. Like a real one it outlives the node that it is attached to, and counts
// how often each unit was run.
package workertest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/project-receptor/receptor/workceptor"
)

// Worker implements workceptor.Worker. The zero value echoes: its units copy what
// they are given to stdout.
type Worker struct {
	// Run is what a unit does. It returns how the unit exits.
	Run func(u *Unit) workceptor.Exit
	// OnStart, if it is not nil, may refuse a unit before it is taken.
	OnStart func(s workceptor.Start) error
	// Forgetful has it know no unit at Recover.
	Forgetful bool

	mu    sync.Mutex
	units map[string]*Unit
	to    *workceptor.Attachment
	runs  map[string]int
	all   sync.WaitGroup
}

// Unit is a unit that runs.
type Unit struct {
	workceptor.Start
	Stopped <-chan struct{} // closed when its end is wanted

	worker *Worker
	stop   func()
	report workceptor.Report // guarded by the worker's mutex
}

// Attach attaches the worker to a node and offers types, with all that it has.
func (k *Worker) Attach(w *workceptor.Workceptor, types ...workceptor.WorkType) (*workceptor.Attachment, error) {
	a := w.Attach("test", k)
	k.mu.Lock()
	k.to = a
	k.mu.Unlock()
	for _, t := range types {
		if err := a.Offer(t); err != nil {
			return nil, err
		}
	}
	for _, r := range k.reports() {
		if err := a.Report(r); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Detach takes the worker away from its node. Its units go on.
func (k *Worker) Detach() {
	k.mu.Lock()
	a := k.to
	k.to = nil
	k.mu.Unlock()
	if a != nil {
		a.Detach()
	}
}

// Wait waits for all units to end.
func (k *Worker) Wait() { k.all.Wait() }

// Runs is how often a unit was run.
func (k *Worker) Runs(unit string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.runs[unit]
}

// Has tells whether the worker knows a unit.
func (k *Worker) Has(unit string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.units[unit] != nil
}

func (k *Worker) reports() (all []workceptor.Report) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, u := range k.units {
		all = append(all, u.report)
	}
	return all
}

// Start implements workceptor.Worker.
func (k *Worker) Start(_ context.Context, s workceptor.Start) (workceptor.Report, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if u := k.units[s.Unit]; u != nil {
		return u.report, closeFiles(s)
	}
	if k.OnStart != nil {
		if err := k.OnStart(s); err != nil {
			return workceptor.Report{}, errors.Join(err, closeFiles(s))
		}
	}
	if k.units == nil {
		k.units, k.runs = make(map[string]*Unit), make(map[string]int)
	}
	stopped := make(chan struct{})
	u := &Unit{Start: s, Stopped: stopped, worker: k, stop: sync.OnceFunc(func() { close(stopped) })}
	u.report = workceptor.Report{
		Unit: s.Unit, State: workceptor.ReportRunning, PID: 1000 + len(k.runs), Handle: json.RawMessage(`{"test":true}`),
	}
	k.units[s.Unit] = u
	k.runs[s.Unit]++
	k.all.Go(u.run)
	return u.report, nil
}

func (u *Unit) run() {
	run := u.worker.Run
	if run == nil {
		run = Echo
	}
	exit := run(u)
	if err := closeFiles(u.Start); err != nil {
		exit = workceptor.Exit{Code: 255}
	}
	u.update(func(r *workceptor.Report) { r.State, r.Exit = workceptor.ReportExited, exit })
}

// Echo copies a unit's stdin to its stdout.
func Echo(u *Unit) workceptor.Exit {
	b, err := io.ReadAll(u.Stdin)
	if err == nil {
		_, err = u.Write(b)
	}
	if err != nil {
		return workceptor.Exit{Code: 1}
	}
	return workceptor.Exit{}
}

// Write writes to the unit's stdout.
func (u *Unit) Write(b []byte) (int, error) {
	n, err := u.Stdout.Write(b)
	u.update(func(r *workceptor.Report) { r.Stdout += int64(n) })
	return n, err
}

// WriteErr writes to the unit's stderr.
func (u *Unit) WriteErr(b []byte) (int, error) {
	n, err := u.Stderr.Write(b)
	u.update(func(r *workceptor.Report) {
		if u.Merged {
			r.Stdout += int64(n)
		} else {
			r.Stderr += int64(n)
		}
	})
	return n, err
}

// update changes what the worker tells of a unit, and tells it.
func (u *Unit) update(f func(*workceptor.Report)) {
	u.worker.mu.Lock()
	f(&u.report)
	r, to := u.report, u.worker.to
	u.worker.mu.Unlock()
	if to != nil {
		_ = to.Report(r) // of a type that was withdrawn nobody wants to know
	}
}

// Stop implements workceptor.Worker.
func (k *Worker) Stop(_ context.Context, unit string, _ time.Duration) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if u := k.units[unit]; u != nil {
		u.stop()
	}
	return nil
}

// Release implements workceptor.Worker.
func (k *Worker) Release(_ context.Context, unit string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if u := k.units[unit]; u != nil {
		u.stop()
		delete(k.units, unit)
	}
	return nil
}

// Recover implements workceptor.Worker.
func (k *Worker) Recover(_ context.Context, units []workceptor.Known) (told []workceptor.Report, _ error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, known := range units {
		if u := k.units[known.Unit]; u != nil && !k.Forgetful {
			told = append(told, u.report)
		}
	}
	return told, nil
}

func closeFiles(s workceptor.Start) error {
	var errs []error
	for _, f := range []*os.File{s.Stdin, s.Stdout, s.Stderr} {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// Total is how often any unit was run.
func (k *Worker) Total() (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, runs := range k.runs {
		n += runs
	}
	return n
}
