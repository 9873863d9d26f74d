package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
)

// stopGrace is what a unit has to end by itself that a check stops.
const stopGrace = time.Second

// Work says what units a worker is given.
type Work struct {
	Item
	Type  string // that its items offer; empty: the first
	Quick Unit   // ends by itself, with code 0
	Fails Unit   // ends by itself, with another code; checks that need it are skipped without
	Long  Unit   // runs until it is stopped; likewise
}

// Unit is a unit of work.
type Unit struct {
	Payload string
	Params  map[string]string
	Output  string // on stdout, all of it; of Work.Long at first. Empty: does not matter
	Code    int    // of Work.Fails
}

func (u Unit) given() bool { return u.Payload != "" || len(u.Params) > 0 }

func workerChecks() []Check {
	checks := []Check{
		{ID: "worker/offer", About: "an item offers its types of work under its own name, and is up", run: offer},
		{ID: "worker/start", About: "START is answered by the unit; it exits with 0, and all that it has written is there by then", run: quickUnit},
		{ID: "worker/merged", About: "a unit whose stderr goes to its stdout comes with two descriptors", run: mergedUnit},
		{ID: "worker/start-again", About: "a unit that is started again is not run again, and what has become of it is told", run: startAgain},
		{ID: "worker/exit-code", About: "a unit's exit code is told", run: exitCode},
		{ID: "worker/unknown-type", About: "START of a type that is not offered is answered by an error", run: startUnknownType},
		{ID: "worker/without-descriptors", About: "START without descriptors is answered by an error, and nothing is run", run: withoutDescriptors},
		{ID: "worker/files-closed", About: "a unit's files are closed when it has ended, and at once if it is not run", run: filesClosed},
		{ID: "worker/stop", About: "a unit that is stopped ends, soon after the grace at the latest", run: stopUnit},
		{ID: "worker/unknown-unit", About: "STOP and RELEASE of a unit that has ended, or that there is not, are fine", run: unknownUnit},
		{ID: "worker/release", About: "a unit that is released ends, and is forgotten", run: releaseUnit},
		{ID: "worker/recover", About: "RECOVER tells what has become of units, and names none that it never had", run: recoverUnits},
		{ID: "worker/core-restart", About: "units go on while the core is away; the next one is offered the types and told of all units", run: coreRestart},
		{ID: "worker/plug-restart", About: "a worker that was killed knows its units, and runs none again", run: workerRestart},
		{ID: "worker/item-gone", About: "a type of work whose item is gone takes no units", run: workItemGone},
		{ID: "worker/drain", About: "after DRAIN no unit is taken", run: workDrain},
	}
	for i := range checks {
		checks[i].Handoff = true
	}
	return append(checks, Check{
		ID: "worker/not-granted", About: "without the feature fdpass there is no work, and the item says why", run: notGranted,
	})
}

// dir is a directory of the check's own.
func (s *stand) dir() string {
	if s.temp == "" {
		dir, err := os.MkdirTemp("", "plugcheck")
		s.must(err, "make a directory")
		s.temp = dir
		s.Cleanup(func() { _ = os.RemoveAll(dir) })
	}
	return s.temp
}

// worker is a worker that has offered the type of work under check.
type worker struct {
	*stand
	core *plugtest.CoreSession
	item wire.ConfigItem
	typ  string

	handles map[string]json.RawMessage // of units, as they were told
}

// working attaches a worker with one item.
func (s *stand) working() *worker {
	w := &worker{stand: s, core: s.attach(), handles: make(map[string]json.RawMessage)}
	w.item = s.eitherItem(w.core)
	w.again(w.core)
	return w
}

// again configures the item with a core, and waits for its offer.
func (w *worker) again(core *plugtest.CoreSession) {
	w.core = core
	w.configure(core, w.item)
	w.typ = core.WaitWorkType(w.o.Work.Type).Type
}

// unit is a unit of work with its files.
type unit struct {
	wire.Start
	Unit
	dir string
}

// unit makes the files of a unit.
func (w *worker) unit(u Unit) *unit {
	w.services++
	id := "check" + strconv.Itoa(w.services)
	dir := filepath.Join(w.dir(), id)
	w.must(os.Mkdir(dir, 0o700), "make a unit")
	w.must(os.WriteFile(filepath.Join(dir, "stdin"), []byte(u.Payload), 0o600), "make a unit")
	return &unit{Start: wire.Start{Unit: id, Type: w.typ, Item: w.item.Item, Params: u.Params}, Unit: u, dir: dir}
}

