package plughost

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// The policy parameters of workers.
const (
	paramVerifySignature = "verifysignature"
	paramMaxConcurrent   = "maxconcurrent"
)

// workPolicy is what the core reads of a worker's item.
type workPolicy struct {
	secure        bool // work must be signed
	maxConcurrent int  // units that run at a time; 0: as the worker says
}

// worker is the side of a guest that runs units of work: what the node's units see
// of the plug.
type worker struct {
	guest *guest
	host  plug.AttachedWorker

	// Guarded by Host.mu.
	offers map[string]wire.WorkType // by type
}

// attachWorker makes the plug a worker of the node's units if it has the role.
func (g *guest) attachWorker() {
	if _, ok := g.roles[wire.RoleWorker]; ok {
		w := &worker{guest: g, offers: make(map[string]wire.WorkType)}
		w.host = g.host.workers.AttachWorker(g.hello.Name, w)
		g.worker = w
		if !g.fdpass {
			g.problems = append(g.problems, "no work: it needs descriptors, and none can be passed on this session")
		}
	}
}

// detachWorker takes the plug away from the units; those that it has go on. Callers
// hold mu.
func (g *guest) detachWorker() {
	if g.worker != nil {
		g.worker.host.Detach()
		clear(g.worker.offers)
	}
}

// workType answers WORKTYPE.
func (g *guest) workType(r *session.Request) error {
	var req wire.WorkType
	if err := r.Decode(&req); err != nil {
		return err
	}
	h := g.host
	h.mu.Lock()
	defer h.mu.Unlock()
	it, err := g.mayOffer(req)
	if err != nil {
		return err
	}
	if err := g.worker.host.Offer(it.offers(req)); err != nil {
		return wire.NewError(wire.CodeExists, "%v", err)
	}
	g.worker.offers[req.Type] = req
	h.notify()
	return nil
}

// mayOffer checks a WORKTYPE against what the plug may. Callers hold mu.
func (g *guest) mayOffer(req wire.WorkType) (*item, error) {
	switch {
	case g.gone:
		return nil, wire.NewError(wire.CodeGone, "the session has ended")
	case g.superseded:
		return nil, wire.NewError(wire.CodeDraining, "a newer process of %s has taken over", g.hello.Name)
	case g.worker == nil:
		return nil, wire.NewError(wire.CodeDenied, "role worker is not granted to %s", g.hello.Name)
	case !g.fdpass:
		return nil, wire.NewError(wire.CodeUnsupported, "work needs descriptors, and none can be passed on this session")
	case req.Type == "" || len(req.Type) > maxText || req.Slots < 0:
		return nil, wire.NewError(wire.CodeInvalid, "WORKTYPE needs a type, of at most %d bytes, and slots of 0 or more", maxText)
	}
	it := g.itemOf(req.Item)
	if it == nil || it.kind.Role != wire.RoleWorker {
		return nil, wire.NewError(wire.CodeDenied, "%s has no item %q of a worker", g.hello.Name, clip(req.Item))
	}
	if rr, _ := g.rule.allowsRole(wire.RoleWorker); !rr.allowsType(req.Type) {
		return nil, wire.NewError(wire.CodeDenied, "plugs-policy does not allow %s to offer work type %q", g.hello.Name, clip(req.Type))
	}
	if _, again := g.worker.offers[req.Type]; !again && len(g.worker.offers) >= maxWorkTypes {
		return nil, wire.NewError(wire.CodeLimit, "%s offers %d work types, at most %d are allowed", g.hello.Name, len(g.worker.offers), maxWorkTypes)
	}
	return it, nil
}

// offers is a type of work as the policy parameters of its item have it.
func (it *item) offers(t wire.WorkType) plug.OfferedWork {
	o := plug.OfferedWork{
		WorkType: plug.WorkType{Name: t.Type, Slots: t.Slots, Params: t.Params},
		Secure:   it.work.secure,
	}
	if n := it.work.maxConcurrent; n > 0 && (o.Slots == 0 || n < o.Slots) {
		o.Slots = n
	}
	return o
}

// reoffer brings what the plug offers in line with its items: their policy may have
// changed, and an offer ends with its item. Callers hold mu.
func (g *guest) reoffer() {
	if g.worker == nil || g.superseded {
		return
	}
	for name, t := range g.worker.offers {
		it := g.itemOf(t.Item)
		if it == nil {
			delete(g.worker.offers, name)
			g.worker.host.Withdraw(name)
			continue
		}
		if err := g.worker.host.Offer(it.offers(t)); err != nil {
			g.log.Warn("work type is not offered any more", "type", name, "error", err)
		}
	}
}

