//go:build unix

package plughost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// units has work for workers: it notes what they offer and tell.
type units struct {
	mu      sync.Mutex
	workers []*attachedWorker
}

// attachedWorker is a worker of units. It takes what is told of units that it was
// told are the worker's.
type attachedWorker struct {
	plug.Worker
	of   *units
	name string

	// Guarded by of.mu.
	offers   map[string]plug.OfferedWork
	told     []wire.Unit
	detached bool
}

func (u *units) AttachWorker(name string, w plug.Worker) plug.AttachedWorker {
	u.mu.Lock()
	defer u.mu.Unlock()
	a := &attachedWorker{Worker: w, of: u, name: name, offers: make(map[string]plug.OfferedWork)}
	u.workers = append(u.workers, a)
	return a
}

func (a *attachedWorker) Offer(t plug.OfferedWork) error {
	a.of.mu.Lock()
	defer a.of.mu.Unlock()
	for _, o := range a.of.workers {
		if _, taken := o.offers[t.Name]; taken && o != a {
			return fmt.Errorf("work type %s is offered by %s", t.Name, o.name)
		}
	}
	a.offers[t.Name] = t
	return nil
}

func (a *attachedWorker) Withdraw(name string) {
	a.of.mu.Lock()
	defer a.of.mu.Unlock()
	delete(a.offers, name)
}

func (a *attachedWorker) Report(u wire.Unit) error {
	a.of.mu.Lock()
	defer a.of.mu.Unlock()
	if !strings.HasPrefix(u.Unit, a.name) {
		return fmt.Errorf("unit %s is not of this worker", u.Unit)
	}
	a.told = append(a.told, u)
	return nil
}

func (a *attachedWorker) Detach() {
	a.of.mu.Lock()
	defer a.of.mu.Unlock()
	a.detached = true
	clear(a.offers)
}

// last is the worker that has attached last.
func (u *units) last() *attachedWorker {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.workers[len(u.workers)-1]
}

// offered is what is offered of a type now, and by whom.
func (u *units) offered(name string) (plug.OfferedWork, string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, a := range u.workers {
		if t, ok := a.offers[name]; ok {
			return t, a.name
		}
	}
	return plug.OfferedWork{}, ""
}

func workKind() wire.Kind {
	return wire.Kind{Kind: "work-test", Role: wire.RoleWorker, Params: []wire.Param{
		{Name: "name", Type: schema.TypeString, Key: true, Required: true},
	}}
}

func workItem(name string, policy map[string]any) Item {
	params := map[string]any{"name": name}
	for k, v := range policy {
		params[k] = v
	}
	return Item{Kind: "work-test", Params: params}
}

func itemID(name string) string { return "work-test name=" + name }

// workRig is a rig whose node has units.
type workRig struct {
	*rig
	units *units
}

func newWorkRig(t *testing.T, c Config, items ...Item) *workRig {
	t.Helper()
	u := new(units)
	c.Workers = u
	r := &workRig{newRig(t, "alpha", c), u}
	r.SetItems(items)
	return r
}

// worker attaches a worker under a name, and waits for its item.
func (r *workRig) worker(name, item string, work func(context.Context, *session.Request) (any, error)) *giver {
	r.t.Helper()
	hello := plugtest.Hello(name, workKind())
	hello.Features = []string{wire.FeatureFDPass}
	g := r.attachAs(&giver{work: work}, hello)
	g.configured(itemID(item))
	return g
}

func (g *giver) offer(t wire.WorkType) error { return g.Call(g.t.Context(), wire.TypeWorkType, t, nil) }

func (g *giver) tell(units ...wire.Unit) error {
	return g.Call(g.t.Context(), wire.TypeUnit, wire.Units{Units: units}, nil)
}