// start starts a unit, perhaps once more. What it reads and writes is opened anew.
func (w *worker) start(u *unit) (wire.Unit, error) {
	names := []string{"stdin", "stdout", "stderr"}
	if u.Merged {
		names = names[:2]
	}
	var files []*os.File
	for i, name := range names {
		flag := os.O_WRONLY | os.O_CREATE | os.O_APPEND
		if i == 0 {
			flag = os.O_RDONLY
		}
		f, err := os.OpenFile(filepath.Join(u.dir, name), flag, 0o600)
		w.must(err, "open a unit's file")
		defer func() { _ = f.Close() }()
		files = append(files, f)
	}
	return w.core.StartUnit(w.ctx, u.Start, files...)
}

// started starts a unit, which the worker must take.
func (w *worker) started(u *unit) wire.Unit {
	told, err := w.start(u)
	w.must(err, "START")
	if told.Handle != nil {
		w.handles[u.Start.Unit] = told.Handle
	}
	if told.Unit != "" && told.Unit != u.Start.Unit {
		w.Fatalf("answer to START: expected unit %s, got %s", u.Start.Unit, told.Unit)
	}
	w.oneOf("state in the answer to START", told.State, wire.UnitStarting, wire.UnitRunning, wire.UnitExited)
	return told
}

// ended waits for the end of a unit.
func (w *worker) ended(u *unit) wire.Unit {
	return w.core.WaitUnit(u.Start.Unit, "ended", func(t wire.Unit) bool { return over(t.State) })
}

func over(state string) bool {
	return state == wire.UnitExited || state == wire.UnitLost || state == wire.UnitRefused
}

// exited waits until a unit has exited, with a code that fits.
func (w *worker) exited(u *unit, fits func(wire.Exit) bool, want string) wire.Unit {
	t := w.ended(u)
	w.oneOf("state of a unit that has ended", t.State, wire.UnitExited)
	if t.Exit == nil || !fits(*t.Exit) {
		w.Fatalf("exit: expected %s, got %+v", want, t.Exit)
	}
	return t
}

func (w *worker) succeeded(u *unit) wire.Unit {
	return w.exited(u, func(e wire.Exit) bool { return e.Code == 0 && e.Signal == "" }, "code 0")
}

// output is what a unit has written to stdout.
func (w *worker) output(u *unit) []byte {
	b, err := os.ReadFile(filepath.Join(u.dir, "stdout"))
	w.must(err, "read what a unit has written")
	return b
}

// wrote checks what a unit has written, once.
func (w *worker) wrote(u *unit) {
	if got := w.output(u); u.Output != "" && string(got) != u.Output {
		w.Fatalf("stdout: expected %q, got %.200q", u.Output, got)
	}
}

// running starts a unit that runs long, and waits until it has written something.
func (w *worker) running() *unit {
	spec := w.o.Work.Long
	if !spec.given() {
		w.skip("it is not said which unit runs long")
	}
	u := w.unit(spec)
	w.started(u)
	w.core.WaitUnit(u.Start.Unit, "running", func(t wire.Unit) bool { return t.State == wire.UnitRunning })
	w.until("what a unit that runs has written", func() bool { return bytes.HasPrefix(w.output(u), []byte(spec.Output)) })
	return u
}

// until waits for a condition that nobody tells of.
func (s *stand) until(what string, ok func() bool) {
	for !ok() {
		if s.ctx.Err() != nil {
			s.Fatalf("waited in vain for %s", what)
		}
		s.pause(redial)
	}
}

// recovered asks what has become of units, by their IDs.
func (w *worker) recovered(units ...string) map[string]wire.Unit {
	var ask wire.Recover
	for _, id := range units {
		if last, told := w.core.Unit(id); told && last.Handle != nil {
			w.handles[id] = last.Handle
		}
		ask.Units = append(ask.Units, wire.KnownUnit{Unit: id, Handle: w.handles[id]})
	}
	var told wire.Recovered
	w.must(w.core.Call(w.ctx, wire.TypeRecover, ask, &told), "RECOVER")
	by := make(map[string]wire.Unit)
	for _, u := range told.Units {
		by[u.Unit] = u
	}
	return by
}

func (w *worker) release(id string) {
	w.must(w.core.Call(w.ctx, wire.TypeRelease, wire.Release{Unit: id}, nil), "RELEASE")
}

func (w *worker) stop(id string) {
	w.must(w.core.Call(w.ctx, wire.TypeStop, wire.Stop{Unit: id, GraceMS: stopGrace.Milliseconds()}, nil), "STOP")
}

// refused is a START that must be answered by an error.
func (w *worker) refused(err error, what string) {
	var e *wire.Error
	if !errors.As(err, &e) {
		w.Fatalf("%s: expected an error, got %s", what, outcome(err))
	}
}

func offer(s *stand) {
	w := s.working()
	t := w.core.WaitWorkType(s.o.Work.Type)
	s.oneOf("item in WORKTYPE", t.Item, w.item.Item)
	if t.Slots < 0 {
		s.Fatalf("slots: expected 0 or more, got %d", t.Slots)
	}
	w.core.WaitItem(w.item.Item, wire.StateUp)
}

