package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/worker-command/internal/cgroup"
	"github.com/project-receptor/receptor/worker-command/internal/proc"
	"github.com/project-receptor/receptor/worker-command/internal/supervisor"
	"github.com/project-receptor/receptor/worker-command/internal/unit"
)

func init() { runtime.LockOSThread() }

// The test's own program is the supervisor, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "unit" || os.Args[1] == "exec") {
		if err := supervisor.Run(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 3 && os.Args[1] == "plug" {
		fmt.Fprintln(os.Stderr, plugProcess(os.Args[2], os.Args[3]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// patience is many times what anything here takes.
const patience = 60 * time.Second

// bench is a ledger that can be closed and opened again, and what it has reported.
type bench struct {
	*Ledger
	t       *testing.T
	options Options
	files   string

	mu      sync.Mutex
	reports map[string]Report
	changed chan struct{}
}

func newBench(t *testing.T, change ...func(*Options)) *bench {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, files: t.TempDir(), reports: map[string]Report{}, changed: make(chan struct{})}
	b.options = Options{
		Dir: filepath.Join(t.TempDir(), "state"), Supervisor: self,
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: t.Output()}),
		Report: func(r Report) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.reports[r.Unit] = r
			close(b.changed)
			b.changed = make(chan struct{})
		},
	}
	for _, f := range change {
		f(&b.options)
	}
	b.open()
	t.Cleanup(func() {
		for _, r := range b.Reports(t.Context()) {
			if err := b.Release(r.Unit); err != nil {
				t.Error(err)
			}
		}
		b.until("all units are gone", func() bool {
			l := b.Ledger
			l.mu.Lock()
			defer l.mu.Unlock()
			return len(l.units) == 0
		})
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		names, err := os.ReadDir(b.options.Dir)
		if err != nil {
			t.Error(err)
		}
		for _, n := range names {
			if _, _, ours := unit.SplitName(n.Name()); ours && n.Name() != "supervisor.log" {
				t.Errorf("%s is left of a released unit", n.Name())
			}
		}
		if words, err := os.ReadFile(filepath.Join(b.options.Dir, "supervisor.log")); err == nil && len(words) > 0 {
			t.Logf("supervisor.log: %s", words)
		}
	})
	return b
}

func (b *bench) open() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	if b.Ledger, err = Open(ctx, b.options); err != nil {
		b.t.Fatal(err)
	}
}

// reopen is what happens when another plug comes.
func (b *bench) reopen(between ...func()) {
	b.t.Helper()
	if err := b.Close(); err != nil {
		b.t.Fatal(err)
	}
	for _, f := range between {
		f()
	}
	b.open()
}

// prepare makes a unit that runs a shell's script.
func (b *bench) prepare(id, script string) Start {
	b.t.Helper()
	s := Start{Spec: unit.Spec{
		Record: unit.Record{Unit: id, Type: "test"},
		Path:   "/bin/sh", Args: []string{"sh", "-c", script}, Env: []string{"PATH=" + os.Getenv("PATH")}, Directory: b.files,
		Grace: patience,
	}}
	open := func(name string, flag int) *os.File {
		f, err := os.OpenFile(b.file(id, name), flag|os.O_CREATE, 0o600)
		if err != nil {
			b.t.Fatal(err)
		}
		return f
	}
	s.Stdin = open("stdin", os.O_RDONLY)
	s.Stdout = open("stdout", os.O_WRONLY|os.O_APPEND)
	s.Stderr = open("stderr", os.O_WRONLY|os.O_APPEND)
	return s
}

func (b *bench) file(id, name string) string { return filepath.Join(b.files, id+"."+name) }

func (b *bench) read(id, name string) string {
	b.t.Helper()
	data, err := os.ReadFile(b.file(id, name))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(data)
}