// startUnit is a unit with files, and what was written to its stdout.
func startUnit(t *testing.T, unit, typ string) (plug.StartUnit, string) {
	t.Helper()
	dir := t.TempDir()
	s := plug.StartUnit{Start: wire.Start{Unit: unit, Type: typ}}
	for name, f := range map[string]**os.File{"in": &s.Stdin, "out": &s.Stdout, "err": &s.Stderr} {
		var err error
		if *f, err = os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s, filepath.Join(dir, "out")
}

// Work passes through the host: the offer with what policy says of it, the start with
// its descriptors, what is told, and the rest.
func TestWorker(t *testing.T) {
	t.Parallel()
	r := newWorkRig(t, Config{}, workItem("a", map[string]any{"maxconcurrent": 2, "verifysignature": true}))
	asked := make(chan any, 8)
	g := r.worker("w", "a", func(_ context.Context, q *session.Request) (any, error) {
		switch q.Type {
		case wire.TypeStart:
			var s wire.Start
			if err := q.Decode(&s); err != nil {
				return nil, err
			}
			if len(q.Files) != 3 {
				return nil, wire.NewError(wire.CodeInvalid, "%d descriptors", len(q.Files))
			}
			_, err := io.WriteString(q.Files[1], "output")
			asked <- s
			return wire.Unit{Unit: "another", State: wire.UnitRunning, PID: 7, Handle: json.RawMessage(`{"h":1}`)}, err
		case wire.TypeStop:
			var s wire.Stop
			err := q.Decode(&s)
			asked <- s
			return nil, err
		case wire.TypeRelease:
			var s wire.Release
			err := q.Decode(&s)
			asked <- s
			return nil, err
		case wire.TypeRecover:
			var s wire.Recover
			err := q.Decode(&s)
			known := wire.Recovered{Units: []wire.Unit{{Unit: "not-asked-for", State: wire.UnitExited}}}
			for _, k := range s.Units[1:] {
				known.Units = append(known.Units, wire.Unit{Unit: k.Unit, State: wire.UnitRunning})
			}
			return known, err
		default:
			return nil, session.ErrUnsupported
		}
	})
	if err := g.offer(wire.WorkType{Type: "shell", Item: itemID("a"), Slots: 5, Params: true}); err != nil {
		t.Fatal(err)
	}
	offer, by := r.units.offered("shell")
	if by != "w" || offer.Slots != 2 || !offer.Secure || !offer.Params {
		t.Errorf("offered %+v by %q", offer, by)
	}
	a := r.units.last()
	s, out := startUnit(t, "w-1", "shell")
	u, err := a.Start(t.Context(), s)
	if err != nil || u.Unit != "w-1" || u.State != wire.UnitRunning || u.PID != 7 || string(u.Handle) != `{"h":1}` {
		t.Fatalf("started %+v, %v", u, err)
	}
	if got := (<-asked).(wire.Start); got.Item != itemID("a") || got.Type != "shell" || got.Unit != "w-1" {
		t.Errorf("START %+v", got)
	}
	if text, err := os.ReadFile(out); err != nil || string(text) != "output" {
		t.Errorf("stdout %q, %v", text, err)
	}
	for _, f := range s.Files() {
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("a file of the unit is still open here: %v", err)
		}
	}
	if err := g.tell(wire.Unit{Unit: "w-1", State: wire.UnitExited, Exit: &wire.Exit{Code: 3}, OutBytes: 6}); err != nil {
		t.Error(err)
	}
	r.units.mu.Lock()
	if len(a.told) != 1 || a.told[0].Exit.Code != 3 || a.told[0].OutBytes != 6 {
		t.Errorf("told %+v", a.told)
	}
	r.units.mu.Unlock()
	if err := a.Stop(t.Context(), "w-1", 1500*time.Millisecond); err != nil {
		t.Error(err)
	}
	if got := (<-asked).(wire.Stop); got != (wire.Stop{Unit: "w-1", GraceMS: 1500}) {
		t.Errorf("STOP %+v", got)
	}
	if err := a.Release(t.Context(), "w-1"); err != nil || (<-asked).(wire.Release).Unit != "w-1" {
		t.Error(err)
	}
	known := make([]wire.KnownUnit, 2*wire.MaxUnits+1) // in three parts, the first of each is not known
	for i := range known {
		known[i].Unit = fmt.Sprint("w-", i)
	}
	recovered, err := a.Recover(t.Context(), known)
	if err != nil || len(recovered) != len(known)-3 || recovered[0].Unit != "w-1" {
		t.Errorf("recovered %d units, %v", len(recovered), err)
	}

	// What policy says may change, and ends with the item.
	r.SetItems([]Item{workItem("a", nil)})
	r.eventually("the offer to follow its item", func() bool {
		o, _ := r.units.offered("shell")
		return o.Slots == 5 && !o.Secure
	})
	r.SetItems(nil)
	r.eventually("the offer to end with its item", func() bool { _, by := r.units.offered("shell"); return by == "" })
	g.kill()
	r.eventually("the worker to be detached", func() bool {
		r.units.mu.Lock()
		defer r.units.mu.Unlock()
		return a.detached
	})
	if _, err := a.Recover(t.Context(), known); err == nil {
		t.Error("a worker that is gone has answered")
	}
}