func quickUnit(s *stand) {
	w := s.working()
	u := w.unit(s.o.Work.Quick)
	w.started(u)
	t := w.succeeded(u)
	w.wrote(u)
	if n := len(w.output(u)); t.OutBytes != 0 && t.OutBytes != int64(n) {
		s.Fatalf("out_bytes of a unit that has ended: expected %d, got %d", n, t.OutBytes)
	}
}

func mergedUnit(s *stand) {
	w := s.working()
	u := w.unit(s.o.Work.Quick)
	u.Merged = true
	w.started(u)
	w.succeeded(u)
}

func startAgain(s *stand) {
	w := s.working()
	quick := w.unit(s.o.Work.Quick)
	w.started(quick)
	w.started(quick)
	w.succeeded(quick)
	if t := w.started(quick); t.State != wire.UnitExited || t.Exit == nil || t.Exit.Code != 0 {
		s.Fatalf("START of a unit that has exited with 0: expected to be told so, got %+v", t)
	}
	s.idle() // to run it again, which must not be
	w.wrote(quick)
	if !s.o.Work.Long.given() {
		return
	}
	long := w.running()
	s.oneOf("START of a unit that runs", w.started(long).State, wire.UnitRunning)
	s.idle() // to run it again, which must not be
	w.release(long.Start.Unit)
	if n := bytes.Count(w.output(long), []byte(long.Output)); long.Output != "" && n != 1 {
		s.Fatalf("a unit that was started twice: expected one run, got %d", n)
	}
}

func exitCode(s *stand) {
	if !s.o.Work.Fails.given() {
		s.skip("it is not said which unit fails")
	}
	w := s.working()
	u := w.unit(s.o.Work.Fails)
	w.started(u)
	w.exited(u, func(e wire.Exit) bool { return e.Code == u.Code && e.Signal == "" }, "code "+strconv.Itoa(u.Code))
}

func startUnknownType(s *stand) {
	w := s.working()
	u := w.unit(s.o.Work.Quick)
	u.Type = "receptor-plugcheck-unknown"
	_, err := w.start(u)
	w.refused(err, "START of a type that is not offered")
}

func withoutDescriptors(s *stand) {
	w := s.working()
	u := w.unit(s.o.Work.Quick)
	_, err := w.core.StartUnit(s.ctx, u.Start)
	w.refused(err, "START without descriptors")
	if t, told := w.recovered(u.Start.Unit)[u.Start.Unit]; told && t.State != wire.UnitRefused {
		s.Fatalf("a unit that was started without descriptors: expected that there is none, got %+v", t)
	}
}

func filesClosed(s *stand) {
	w := s.working()
	u := w.unit(s.o.Work.Quick)
	w.started(u)
	w.succeeded(u)
	w.letGo(u, "after the unit's end")
	w.started(u)
	w.letGo(u, "after START of a unit that has ended")
	other := w.unit(s.o.Work.Quick)
	other.Type = "receptor-plugcheck-unknown"
	_, err := w.start(other)
	w.refused(err, "START of a type that is not offered")
	w.letGo(other, "after START of a type that is not offered")
}

// letGo waits until no process has a file of the unit.
func (w *worker) letGo(u *unit, when string) {
	for {
		open, ok := openBelow(u.dir)
		switch {
		case !ok:
			w.skip("this system does not tell who has a file open")
		case open == "":
			return
		case w.ctx.Err() != nil:
			w.Fatalf("%s: expected that its files are closed, %s is not", when, filepath.Base(open))
		}
		w.pause(redial)
	}
}

// openBelow is a file in dir that some process of ours has open, if there is one. ok is
// false where the system does not tell.
func openBelow(dir string) (open string, ok bool) {
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil || len(links) == 0 {
		return "", false
	}
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && strings.HasPrefix(to, dir+string(filepath.Separator)) {
			return to, true
		}
	}
	return "", true
}

func stopUnit(s *stand) {
	w := s.working()
	u := w.running()
	w.stop(u.Start.Unit)
	w.stop(u.Start.Unit)
	if t := w.ended(u); t.State != wire.UnitExited || t.Exit == nil {
		s.Fatalf("a unit that was stopped: expected how it has exited, got %+v", t)
	}
}

func unknownUnit(s *stand) {
	w := s.working()
	u := w.unit(s.o.Work.Quick)
	w.stop("unknown1")
	w.release("unknown1")
	w.started(u)
	w.succeeded(u)
	w.stop(u.Start.Unit)
	w.release(u.Start.Unit)
	w.release(u.Start.Unit)
}