// run starts a unit and expects it to run.
func (b *bench) run(s Start) Report {
	b.t.Helper()
	r, err := b.Start(b.t.Context(), s)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// await waits for a report.
func (b *bench) await(id string, ok func(Report) bool) Report {
	b.t.Helper()
	timeout := time.After(patience)
	for {
		b.mu.Lock()
		r, changed := b.reports[id], b.changed
		b.mu.Unlock()
		if ok(r) {
			return r
		}
		select {
		case <-changed:
		case <-timeout:
			b.t.Fatalf("unit %s: the last report was %+v", id, r)
		}
	}
}

func (b *bench) end(id string) Report {
	b.t.Helper()
	return b.await(id, func(r Report) bool { return r.State.final() })
}

// written waits until a file has a content.
func (b *bench) written(path string) string {
	b.t.Helper()
	var content string
	b.until(path+" is written", func() bool {
		data, err := os.ReadFile(path)
		content = strings.TrimSpace(string(data))
		return err == nil && strings.HasSuffix(string(data), "\n")
	})
	return content
}

func (b *bench) until(what string, ok func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("it has not come to be that %s", what)
		}
	}
}

func alive(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !bytes.Contains(data, []byte(") Z "))
}

func (b *bench) trace(id string) unit.Trace {
	b.t.Helper()
	var trace unit.Trace
	if err := unit.Read(b.root, id, unit.TraceSuffix, &trace); err != nil {
		b.t.Fatal(err)
	}
	return trace
}