// What a worker may not offer.
func TestWorkTypeRefused(t *testing.T) {
	t.Parallel()
	policy := Policy{Rules: []Rule{
		{Name: "none", Roles: map[string]RoleRule{wire.RoleStream: {}}},
		{Name: "narrow", Roles: map[string]RoleRule{wire.RoleWorker: {Types: []string{"ansible*"}}}},
	}}
	r := newWorkRig(t, Config{Policy: policy}, workItem("a", nil), workItem("b", nil))
	none := r.attachAs(new(giver), fdHello(plugtest.Hello("none", workKind())))
	wantError(t, none.offer(wire.WorkType{Type: "ansible", Item: itemID("a")}), wire.CodeDenied, "role worker is not granted")
	wantError(t, none.tell(wire.Unit{Unit: "none-1", State: wire.UnitRunning}), wire.CodeDenied, "role worker is not granted")

	g := r.worker("narrow", "a", nil)
	for _, tc := range []struct {
		offer      wire.WorkType
		code, text string
	}{
		{wire.WorkType{Type: "shell", Item: itemID("a")}, wire.CodeDenied, "plugs-policy does not allow"},
		{wire.WorkType{Type: "ansible", Item: itemID("c")}, wire.CodeDenied, "has no item"},
		{wire.WorkType{Type: "ansible"}, wire.CodeDenied, "has no item"},
		{wire.WorkType{Item: itemID("a")}, wire.CodeInvalid, "needs a type"},
		{wire.WorkType{Type: strings.Repeat("a", maxText+1), Item: itemID("a")}, wire.CodeInvalid, "needs a type"},
		{wire.WorkType{Type: "ansible", Item: itemID("a"), Slots: -1}, wire.CodeInvalid, "slots"},
	} {
		wantError(t, g.offer(tc.offer), tc.code, tc.text)
	}
	for i := range maxWorkTypes {
		if err := g.offer(wire.WorkType{Type: fmt.Sprint("ansible", i), Item: itemID("a")}); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, g.offer(wire.WorkType{Type: "ansible", Item: itemID("a")}), wire.CodeLimit, "work types")
	if err := g.offer(wire.WorkType{Type: "ansible0", Item: itemID("b"), Slots: 3}); err != nil {
		t.Errorf("another offer of the same type: %v", err)
	}
}

func fdHello(h wire.Hello) wire.Hello {
	h.Features = []string{wire.FeatureFDPass}
	return h
}