func releaseUnit(s *stand) {
	w := s.working()
	quick := w.unit(s.o.Work.Quick)
	w.started(quick)
	w.succeeded(quick)
	w.release(quick.Start.Unit)
	w.forgot(quick)
	if s.o.Work.Long.given() {
		long := w.running()
		w.release(long.Start.Unit)
		w.forgot(long)
	}
}

// forgot waits until the worker does not know a unit any more.
func (w *worker) forgot(u *unit) {
	w.until("RECOVER not to name a unit that was released", func() bool {
		_, known := w.recovered(u.Start.Unit)[u.Start.Unit]
		return !known
	})
}

func recoverUnits(s *stand) {
	w := s.working()
	u := w.unit(s.o.Work.Quick)
	w.started(u)
	w.succeeded(u)
	told := w.recovered(u.Start.Unit, "unknown1")
	if t := told[u.Start.Unit]; t.State != wire.UnitExited || t.Exit == nil || t.Exit.Code != 0 {
		s.Fatalf("RECOVER of a unit that has exited with 0: expected to be told so, got %+v", t)
	}
	if t, known := told["unknown1"]; known {
		s.Fatalf("RECOVER of a unit that the worker never had: expected no word of it, got %+v", t)
	}
}

func coreRestart(s *stand) {
	w := s.working()
	quick := w.unit(s.o.Work.Quick)
	w.started(quick)
	var long *unit
	if s.o.Work.Long.given() {
		long = w.running()
	}
	s.away()
	s.core.Start()
	w.again(s.session())
	w.succeeded(quick)
	w.wrote(quick)
	if long == nil {
		return
	}
	w.core.WaitUnit(long.Start.Unit, "running", func(t wire.Unit) bool { return t.State == wire.UnitRunning })
	s.oneOf("RECOVER of a unit that runs", w.recovered(long.Start.Unit)[long.Start.Unit].State, wire.UnitRunning)
	w.release(long.Start.Unit)
}

func workerRestart(s *stand) {
	w := s.working()
	quick := w.unit(s.o.Work.Quick)
	w.started(quick)
	w.succeeded(quick)
	units := []*unit{quick}
	if s.o.Work.Long.given() {
		units = append(units, w.running())
	}
	s.kill()
	wait(s.trial, w.core.Done(), "the end of the session of a worker that was killed")
	s.run()
	w.again(s.session())
	told := w.recovered(quick.Start.Unit)
	if t := told[quick.Start.Unit]; t.State != wire.UnitExited || t.Exit == nil || t.Exit.Code != 0 {
		s.Fatalf("RECOVER of a unit that had exited with 0: expected to be told so, got %+v", t)
	}
	for _, u := range units {
		if t := w.recovered(u.Start.Unit)[u.Start.Unit]; t.State != wire.UnitRunning && !over(t.State) {
			s.Fatalf("RECOVER of a unit that ran: expected that it runs, has exited or is lost, got %+v", t)
		}
		if _, err := w.start(u); err != nil {
			s.Fatalf("START of a unit from before: expected what has become of it, got %v", err)
		}
	}
	s.idle() // to run one again, which must not be
	for _, u := range units {
		w.release(u.Start.Unit)
		if n := bytes.Count(w.output(u), []byte(u.Output)); u.Output != "" && n != 1 {
			s.Fatalf("a unit after a restart of its worker: expected one run, got %d", n)
		}
	}
}

func workItemGone(s *stand) {
	w := s.working()
	s.configure(w.core)
	w.core.WaitStatus("no item", func(st wire.Status) bool { return len(st.Items) == 0 })
	_, err := w.start(w.unit(s.o.Work.Quick))
	w.refused(err, "START of a type whose item is gone")
}

func workDrain(s *stand) {
	w := s.working()
	s.must(w.core.Call(s.ctx, wire.TypeDrain, wire.Drain{DeadlineMS: time.Hour.Milliseconds(), Reason: "receptor-plugcheck"}, nil), "DRAIN")
	s.idle() // what had come before may still be taken
	_, err := w.start(w.unit(s.o.Work.Quick))
	w.refused(err, "START after DRAIN")
}

func notGranted(s *stand) {
	core := s.attach()
	it := s.eitherItem(core)
	s.configure(core, it)
	core.WaitStatus("an item that is not up", func(st wire.Status) bool {
		return len(st.Items) == 1 && st.Items[0].State != wire.StateUp && st.Items[0].Err != ""
	})
	if core.HasWorkType() {
		s.Fatalf("without fdpass: expected no WORKTYPE, got one")
	}
	err := core.Call(s.ctx, wire.TypeStart, wire.Start{Unit: "check1", Type: "any", Item: it.Item}, nil)
	(&worker{stand: s}).refused(err, "START without fdpass")
}