func (b *bench) killSupervisor(id string) {
	b.t.Helper()
	if was, err := proc.Signal(b.trace(id).Supervisor, unix.SIGKILL); err != nil || !was {
		b.t.Fatalf("kill the supervisor: %v, %v", was, err)
	}
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// descriptors are what ls says of its own, which has one for the directory.
const descriptors = "0\n1\n2\n3\n"

func TestUnitRuns(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.prepare("good", "cat; echo err >&2; (exec ls /proc/self/fd) > good.fds; exit 3")
	if err := os.WriteFile(b.file("good", "stdin"), []byte("in\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.run(s)
	r := b.end("good")
	if r.State != Exited || r.Code != 3 || r.Signal != "" || r.Stdout != 3 || r.Stderr != 4 {
		t.Errorf("the end is %+v", r)
	}
	if out, errs := b.read("good", "stdout"), b.read("good", "stderr"); out != "in\n" || errs != "err\n" {
		t.Errorf("stdout %q, stderr %q", out, errs)
	}
	if fds, err := os.ReadFile(b.file("good", "fds")); err != nil || string(fds) != descriptors {
		t.Errorf("descriptors of the unit: %q, %v", fds, err)
	}
	// A second start of it, whenever it comes, runs nothing.
	for range 2 {
		if again, err := b.Start(t.Context(), b.prepare("good", "echo again")); err != nil || again != r {
			t.Errorf("started again: %+v, %v", again, err)
		}
		b.reopen()
	}
	if out := b.read("good", "stdout"); out != "in\n" {
		t.Errorf("stdout is %q after more starts", out)
	}
}

func TestUnitThatCannotRunIsRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for id, limits := range map[string][]unit.RLimit{"plain": nil, "limited": {{Resource: unix.RLIMIT_CORE}}} {
		s := b.prepare(id, "")
		s.Spec.Path, s.Spec.Limits = "/nowhere/program", limits
		b.run(s)
		r := b.end(id)
		if r.State != Refused || !strings.Contains(r.Reason, "/nowhere/program") || !strings.Contains(r.Reason, "no such file") {
			t.Errorf("%s: %+v", id, r)
		}
	}
}

func TestPlugsComeAndGo(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	// Each line waits for a word, so that every piece is written under another plug.
	if err := unix.Mkfifo(b.file("long", "go"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.run(b.prepare("long", `for i in 1 2 3; do until read x < long.go; do :; done; echo "$i $x"; done`))
	var want string
	for i := 1; i <= 3; i++ {
		b.reopen()
		if r := b.Recover(t.Context(), []string{"long", "unheard-of"}); len(r) != 1 || r[0].State != Running {
			t.Fatalf("found again: %+v", r)
		}
		if err := os.WriteFile(b.file("long", "go"), []byte("word\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		want += fmt.Sprintf("%d word\n", i)
		b.await("long", func(r Report) bool { return r.Stdout == int64(len(want)) })
	}
	if r := b.end("long"); r.State != Exited || r.Code != 0 || b.read("long", "stdout") != want {
		t.Errorf("the end is %+v, stdout %q", r, b.read("long", "stdout"))
	}
}

func TestUnitEndsWhileNoPlugIsThere(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := unix.Mkfifo(b.file("alone", "go"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.run(b.prepare("alone", `until read x < alone.go; do :; done; echo "$x"; exit 7`))
	b.reopen(func() {
		if err := os.WriteFile(b.file("alone", "go"), []byte("word\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		b.until("it has ended", func() bool {
			_, err := os.Stat(filepath.Join(b.options.Dir, "alone.end"))
			return err == nil
		})
	})
	if r := b.end("alone"); r.State != Exited || r.Code != 7 || r.Stdout != 5 {
		t.Errorf("the end is %+v", r)
	}
}

// stubborn leaves three processes: itself, a child and one that has cut all ties. None
// heeds SIGTERM.
const stubborn = `trap '' TERM
sh -c 'trap "" TERM; echo $$ > %[1]s.child; while :; do sleep 1; done' &
setsid sh -c 'trap "" TERM; (echo $(exec sh -c "echo \$PPID") > %[1]s.daemon; while :; do sleep 1; done) &'
echo running
while :; do sleep 1; done`

func (b *bench) stubborn(id string) (pids []int) {
	b.t.Helper()
	b.run(b.prepare(id, fmt.Sprintf(stubborn, id)))
	b.await(id, func(r Report) bool { return r.Stdout == int64(len("running\n")) })
	pids = []int{b.trace(id).Job.PID}
	for _, name := range []string{"child", "daemon"} {
		pids = append(pids, number(b.t, b.written(b.file(id, name))))
	}
	for _, pid := range pids {
		if !alive(pid) {
			b.t.Fatalf("process %d of %v is not there", pid, pids)
		}
	}
	return pids
}

func (b *bench) gone(pids []int) {
	b.t.Helper()
	for _, pid := range pids {
		b.until(fmt.Sprintf("process %d has ended", pid), func() bool { return !alive(pid) })
	}
}

func TestStopKillsTheWholeTree(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pids := b.stubborn("tree")
	if err := b.Stop("tree", 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	r := b.end("tree")
	for _, pid := range pids { // at the end, not some time after it
		if alive(pid) {
			t.Errorf("process %d is there after the end", pid)
		}
	}
	if r.State != Exited || r.Signal != "SIGKILL" {
		t.Errorf("the end is %+v", r)
	}
}

func TestStopAsksFirst(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.run(b.prepare("polite", `trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.01; done`))
	b.await("polite", func(r Report) bool { return r.Stdout > 0 })
	b.reopen() // the wish is kept for a supervisor that is not met yet
	if err := b.Stop("polite", patience); err != nil {
		t.Fatal(err)
	}
	if r := b.end("polite"); r.State != Exited || r.Code != 5 || b.read("polite", "stdout") != "ready\nbye\n" {
		t.Errorf("the end is %+v, stdout %q", r, b.read("polite", "stdout"))
	}
}

func TestWhatIsLeftBehindMayFinish(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.run(b.prepare("left", `(sleep 0.1; echo late) & echo soon`))
	if r := b.end("left"); r.State != Exited || r.Code != 0 || b.read("left", "stdout") != "soon\nlate\n" {
		t.Errorf("the end is %+v, stdout %q", r, b.read("left", "stdout"))
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for id, script := range map[string]string{"obeys": `trap 'exit 0' TERM; while :; do sleep 0.01; done`, "does-not": `trap '' TERM; while :; do sleep 0.01; done`} {
		s := b.prepare(id, script)
		s.Spec.Timeout, s.Spec.Grace = 300*time.Millisecond, 300*time.Millisecond
		b.run(s)
	}
	if r := b.end("obeys"); r.State != Exited || r.Signal != "SIGTERM" || r.Reason != "timeout" {
		t.Errorf("one that obeys: %+v", r)
	}
	if r := b.end("does-not"); r.State != Exited || r.Signal != "SIGKILL" || r.Reason != "timeout" {
		t.Errorf("one that does not: %+v", r)
	}
}

func TestSupervisorKilled(t *testing.T) {
	t.Parallel()
	for _, plug := range []string{"there", "away"} {
		t.Run("plug "+plug, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			pids := b.stubborn("orphan")
			if plug == "there" {
				b.killSupervisor("orphan")
			} else {
				kill := func() {
					data, err := os.ReadFile(filepath.Join(b.options.Dir, "orphan.run"))
					if err != nil {
						t.Fatal(err)
					}
					var trace unit.Trace
					if err := unit.Decode(bytes.NewReader(data), &trace); err != nil {
						t.Fatal(err)
					}
					if was, err := proc.Signal(trace.Supervisor, unix.SIGKILL); err != nil || !was {
						t.Fatal(was, err)
					}
				}
				b.reopen(kill)
			}
			r := b.end("orphan")
			if r.State != Lost || r.Reason != "its supervisor was killed" {
				t.Errorf("the end is %+v", r)
			}
			b.gone(pids)
			if out := b.read("orphan", "stdout"); out != "running\n" {
				t.Errorf("stdout is %q", out)
			}
			b.reopen()
			if again := b.Recover(t.Context(), []string{"orphan"}); len(again) != 1 || again[0].State != Lost {
				t.Errorf("later: %+v", again)
			}
		})
	}
}

// What a unit has written is kept, even what its supervisor had not got to.
func TestSupervisorKilledWhileItIsStopped(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := unix.Mkfifo(b.file("pipe", "go"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.run(b.prepare("pipe", `echo first; until read x < pipe.go; do :; done; echo second; echo third >&2; echo done > pipe.done; sleep 1000`))
	b.await("pipe", func(r Report) bool { return r.Stdout == 6 })
	if was, err := proc.Signal(b.trace("pipe").Supervisor, unix.SIGSTOP); err != nil || !was {
		t.Fatal(was, err)
	}
	if err := os.WriteFile(b.file("pipe", "go"), []byte("go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.written(b.file("pipe", "done"))
	b.killSupervisor("pipe")
	r := b.end("pipe")
	if out, errs := b.read("pipe", "stdout"), b.read("pipe", "stderr"); out != "first\nsecond\n" || errs != "third\n" || r.Stdout != 13 || r.Stderr != 6 || r.State != Lost {
		t.Errorf("stdout %q, stderr %q, %+v", out, errs, r)
	}
}

func TestAnotherBoot(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	// A living process that is not the unit's, as it would be after a reboot: the
	// number and, by chance, the time since the boot are those that were noted.
	victim := foreign(t)
	b.plant(unit.Record{Unit: "before", Type: "test", Boot: "another", Token: "t"}, &unit.Trace{Supervisor: victim, Job: victim})
	b.reopen()
	if r := b.end("before"); r.State != Lost || r.Reason != "the machine was restarted while it ran" {
		t.Errorf("the end is %+v", r)
	}
	if !alive(victim.PID) {
		t.Error("a foreign process was killed")
	}
}

func TestRecycledPIDIsNotSignalled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	victim := foreign(t)
	old := victim
	old.Start-- // the process that was noted had this number before
	b.plant(unit.Record{Unit: "recycled", Type: "test", Boot: b.boot, Token: "nobody's"}, &unit.Trace{Supervisor: old, Job: old})
	b.reopen()
	if r := b.end("recycled"); r.State != Lost {
		t.Errorf("the end is %+v", r)
	}
	if !alive(victim.PID) {
		t.Error("a foreign process was killed")
	}
	// It can be killed: by its real name it is.
	if was, err := proc.Signal(victim, unix.SIGKILL); !was || err != nil {
		t.Errorf("by its real name: %v, %v", was, err)
	}
}

// foreign is a process that has nothing to do with any unit.
func foreign(t *testing.T) unit.Process {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	p, err := proc.Find(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// plant leaves a unit as a worker that was killed would.
func (b *bench) plant(r unit.Record, trace *unit.Trace) {
	b.t.Helper()
	if err := unit.Write(b.root, r.Unit, unit.RecordSuffix, r); err != nil {
		b.t.Fatal(err)
	}
	if trace != nil {
		if err := unit.Write(b.root, r.Unit, unit.TraceSuffix, trace); err != nil {
			b.t.Fatal(err)
		}
	}
}

// Killed before anything ran, a worker has not had the unit: it can be given it again.
func TestUnitThatHasNotRunIsForgotten(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.plant(unit.Record{Unit: "noted", Type: "test", Boot: b.boot, Token: "t"}, nil)
	if err := os.WriteFile(filepath.Join(b.options.Dir, "torn.unit"), []byte(`{"unit":"to`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.options.Dir, "rest.run"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.reopen()
	if r := b.Recover(t.Context(), []string{"noted", "torn", "rest"}); len(r) != 0 {
		t.Errorf("known are %+v", r)
	}
	b.run(b.prepare("noted", "echo once"))
	if r := b.end("noted"); r.State != Exited || b.read("noted", "stdout") != "once\n" {
		t.Errorf("the end is %+v", r)
	}
}

// From the moment that something may have run, nothing of the unit runs again.
func TestUnitThatMayHaveRunIsLost(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	gone := unit.Process{PID: os.Getpid(), Start: 1}
	for _, id := range []string{"about", "torn-run", "torn-end"} {
		b.plant(unit.Record{Unit: id, Type: "test", Boot: b.boot, Token: "t"}, &unit.Trace{Supervisor: gone})
	}
	for _, name := range []string{"torn-run.run", "torn-end.end"} {
		if err := os.WriteFile(filepath.Join(b.options.Dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.reopen()
	for _, id := range []string{"about", "torn-run", "torn-end"} {
		if r := b.end(id); r.State != Lost {
			t.Errorf("%s: %+v", id, r)
		}
		if r := b.run(b.prepare(id, "echo again")); r.State != Lost || b.read(id, "stdout") != "" {
			t.Errorf("%s, started again: %+v, %q", id, r, b.read(id, "stdout"))
		}
	}
}

// A supervisor that is killed before it runs anything is replaced.
func TestSupervisorThatNeverRan(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fake := filepath.Join(dir, "supervisor")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\nif [ -e " + dir + "/tried ]; then exec " + self + " \"$@\"; fi\ntouch " + dir + "/tried\nkill -9 $$\n"
	if err := os.WriteFile(fake, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, func(o *Options) { o.Supervisor = fake })
	b.run(b.prepare("second", "echo once"))
	if r := b.end("second"); r.State != Exited || r.Code != 0 || b.read("second", "stdout") != "once\n" {
		t.Errorf("the end is %+v, stdout %q", r, b.read("second", "stdout"))
	}
	b.options.Supervisor = "/bin/false"
	b.reopen()
	b.run(b.prepare("never", "echo once"))
	if r := b.end("never"); r.State != Refused || r.Reason != "its supervisor died again and again" {
		t.Errorf("the end is %+v", r)
	}
	b.until("it is noted no more", func() bool {
		_, err := os.Stat(filepath.Join(b.options.Dir, "never.unit"))
		return errors.Is(err, fs.ErrNotExist)
	})
}

// On a full disk a unit waits, though its supervisor cannot note that it is about to run.
// Before, its supervisors died until it was refused.
func TestUnitWaitsForTheDisk(t *testing.T) {
	t.Parallel()
	b, room := fullDisk(t)
	b.waits("unit")
	room()
	if r := b.end("unit"); r.State != Exited || r.Code != 0 || b.read("unit", "stdout") != "once\n" {
		t.Errorf("the end is %+v, stdout %q", r, b.read("unit", "stdout"))
	}
}

// It ends if that is wanted.
func TestUnitThatWaitsForTheDiskIsStopped(t *testing.T) {
	t.Parallel()
	b, room := fullDisk(t)
	b.waits("unit")
	if err := b.Stop("unit", time.Second); err != nil {
		t.Fatal(err)
	}
	if r := b.end("unit"); r.State != Refused || b.read("unit", "stdout") != "" {
		t.Errorf("the end is %+v, stdout %q", r, b.read("unit", "stdout"))
	}
	room()
}

// fullDisk is a bench with a disk of its own, which is full once a supervisor starts,
// and until room is called. It is for one unit: what is left of another one and is
// removed meanwhile would be room.
func fullDisk(t *testing.T) (b *bench, room func()) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,mode=700"); err != nil {
		t.Skipf("skipped: needs the rights of root, to mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ballast, fake := filepath.Join(dir, "ballast"), filepath.Join(t.TempDir(), "supervisor")
	script := "#!/bin/sh\ncat /dev/zero > " + ballast + " 2> /dev/null\nexec " + self + " \"$@\"\n"
	if err := os.WriteFile(fake, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	b = newBench(t, func(o *Options) { o.Dir, o.Supervisor = filepath.Join(dir, "state"), fake })
	return b, func() {
		t.Helper()
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	}
}

// waits starts a unit and waits until it waits for room on the disk.
func (b *bench) waits(id string) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	cancel() // which is only that nobody waits for it
	if _, err := b.Start(ctx, b.prepare(id, "echo once")); err != nil {
		b.t.Fatal(err)
	}
	r := b.await(id, func(r Report) bool { return r.State.final() || strings.Contains(r.Detail, "no space left on device") })
	if r.State != Starting {
		b.t.Fatalf("unit %s does not wait: %+v", id, r)
	}
}

func TestRelease(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pids := b.stubborn("unloved")
	if err := b.Release("unloved"); err != nil {
		t.Fatal(err)
	}
	b.until("it is forgotten", func() bool { return len(b.Recover(t.Context(), []string{"unloved"})) == 0 })
	b.gone(pids)
}

func TestMergedOutputKeepsItsOrder(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.prepare("merged", `for i in $(seq 500); do echo $i; echo $i >&2; done`)
	s.Stderr.Close()
	s.Stderr = nil
	b.run(s)
	r := b.end("merged")
	var want strings.Builder
	for i := 1; i <= 500; i++ {
		fmt.Fprintf(&want, "%d\n%d\n", i, i)
	}
	if b.read("merged", "stdout") != want.String() || r.Stdout != int64(want.Len()) || r.Stderr != 0 {
		t.Errorf("%+v, %d bytes", r, len(b.read("merged", "stdout")))
	}
}

// A full disk keeps a unit waiting, and loses nothing.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	small := filepath.Join(b.files, "small")
	if err := os.Mkdir(small, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("no small disk can be made here, which needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(small, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := b.prepare("full", `head -c 300000 /dev/zero; echo end`)
	s.Stdout.Close()
	var err error
	if s.Stdout, err = os.OpenFile(filepath.Join(small, "stdout"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600); err != nil {
		t.Fatal(err)
	}
	b.run(s)
	b.await("full", func(r Report) bool { return strings.Contains(r.Detail, "no space left") && r.State == Running })
	if err := unix.Mount("tmpfs", small, "tmpfs", unix.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	r := b.end("full")
	data, err := os.ReadFile(filepath.Join(small, "stdout"))
	if err != nil || len(data) != 300004 || !bytes.HasSuffix(data, []byte("\x00end\n")) || r.State != Exited || r.Stdout != 300004 {
		t.Errorf("%+v, %d bytes, %v", r, len(data), err)
	}
}

func TestResourceLimits(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.prepare("limits", `ulimit -n; ulimit -f; exec ls /proc/self/fd`)
	s.Spec.Limits = []unit.RLimit{{Resource: unix.RLIMIT_NOFILE, Value: 17}, {Resource: unix.RLIMIT_FSIZE, Value: 1 << 20}}
	b.run(s)
	r := b.end("limits")
	// Nor does it have a descriptor of its supervisor's.
	if out := b.read("limits", "stdout"); r.Code != 0 || out != "17\n2048\n"+descriptors {
		t.Errorf("%+v, stdout %q", r, b.read("limits", "stdout"))
	}
}

func TestAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	b := newBench(t)
	s := b.prepare("user", `id -u; id -g; id -G; echo $$`)
	s.Spec.Directory = "/"
	s.Spec.User = &unit.User{UID: 4711, GID: 4712, Groups: []uint32{4713}}
	b.run(s)
	if b.end("user"); !strings.HasPrefix(b.read("user", "stdout"), "4711\n4712\n4712 4713\n") {
		t.Errorf("stdout %q, stderr %q", b.read("user", "stdout"), b.read("user", "stderr"))
	}
}

// In its own cgroup a unit cannot hide: not even what has taken all marks off.
func TestCgroup(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(mountPoint(t), fmt.Sprintf("receptor-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("no cgroup can be made here, which needs root: %v", err)
	}
	t.Cleanup(func() {
		for _, d := range []string{filepath.Join(dir, "receptor-supervisors"), dir} {
			// Supervisors with the race detector in them linger.
			for deadline := time.Now().Add(patience); cgroup.Remove(d) != nil; {
				if time.Now().After(deadline) {
					t.Errorf("%s cannot be removed", d)
					break
				}
			}
		}
	})
	tree, err := cgroup.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, func(o *Options) { o.Cgroups = tree })
	hide := `setsid env -i sh -c 'trap "" TERM; (echo $(exec sh -c "echo \$PPID") > %s.daemon; while :; do sleep 1; done) &'; echo running; sleep 1000`
	for _, id := range []string{"stopped", "orphan"} {
		b.run(b.prepare(id, fmt.Sprintf(hide, id)))
		b.await(id, func(r Report) bool { return r.Stdout > 0 })
		daemon := number(t, b.written(b.file(id, "daemon")))
		if id == "orphan" {
			b.killSupervisor(id)
		} else if err := b.Stop(id, 10*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		b.end(id)
		b.gone([]int{daemon})
		b.until("its cgroup is gone", func() bool {
			_, err := os.Stat(tree.Unit(id))
			return errors.Is(err, fs.ErrNotExist)
		})
	}
}

func mountPoint(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); f[2] == "cgroup2" {
			return f[1]
		}
	}
	t.Skip("there is no cgroup version 2 here")
	return ""
}

func TestStateDirectoryIsNobodyElses(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, b.options); err == nil || !strings.Contains(err.Error(), "another process has its units") {
		t.Errorf("a second one: %v", err)
	}
	open := b.options
	open.Dir = t.TempDir()
	if err := os.Chmod(open.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), open); err == nil || !strings.Contains(err.Error(), "expected 0700") {
		t.Errorf("one that others can read: %v", err)
	}
	for _, id := range []string{"", ".", "..", "../x", "a/b", "a.unit", "a\x00", strings.Repeat("a", 65)} {
		if _, err := b.Start(t.Context(), b.prepareAny(id)); err == nil {
			t.Errorf("ID %q was taken", id)
		}
	}
}

// prepareAny is for IDs that are no file names.
func (b *bench) prepareAny(id string) Start {
	s := b.prepare("any", "echo no")
	s.Spec.Unit = id
	return s
}

// A supervisor that somebody has stopped keeps nobody from being told of the others,
// nor its unit from being ended.
func TestSupervisorIsStopped(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pids := b.stubborn("stopped")
	b.run(b.prepare("other", "sleep 1000"))
	if was, err := proc.Signal(b.trace("stopped").Supervisor, unix.SIGSTOP); err != nil || !was {
		t.Fatal(was, err)
	}
	b.reopen()
	if r := b.Recover(t.Context(), []string{"stopped", "other"}); len(r) != 2 || r[0].State != Running || r[0].PID != pids[0] || r[1].State != Running {
		t.Errorf("%+v", r)
	}
	if err := b.Stop("stopped", time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if r := b.end("stopped"); r.State != Lost {
		t.Errorf("the end is %+v", r)
	}
	b.gone(pids)
}