// A worker may bind a service, for its item, if it has that role as well.
func TestWorkerWithService(t *testing.T) {
	t.Parallel()
	r := newWorkRig(t, Config{}, workItem("a", nil))
	bind := wire.Bind{Bind: "b", Item: itemID("a"), Service: "svc"}
	hello := fdHello(plugtest.Hello("w", workKind()))
	alone := r.attachAs(new(giver), hello)
	alone.configured(itemID("a"))
	wantError(t, alone.Call(t.Context(), wire.TypeBind, bind, nil), wire.CodeDenied, "role stream is not granted")
	alone.kill()
	r.eventually("the plug to be gone", func() bool { return len(r.Plugs()) == 0 })
	hello.Roles = append(hello.Roles, wire.RoleVersions{Role: wire.RoleStream, Versions: []int{1}})
	g := r.attachAs(new(giver), hello)
	g.configured(itemID("a"))
	if err := g.Call(t.Context(), wire.TypeBind, bind, nil); err != nil {
		t.Error(err)
	}
	bind.Item = itemID("b")
	wantError(t, g.Call(t.Context(), wire.TypeBind, bind, nil), wire.CodeDenied, "has no item")
}

// Without descriptors there is no work, and people are told why.
func TestWorkerWithoutDescriptors(t *testing.T) {
	t.Parallel()
	r := newWorkRig(t, Config{}, workItem("a", nil))
	g := r.attachAs(new(giver), plugtest.Hello("w", workKind()))
	g.configured(itemID("a"))
	wantError(t, g.offer(wire.WorkType{Type: "shell", Item: itemID("a")}), wire.CodeUnsupported, "descriptors")
	if p := r.Plugs(); len(p) != 1 || !strings.Contains(p[0].Err, "no work: it needs descriptors") {
		t.Errorf("plugs %+v", p)
	}
}

// A node without units grants no role of a worker.
func TestNoUnitsNoWorker(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	g := r.attachAs(new(giver), fdHello(plugtest.Hello("w", workKind())))
	if len(g.welcome.Roles) != 1 || g.welcome.Roles[0].Refused == "" {
		t.Errorf("roles %+v", g.welcome.Roles)
	}
	wantError(t, g.offer(wire.WorkType{Type: "shell"}), wire.CodeDenied, "not granted")
}

// A newer process of a worker has its types; the older one has nothing more to say.
func TestWorkerTakeover(t *testing.T) {
	t.Parallel()
	r := newWorkRig(t, Config{}, workItem("a", nil))
	older := r.worker("w", "a", nil)
	offer := wire.WorkType{Type: "shell", Item: itemID("a")}
	if err := older.offer(offer); err != nil {
		t.Fatal(err)
	}
	was := r.units.last()
	hello := fdHello(plugtest.Hello("w", workKind()))
	hello.Takeover = true
	newer := r.attachAs(new(giver), hello)
	newer.configured(itemID("a"))
	if err := newer.offer(offer); err != nil {
		t.Fatal(err)
	}
	wantError(t, older.offer(offer), wire.CodeDraining, "taken over")
	if is := r.units.last(); is == was || !was.detached {
		t.Errorf("the older one is detached: %v", was.detached)
	}
	if o, by := r.units.offered("shell"); by != "w" || o.Name != "shell" {
		t.Errorf("offered %+v by %q", o, by)
	}
	s, _ := startUnit(t, "w-1", "shell")
	_, err := was.Start(t.Context(), s)
	wantError(t, err, wire.CodeBusy, "takes no new work")
}

