package workceptor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/wire"
)

// Plugs returns the units of a node as whoever serves plugs sees them: workers that
// attach there run them.
func (w *Workceptor) Plugs() plug.WorkerHost { return plugs{w} }

type plugs struct{ work *Workceptor }

// AttachWorker implements plug.WorkerHost.
func (p plugs) AttachWorker(name string, k plug.Worker) plug.AttachedWorker {
	return plugAttachment{p.work.Attach(name, plugWorker{k})}
}

// plugAttachment is an Attachment in the terms of plugs.
type plugAttachment struct{ *Attachment }

// Offer implements plug.AttachedWorker.
func (a plugAttachment) Offer(t plug.OfferedWork) error {
	return a.Attachment.Offer(WorkType{Name: t.Name, Slots: t.Slots, Params: t.Params, Secure: t.Secure})
}

// Report implements plug.AttachedWorker.
func (a plugAttachment) Report(u wire.Unit) error { return a.Attachment.Report(report(u)) }

// plugWorker is a worker in the terms of this package.
type plugWorker struct{ worker plug.Worker }

// Start implements Worker.
func (p plugWorker) Start(ctx context.Context, s Start) (Report, error) {
	start := plug.StartUnit{
		Start: wire.Start{Unit: s.Unit, Type: s.Type, Params: s.Params, Merged: s.Merged},
		Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr,
	}
	if s.Merged {
		_ = s.Stderr.Close() // stdout once more, and nothing was written to it
		start.Stderr = nil
	}
	u, err := p.worker.Start(ctx, start)
	if e := (*wire.Error)(nil); errors.As(err, &e) {
		if e.Class == wire.ClassRetry || e.Class == wire.ClassGone {
			return Report{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return Report{}, errors.New(e.Msg) // for the unit's submitter
	}
	return report(u), err
}

// Stop implements Worker.
func (p plugWorker) Stop(ctx context.Context, unit string, grace time.Duration) error {
	return p.worker.Stop(ctx, unit, grace)
}

// Release implements Worker.
func (p plugWorker) Release(ctx context.Context, unit string) error {
	return p.worker.Release(ctx, unit)
}

// Recover implements Worker.
func (p plugWorker) Recover(ctx context.Context, units []Known) ([]Report, error) {
	known := make([]wire.KnownUnit, len(units))
	for i, u := range units {
		known[i] = wire.KnownUnit(u)
	}
	told, err := p.worker.Recover(ctx, known)
	reports := make([]Report, len(told))
	for i, u := range told {
		reports[i] = report(u)
	}
	return reports, err
}

// report is what a plug tells of a unit in the terms of this package, whose states
// have the same names.
func report(u wire.Unit) Report {
	r := Report{
		Unit: u.Unit, State: ReportState(u.State), PID: u.PID, Detail: u.Detail, Handle: u.Handle,
		Reason: u.Reason, Stdout: u.OutBytes, Stderr: u.ErrBytes,
	}
	if u.Exit != nil {
		r.Exit = Exit(*u.Exit)
	}
	return r
}