// units answers UNIT.
func (g *guest) units(r *session.Request) error {
	var req wire.Units
	if err := r.Decode(&req); err != nil {
		return err
	}
	h := g.host
	h.mu.Lock()
	w := g.worker
	h.mu.Unlock()
	if w == nil {
		return wire.NewError(wire.CodeDenied, "role worker is not granted to %s", g.hello.Name)
	}
	if len(req.Units) > wire.MaxUnits {
		return wire.NewError(wire.CodeLimit, "UNIT tells of %d units, at most %d are allowed", len(req.Units), wire.MaxUnits)
	}
	var errs []error
	for _, u := range req.Units {
		err := checkUnit(&u)
		if err == nil {
			err = w.host.Report(u)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		h.count("unit_reports_refused")
		return wire.NewError(wire.CodeInvalid, "%d of %d units: %s", len(errs), len(req.Units), clip(errs[0].Error()))
	}
	return nil
}

// checkUnit reports what is wrong with what a worker tells of a unit, and shortens
// what is for people.
func checkUnit(u *wire.Unit) error {
	switch {
	case u.Unit == "" || len(u.Unit) > maxText:
		return fmt.Errorf("unit %q: expected an ID", clip(u.Unit))
	case len(u.Handle) > wire.MaxHandle:
		return fmt.Errorf("unit %s: the handle has %d bytes, at most %d are allowed", u.Unit, len(u.Handle), wire.MaxHandle)
	case u.PID < 0 || u.OutBytes < 0 || u.ErrBytes < 0:
		return fmt.Errorf("unit %s: a number is negative", u.Unit)
	}
	switch u.State {
	case wire.UnitStarting, wire.UnitRunning, wire.UnitExited, wire.UnitRefused, wire.UnitLost:
	default:
		return fmt.Errorf("unit %s: unknown state %q", u.Unit, clip(u.State))
	}
	u.Detail, u.Reason = clip(u.Detail), clip(u.Reason)
	if u.Exit != nil {
		u.Exit.Signal = clip(u.Exit.Signal)
	}
	return nil
}

// Start implements plug.Worker. An error of class retry means that nobody knows
// whether the worker has the unit, or that it has not and may take it later.
func (w *worker) Start(ctx context.Context, s plug.StartUnit) (wire.Unit, error) {
	defer s.Close()
	h := w.guest.host
	h.mu.Lock()
	s.Item = w.offers[s.Type].Item
	busy := w.guest.stalled || w.guest.draining
	h.mu.Unlock()
	var u wire.Unit
	if busy {
		return u, wire.NewError(wire.CodeBusy, "%s takes no new work", w.guest.hello.Name)
	}
	files, err := w.guest.engine.CallFiles(ctx, wire.TypeStart, s.Start, &u, s.Files())
	closeAll(files)
	if err != nil {
		return u, told(err)
	}
	u.Unit = s.Unit
	if err := checkUnit(&u); err != nil {
		return u, told(err)
	}
	return u, nil
}

// Stop implements plug.Worker.
func (w *worker) Stop(ctx context.Context, unit string, grace time.Duration) error {
	return told(w.guest.engine.Call(ctx, wire.TypeStop, wire.Stop{Unit: unit, GraceMS: grace.Milliseconds()}, nil))
}

// Release implements plug.Worker.
func (w *worker) Release(ctx context.Context, unit string) error {
	return told(w.guest.engine.Call(ctx, wire.TypeRelease, wire.Release{Unit: unit}, nil))
}

// Recover implements plug.Worker. Many units are asked about a part at a time.
func (w *worker) Recover(ctx context.Context, units []wire.KnownUnit) (all []wire.Unit, err error) {
	for len(units) > 0 {
		n := min(len(units), wire.MaxUnits)
		asked := make(map[string]bool, n)
		for _, k := range units[:n] {
			asked[k.Unit] = true
		}
		var r wire.Recovered
		if err := w.guest.engine.Call(ctx, wire.TypeRecover, wire.Recover{Units: units[:n]}, &r); err != nil {
			return nil, told(err)
		}
		for _, u := range r.Units {
			if err := checkUnit(&u); err != nil {
				return nil, told(err)
			}
			if asked[u.Unit] { // of others it was not asked
				all = append(all, u)
				delete(asked, u.Unit)
			}
		}
		units = units[n:]
	}
	return all, nil
}

// told makes an error of the session one of the worker's: it cannot be known what
// became of the request.
func told(err error) error {
	if e := (*wire.Error)(nil); err == nil || errors.As(err, &e) {
		return err
	}
	return wire.NewError(wire.CodeUnreachable, "%v", err)
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // nobody has asked for them
	}
}

var _ plug.Worker = (*worker)(nil)