// Nothing that a worker says hurts others, or goes further than it may.
func TestHostileWorker(t *testing.T) {
	t.Parallel()
	r := newWorkRig(t, Config{}, workItem("a", nil), workItem("b", nil))
	good := r.worker("good", "a", func(_ context.Context, q *session.Request) (any, error) {
		return wire.Unit{Unit: "good-1", State: wire.UnitRunning}, nil
	})
	if err := good.offer(wire.WorkType{Type: "shell", Item: itemID("a")}); err != nil {
		t.Fatal(err)
	}
	goodWorker := r.units.last()
	kind := workKind()
	kind.Kind = "work-evil"
	r.SetItems([]Item{workItem("a", nil), {Kind: "work-evil", Params: map[string]any{"name": "e"}}})
	answers := make(chan func(*session.Request) (any, error), 1)
	evil := r.attachAs(&giver{work: func(_ context.Context, q *session.Request) (any, error) { return (<-answers)(q) }}, fdHello(plugtest.Hello("evil", kind)))
	evil.configured("work-evil name=e")
	worker := r.units.last()

	wantError(t, evil.offer(wire.WorkType{Type: "shell", Item: itemID("a")}), wire.CodeDenied, "has no item")
	wantError(t, evil.offer(wire.WorkType{Type: "shell", Item: "work-evil name=e"}), wire.CodeExists, "offered by good")
	if err := evil.offer(wire.WorkType{Type: "evil", Item: "work-evil name=e"}); err != nil {
		t.Fatal(err)
	}

	fine := wire.Unit{Unit: "evil-1", State: wire.UnitRunning}
	with := func(change func(*wire.Unit)) wire.Unit { u := fine; change(&u); return u }
	for name, u := range map[string]wire.Unit{
		"a unit of another":   with(func(u *wire.Unit) { u.Unit = "good-1" }),
		"no unit":             with(func(u *wire.Unit) { u.Unit = "" }),
		"a long name":         with(func(u *wire.Unit) { u.Unit = "evil-" + strings.Repeat("x", maxText) }),
		"an unknown state":    with(func(u *wire.Unit) { u.State = "succeeded" }),
		"no state":            with(func(u *wire.Unit) { u.State = "" }),
		"a huge handle":       with(func(u *wire.Unit) { u.Handle = json.RawMessage(`"` + strings.Repeat("x", wire.MaxHandle) + `"`) }),
		"a negative pid":      with(func(u *wire.Unit) { u.PID = -1 }),
		"a negative size":     with(func(u *wire.Unit) { u.OutBytes = -1 }),
		"a negative err size": with(func(u *wire.Unit) { u.ErrBytes = -1 }),
	} {
		t.Log(name)
		wantError(t, evil.tell(fine, u), wire.CodeInvalid, "1 of 2 units") // the other one counts
	}
	wantError(t, evil.tell(make([]wire.Unit, wire.MaxUnits+1)...), wire.CodeLimit, "at most")
	long := strings.Repeat("y", 100<<10)
	if err := evil.tell(wire.Unit{Unit: "evil-1", State: wire.UnitLost, Detail: long, Reason: long, Exit: &wire.Exit{Signal: long}}); err != nil {
		t.Fatal(err)
	}
	r.units.mu.Lock()
	last := worker.told[len(worker.told)-1]
	if n := len(last.Detail) + len(last.Reason) + len(last.Exit.Signal); n > 4*maxText {
		t.Errorf("texts of %d bytes were passed on", n)
	}
	if len(goodWorker.told) != 0 {
		t.Errorf("the good worker was told to have said %+v", goodWorker.told)
	}
	r.units.mu.Unlock()

	// Answers that make no sense.
	junk, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer junk.Close()
	for name, answer := range map[string]func(*session.Request) (any, error){
		"a wrong state":    func(*session.Request) (any, error) { return wire.Unit{State: "x"}, nil },
		"no object of its": func(*session.Request) (any, error) { return map[string]any{"pid": "text"}, nil },
		"an error":         func(*session.Request) (any, error) { return nil, wire.NewError("new-code", "%s", long[:1000]) },
	} {
		answers <- answer
		s, _ := startUnit(t, "evil-2", "evil")
		if u, err := worker.Start(t.Context(), s); err == nil {
			t.Errorf("%s: started %+v", name, u)
		}
	}
	answers <- func(*session.Request) (any, error) {
		f, err := os.Open(os.DevNull)
		return session.Answer{Body: fine, Files: []*os.File{f}}, err
	}
	s, _ := startUnit(t, "evil-2", "evil")
	if u, err := worker.Start(t.Context(), s); err != nil || u.Unit != "evil-2" { // what it has sent besides is closed: TestMain counts
		t.Errorf("started %+v, %v", u, err)
	}
	answers <- func(*session.Request) (any, error) {
		return wire.Recovered{Units: []wire.Unit{{Unit: "good-1", State: wire.UnitExited}, fine, fine}}, nil
	}
	if all, err := worker.Recover(t.Context(), []wire.KnownUnit{{Unit: "evil-1"}}); err != nil || len(all) != 1 || all[0].Unit != "evil-1" {
		t.Errorf("recovered %+v, %v", all, err)
	}

	// One that does not answer holds up its own start only, and only as long as that may take.
	ctx, cancel := context.WithCancel(t.Context())
	hung := make(chan error, 1)
	unanswered, _ := startUnit(t, "evil-3", "evil")
	go func() {
		_, err := worker.Start(ctx, unanswered)
		hung <- err
	}()
	s, _ = startUnit(t, "good-1", "shell")
	if u, err := goodWorker.Start(t.Context(), s); err != nil || u.State != wire.UnitRunning {
		t.Errorf("the good worker's start: %+v, %v", u, err)
	}
	cancel()
	wantError(t, <-hung, wire.CodeUnreachable, "")
	answers <- func(*session.Request) (any, error) { return fine, nil }

	// A flood ends the flooder.
	for flooding := true; flooding; {
		err := evil.tell(fine)
		flooding = err == nil
	}
	r.eventually("the flooder to be gone", func() bool { return len(r.Plugs()) == 1 })
	if err := good.tell(wire.Unit{Unit: "good-1", State: wire.UnitRunning}); err != nil {
		t.Error(err)
	}
}

