package workercommand

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/program"
	"github.com/project-receptor/receptor/plug/wire"
	"github.com/project-receptor/receptor/worker-command/internal/cgroup"
	"github.com/project-receptor/receptor/worker-command/internal/ledger"
	"github.com/project-receptor/receptor/worker-command/internal/unit"
)

// stateName is the directory of this plug in that of a node.
const stateName = "worker-command"

// run offers a type of work, with the units of that type that there are already.
func run(ctx context.Context, it *plug.Item) error {
	w, err := newWorker(ctx, it)
	if err != nil {
		return err
	}
	err = it.Work(ctx, plug.WorkType{Name: w.command.WorkType, Params: w.command.AllowRuntimeParams}, w)
	return errors.Join(err, w.ledger.Close())
}

// worker runs the units of an item. It implements plug.Worker.
type worker struct {
	command *command
	as      *program.User // nil: whoever runs this program
	limits  cgroup.Limits
	rlimits []unit.RLimit
	detail  string // of every unit
	ledger  *ledger.Ledger
}

func newWorker(ctx context.Context, it *plug.Item) (*worker, error) {
	c, err := decode(it)
	if err != nil {
		return nil, err
	}
	w := &worker{command: c}
	if w.as, err = program.Identify(c.User, c.Group); err != nil {
		return nil, err
	}
	supervisor, err := c.supervisor()
	if err != nil {
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	tree, err := c.cgroups()
	if err != nil {
		return nil, err
	}
	var controllers []string
	if tree != nil {
		controllers = tree.Controllers()
	}
	var missing []string
	w.limits, w.rlimits, w.detail, missing = c.limits.plan(controllers)
	if len(missing) > 0 {
		it.Log.Warn("limits cannot be applied without a cgroup that is delegated", "limits", missing)
	}
	dir := c.StateDir
	if dir == "" {
		if dir, err = it.StateDir(stateName); err != nil {
			return nil, err
		}
		dir = filepath.Join(dir, plug.SafeName(c.WorkType))
	}
	w.ledger, err = ledger.Open(ctx, ledger.Options{
		Dir: dir, Supervisor: supervisor, Cgroups: tree, Logger: it.Log,
		Report: func(r ledger.Report) { it.Report(body(r)) },
	})
	return w, err
}

// supervisorName is the program that looks after a unit.
const supervisorName = "receptor-work-supervisor"

// supervisor is the path of that program.
func (c *command) supervisor() (string, error) {
	path := c.Supervisor
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			return "", err
		}
		path = filepath.Join(filepath.Dir(self), supervisorName)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return path, program.Executable(path)
}

// cgroups is the tree that units get cgroups in; nil: there is none.
func (c *command) cgroups() (*cgroup.Tree, error) {
	if c.Cgroup == "none" {
		return nil, nil
	}
	tree, err := cgroup.Open(c.Cgroup)
	if errors.Is(err, cgroup.ErrNone) && c.Cgroup == "" {
		return nil, nil
	}
	return tree, err
}

// Start implements plug.Worker.
func (w *worker) Start(ctx context.Context, s plug.StartUnit) (wire.Unit, error) {
	// A unit that is had is not to be refused, whatever has changed since.
	if had := w.ledger.Recover(ctx, []string{s.Unit}); len(had) > 0 {
		s.Close()
		return body(had[0]), nil
	}
	spec, err := w.command.spec(s.Unit, s.Params, w.as)
	if err != nil {
		s.Close()
		return wire.Unit{}, err
	}
	spec.Limits, spec.Detail = w.rlimits, w.detail
	r, err := w.ledger.Start(ctx, ledger.Start{Spec: spec, Limits: w.limits, Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr})
	if err != nil {
		return wire.Unit{}, wire.NewError(wire.CodeBusy, "%v", err) // the unit is not to blame
	}
	return body(r), nil
}

// Stop implements plug.Worker.
func (w *worker) Stop(_ context.Context, id string, grace time.Duration) error {
	if w.command.grace > 0 {
		grace = w.command.grace
	}
	return w.ledger.Stop(id, grace)
}

// Release implements plug.Worker.
func (w *worker) Release(_ context.Context, id string) error { return w.ledger.Release(id) }

// Recover implements plug.Worker.
func (w *worker) Recover(ctx context.Context, known []wire.KnownUnit) ([]wire.Unit, error) {
	ids := make([]string, 0, len(known))
	for _, k := range known {
		ids = append(ids, k.Unit)
	}
	var told []wire.Unit
	for _, r := range w.ledger.Recover(ctx, ids) {
		told = append(told, body(r))
	}
	return told, ctx.Err()
}

// states are those of the ledger as the protocol names them.
var states = map[ledger.State]string{
	ledger.Starting: wire.UnitStarting,
	ledger.Running:  wire.UnitRunning,
	ledger.Exited:   wire.UnitExited,
	ledger.Refused:  wire.UnitRefused,
	ledger.Lost:     wire.UnitLost,
}

// body is what is told of a unit.
func body(r ledger.Report) wire.Unit {
	u := wire.Unit{
		Unit: r.Unit, State: states[r.State], PID: r.PID, Detail: r.Detail, Reason: r.Reason,
		OutBytes: r.Stdout, ErrBytes: r.Stderr,
	}
	if r.State == ledger.Exited {
		u.Exit = &wire.Exit{Code: r.Code, Signal: r.Signal, OOMKilled: r.OOM}
	}
	return u
}