// A plug that does not answer PING gets no new work, and keeps what it has.
func TestStalledWorker(t *testing.T) {
	t.Parallel()
	r := newWorkRig(t, Config{}, workItem("a", nil))
	g := r.worker("w", "a", func(context.Context, *session.Request) (any, error) {
		return wire.Unit{State: wire.UnitRunning}, nil
	})
	if err := g.offer(wire.WorkType{Type: "shell", Item: itemID("a")}); err != nil {
		t.Fatal(err)
	}
	set := func(stalled bool) {
		r.mu.Lock()
		guest := r.guestNamed("w")
		r.mu.Unlock()
		guest.setStalled(stalled)
	}
	set(true)
	s, _ := startUnit(t, "w-1", "shell")
	_, err := r.units.last().Start(t.Context(), s)
	wantError(t, err, wire.CodeBusy, "takes no new work")
	if err := g.tell(wire.Unit{Unit: "w-0", State: wire.UnitRunning}); err != nil {
		t.Error(err)
	}
	set(false)
	s, _ = startUnit(t, "w-1", "shell")
	if _, err := r.units.last().Start(t.Context(), s); err != nil {
		t.Error(err)
	}
}

func TestWorkPolicyParams(t *testing.T) {
	t.Parallel()
	r := newWorkRig(t, Config{}, workItem("a", map[string]any{"maxconcurrent": -1}))
	g := r.attachAs(new(giver), fdHello(plugtest.Hello("w", workKind())))
	r.itemIs(0, wire.StateFailed, "parameter maxconcurrent: -1")
	r.SetItems([]Item{workItem("a", map[string]any{"maxconcurrent": 3, "verifysignature": true})})
	if it := g.configured(itemID("a")); strings.Contains(string(it.Params), "maxconcurrent") || strings.Contains(string(it.Params), "verifysignature") {
		t.Errorf("the plug is told the core's policy: %s", it.Params)
	}
	for _, own := range []string{"maxconcurrent", "verifysignature"} {
		kind := workKind()
		kind.Params = append(kind.Params, wire.Param{Name: own, Type: schema.TypeString})
		if _, err := withPolicyParams(kind); err == nil {
			t.Errorf("a kind has %s of its own", own)
		}
	}
}
