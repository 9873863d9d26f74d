package integration

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/workceptor/client"
)

// workLab is a lab with a node that runs units, whose processes the test ends: they
// outlive all programs of the lab.
type workLab struct {
	*lab.Lab
	t    *testing.T
	ctx  context.Context
	node string
	c    *client.Client
	mark string // in the environment of all units
}

func newWorkLab(t *testing.T, node string) *workLab {
	t.Helper()
	return newWorkLabFor(t, node, patience)
}

func newWorkLabFor(t *testing.T, node string, most time.Duration) *workLab {
	t.Helper()
	return newWorkLabOf(t, programs, node, most)
}

// newWorkLabOf is newWorkLabFor with other programs.
func newWorkLabOf(t *testing.T, p lab.Programs, node string, most time.Duration) *workLab {
	t.Helper()
	l, ctx := newLabFor(t, p, most)
	w := &workLab{Lab: l, t: t, ctx: ctx, node: node, mark: "WORK_TEST=" + l.Dir}
	w.c = &client.Client{Dial: func(ctx context.Context) (io.ReadWriteCloser, error) {
		return new(net.Dialer).DialContext(ctx, "unix", l.Socket(node))
	}}
	t.Cleanup(func() { // before the lab's own
		must(t, l.Close())
		for _, pid := range w.units() {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it has ended else; nobody else has the mark
		}
		for len(w.units()) > 0 || len(w.supervisors()) > 0 {
			must(t, lab.Pause(context.WithoutCancel(ctx), pause))
		}
		must(t, os.RemoveAll(l.Dir)) // the last of them may have written since
	})
	return w
}

// start starts a program whose units are marked.
func (w *workLab) start(name string, args ...string) *lab.Process {
	w.t.Helper()
	p, err := w.StartAs(w.marked, name, args...)
	must(w.t, err)
	return p
}

// marked marks the units of a program that is to be started.
func (w *workLab) marked(c *exec.Cmd) { c.Env = append(c.Env, w.mark) }

// units are the processes of units.
func (w *workLab) units() (pids []int) {
	for _, dir := range processes() {
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err == nil && bytes.Contains(env, []byte("RECEPTOR_UNIT_TOKEN=")) && bytes.Contains(env, []byte(w.mark+"\x00")) {
			pids = append(pids, pidOfDir(dir))
		}
	}
	return pids
}

// supervisors are those of units, by unit.
func (w *workLab) supervisors() map[string]int {
	pids := map[string]int{}
	for _, dir := range processes() {
		cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		args := strings.Split(string(cmdline), "\x00")
		if err != nil || len(args) != 4 || args[0] != "receptor-work-supervisor" {
			continue
		}
		// The descriptor of the state directory tells whose it is.
		if at, err := os.Readlink(filepath.Join(dir, "fd", "4")); err == nil && strings.HasPrefix(at, w.Dir) {
			pids[args[2]] = pidOfDir(dir)
		}
	}
	return pids
}

func processes() []string {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		panic(err) // the pattern is wrong
	}
	return dirs
}

func pidOfDir(dir string) int {
	pid, err := strconv.Atoi(filepath.Base(dir))
	if err != nil {
		panic(err) // the pattern was wrong
	}
	return pid
}

// offered waits until the worker offers a type of work.
func (w *workLab) offered(typ string) {
	w.t.Helper()
	must(w.t, w.WaitStatus(w.ctx, w.node, func(s *lab.Status) bool { return s.Item("work-command worktype="+typ).State == "up" }))
}

// submit submits a unit whose standard input is payload.
func (w *workLab) submit(typ, payload string) string {
	w.t.Helper()
	u, err := w.c.Submit(w.ctx, client.Job{Type: typ, Payload: strings.NewReader(payload)})
	must(w.t, err)
	return u.ID
}

// results reads all that a unit writes to stdout, until its end.
func (w *workLab) results(unit string) (string, client.Status) {
	w.t.Helper()
	var out strings.Builder
	u, err := w.c.Results(w.ctx, unit, client.From{Stderr: client.Skip}, func(c client.Chunk) error {
		out.Write(c.Data)
		return nil
	})
	must(w.t, err)
	return out.String(), u
}

// await waits until a unit is as it should be.
func (w *workLab) await(unit string, ok func(client.Status) bool) client.Status {
	w.t.Helper()
	for e, err := range w.c.Watch(w.ctx, client.WatchOptions{Unit: unit}) {
		must(w.t, err)
		for _, u := range e.Units {
			if ok(u) {
				return u
			}
		}
	}
	w.t.Fatal("nobody tells of the unit any more")
	return client.Status{}
}

// via is the client of somebody at another node, over the mesh.
func (w *workLab) via(hop string) *client.Client {
	return &client.Client{Dial: func(ctx context.Context) (io.ReadWriteCloser, error) {
		return connectFrom(ctx, w.Socket(hop), w.node)
	}}
}

// connectFrom connects to the control service of a node, over the control socket of
// another.
func connectFrom(ctx context.Context, socket, node string) (_ io.ReadWriteCloser, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, conn.Close())
		}
	}()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	in := bufio.NewReader(conn)
	if _, err := in.ReadString('\n'); err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(conn, "connect %s control\n", node); err != nil {
		return nil, err
	}
	if line, err := in.ReadString('\n'); err != nil || line != "Connecting\n" {
		return nil, fmt.Errorf("connect: %q, %w", line, err)
	}
	return struct {
		io.Reader
		io.WriteCloser
	}{in, conn}, nil
}

// persist submits, again and again while there is no way to the node, or no room.
func (w *workLab) persist(job client.Job) (client.Status, error) {
	for {
		u, err := w.c.Submit(w.ctx, job)
		if !errors.Is(err, client.ErrUnreachable) && !errors.Is(err, client.ErrNoRoom) {
			return u, err
		}
		if err := lab.Pause(w.ctx, pause); err != nil {
			return u, err
		}
	}
}

func running(u client.Status) bool { return u.State == client.Running }

// written waits until a file has a whole line, and returns it.
func (w *workLab) written(path string) string {
	w.t.Helper()
	for {
		data, err := os.ReadFile(path)
		if line, _, ok := strings.Cut(string(data), "\n"); err == nil && ok {
			return line
		}
		must(w.t, lab.Pause(w.ctx, pause))
	}
}

// The command line of legacy nodes, and of their clients.
func TestWorkByTheLegacyCommandLine(t *testing.T) {
	t.Parallel()
	w := newWorkLab(t, "a")
	w.start("receptor", "--node", "id=a", "--local-only", "--work-command", "worktype=cat", "command=cat",
		"--work-command", "worktype=echo", "command=echo", "params=one 'two  three'", "allowruntimeparams=true",
		"--work-command", "worktype=shout", "command=tr", "params=a-z A-Z")
	w.offered("cat")
	w.offered("echo")
	w.offered("shout")
	for want, args := range map[string][]string{
		"HELLO":                   {"shout", "--payload-literal", "hello"}, // as in the README
		"hello\nworld\n":          {"cat", "--payload-literal", "hello\nworld\n"},
		"one two  three four 5\n": {"echo", "--no-payload", "--param", `params="four" 5`},
	} {
		out, err := w.Ctl(w.ctx, "a", append([]string{"work", "submit", "--follow", "--rm"}, args...)...)
		if err != nil || !strings.HasPrefix(out, want) {
			t.Errorf("%v: %q, %v", args, out, err)
		}
	}
	// No parameters where the item does not allow them.
	out, err := w.Ctl(w.ctx, "a", "work", "submit", "cat", "--no-payload", "--follow", "--param", "params=/etc/passwd")
	if err == nil || strings.Contains(out, "root") {
		t.Errorf("cat with a parameter: %q, %v", out, err)
	}
}

// lines is a unit that writes lines, one for each that it finds in a file.
const lines = `read dir; n=0; while [ $n -lt 30 ]; do n=$((n+1)); until [ -e $dir/go$n ]; do sleep 0.01; done; echo "line $n"; done`

// Whatever is killed, a unit goes on, and is read to the last byte by whoever has begun.
func TestUnitOutlivesPlugAndCore(t *testing.T) {
	t.Parallel()
	w := newWorkLab(t, "a")
	core := func() *lab.Process {
		return w.start("receptor-core", "--node", "id=a", "--local-only", "--work-command", "worktype=sh", "command=sh", `args=["-c", "`+strings.ReplaceAll(lines, `"`, `\"`)+`"]`)
	}
	plug := func() *lab.Process {
		return w.start("receptor-worker-command", "--socket", w.PlugSocket("a"))
	}
	c, p := core(), plug()
	w.offered("sh")
	files := t.TempDir()
	unit := w.submit("sh", files+"\n")
	w.await(unit, running)
	supervisor := w.supervisors()[unit]

	type result struct {
		out string
		u   client.Status
	}
	read := make(chan result, 1)
	at := make(chan string, 100) // what was read so far
	go func() {
		var out strings.Builder
		u, err := w.c.Results(w.ctx, unit, client.From{}, func(c client.Chunk) error {
			out.Write(c.Data)
			at <- out.String()
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		read <- result{out.String(), u}
	}()
	var want strings.Builder
	for n := 1; n <= 30; n++ {
		switch n % 6 {
		case 1:
			p.Kill()
		case 2:
			p = plug()
		case 3:
			c.Kill()
		case 4:
			c = core()
		case 5:
			c.Kill()
			p.Kill()
		case 0:
			p, c = plug(), core()
		}
		must(t, os.WriteFile(filepath.Join(files, fmt.Sprintf("go%d", n)), nil, 0o600))
		fmt.Fprintf(&want, "line %d\n", n)
		if n%6 == 2 || n%6 == 0 { // both are there: it is read at once
			for got := ""; got != want.String(); {
				select {
				case got = <-at:
				case <-w.ctx.Done():
					t.Fatalf("after line %d: %q", n, got)
				}
			}
		}
	}
	r := <-read
	if r.out != want.String() || r.u.State != client.Succeeded {
		t.Errorf("%q, %+v", r.out, r.u)
	}
	if now := w.supervisors()[unit]; now != 0 && now != supervisor {
		t.Errorf("its supervisor was %d, and is %d", supervisor, now)
	}
}

// A canceled unit has ended with all that came from it.
func TestCancelKillsTheTree(t *testing.T) {
	t.Parallel()
	w := newWorkLab(t, "a")
	// The daemon has neither parent nor session in common with the unit.
	script := `read dir; sh -c 'trap "" TERM; echo $$ > '$dir'/child; while :; do sleep 0.1; done' & ` +
		`setsid sh -c '(trap "" TERM; echo $$ > '$dir'/parent; while :; do sleep 0.1; done) &'; echo $$ > $dir/unit; while :; do sleep 0.1; done`
	w.start("receptor", "--node", "id=a", "--local-only", "--work-command", "worktype=tree", "command=sh", "grace=200ms",
		`args=["-c", "`+strings.ReplaceAll(script, `"`, `\"`)+`"]`)
	w.offered("tree")
	files := t.TempDir()
	unit := w.submit("tree", files+"\n")
	for _, name := range []string{"unit", "child", "parent"} {
		w.written(filepath.Join(files, name))
	}
	if n := len(w.units()); n < 3 {
		t.Fatalf("%d processes", n)
	}
	ended, err := w.c.Cancel(w.ctx, unit)
	if err != nil || !ended {
		t.Fatal(ended, err)
	}
	if left := w.units(); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
	if u, err := w.c.Status(w.ctx, unit); err != nil || u.State != client.Canceled {
		t.Errorf("%+v, %v", u, err)
	}
}

// T1: what ran when the machine stopped is lost when it is back, and not running.
func TestReboot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("skipped: needs root, to have a boot ID of its own")
	}
	w := newWorkLab(t, "a")
	// A namespace in which the kernel's file has another content.
	boot := func(n int) *lab.Process {
		id := filepath.Join(w.Dir, fmt.Sprintf("boot%d", n))
		must(t, os.WriteFile(id, []byte(fmt.Sprintf("00000000-0000-0000-0000-%012d\n", n)), 0o644))
		p, err := w.StartAs(func(c *exec.Cmd) {
			c.Path = "/bin/sh"
			c.Args = append([]string{"sh", "-c", `mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"`, id, w.Programs.Path("receptor")}, c.Args[1:]...)
			c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
			c.Env = append(c.Env, w.mark)
		}, "receptor", "--node", "id=a", "--local-only", "--work-command", "worktype=sleep", "command=sleep", "params=1000")
		must(t, err)
		return p
	}
	launcher := boot(1)
	w.offered("sleep")
	unit := w.submit("sleep", "")
	w.await(unit, running)

	pids := append(w.units(), w.supervisors()[unit])
	children, err := lab.Children(launcher.PID())
	must(t, err)
	launcher.Kill() // first: it would start the others again
	for _, c := range children {
		pids = append(pids, c.PID)
	}
	for _, pid := range pids {
		must(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	for _, pid := range pids {
		for alive(pid) {
			must(t, lab.Pause(w.ctx, pause))
		}
	}
	boot(2)
	must(t, w.WaitStatus(w.ctx, "a", func(s *lab.Status) bool { return pidOf(s, "worker-command") != 0 }))
	back := time.Now()
	u := w.await(unit, func(u client.Status) bool { return u.State != client.Running })
	if u.State != client.Lost || u.Reason != "the machine was restarted while it ran" {
		t.Errorf("%+v", u)
	}
	t.Logf("lost %.3f s after the worker is back", time.Since(back).Seconds())
}

// A worker without its supervisor says so, and one that is back in order works.
func TestSupervisorIsMissing(t *testing.T) {
	t.Parallel()
	w := newWorkLab(t, "a")
	dir := t.TempDir()
	supervisor := filepath.Join(dir, "supervisor")
	w.start("receptor", "--node", "id=a", "--local-only", "--work-command", "worktype=true", "command=true", "supervisor="+supervisor)
	must(t, w.WaitStatus(w.ctx, "a", func(s *lab.Status) bool {
		i := s.Item("work-command worktype=true")
		return i.State == "failed" && strings.Contains(i.Err, supervisor) && strings.Contains(i.Err, "no such file")
	}))
	must(t, os.Symlink(programs.Path("receptor-work-supervisor"), supervisor))
	w.offered("true")
	unit := w.submit("true", "")
	if _, u := w.results(unit); u.State != client.Succeeded {
		t.Errorf("%+v", u)
	}
}

// What an item says of its units holds for them, and who asks is told.
func TestUnitsAreConfined(t *testing.T) {
	t.Parallel()
	w := newWorkLab(t, "a")
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	shell := func(script string) string { return `args=["-c", "` + strings.ReplaceAll(script, `"`, `\"`) + `"]` }
	args := []string{
		"--node", "id=a", "--local-only",
		"--work-command", "worktype=limits", "command=sh", "cgroup=none", `limits={"files": 33, "cputime": "1h", "cpu": 1.5}`, shell("ulimit -n; ulimit -t; exec sleep 1000"),
		"--work-command", "worktype=slow", "command=sleep", "params=1000", "timeout=200ms", "grace=200ms",
		"--work-command", "worktype=where", "command=sh", "directory=" + dir, `environment={"COLOR": "red"}`, shell("pwd; echo $COLOR; echo $STATE_DIRECTORY; grep -E 'Sig(Blk|Ign)' /proc/self/status"),
	}
	if os.Geteuid() == 0 {
		args = append(args, "--work-command", "worktype=who", "command=id", "user=54321", "params=-u", "directory=/")
	}
	w.start("receptor", args...)
	w.offered("limits")
	limited := w.submit("limits", "")
	u := w.await(limited, running)
	for u.Stdout.Size < int64(len("33\n3600\n")) {
		var err error
		must(t, lab.Pause(w.ctx, pause))
		u, err = w.c.Status(w.ctx, limited)
		must(t, err)
	}
	if want := fmt.Sprintf("Running: PID %d, limits by rlimit: files, cputime; not applied: cpu", u.PID); u.Detail != want {
		t.Errorf("detail %q, expected %q", u.Detail, want)
	}
	_, err := w.c.Cancel(w.ctx, limited)
	must(t, err)
	if out, u := w.results(limited); out != "33\n3600\n" || u.State != client.Canceled {
		t.Errorf("%q, %+v", out, u)
	}
	w.offered("slow")
	if _, u := w.results(w.submit("slow", "")); u.State != client.Failed || u.Reason != "timeout" || u.Exit == nil || u.Exit.Signal != "SIGTERM" {
		t.Errorf("%+v", u)
	}
	w.offered("where")
	// (Signals above 31 may come ignored from whoever runs the tests.)
	if out, _ := w.results(w.submit("where", "")); !regexp.MustCompile("^" + regexp.QuoteMeta(dir) + "\nred\n\nSigBlk:\t[0-9a-f]{8}[08]0000000\nSigIgn:\t[0-9a-f]{8}[08]0000000\n$").MatchString(out) {
		t.Errorf("%q", out)
	}
	if os.Geteuid() == 0 {
		w.offered("who")
		if out, u := w.results(w.submit("who", "")); out != "54321\n" {
			t.Errorf("%q, %+v", out, u)
		}
	}
}

// An item that is configured otherwise is another item, and its units are the same.
func TestUnitOutlivesItsItem(t *testing.T) {
	t.Parallel()
	w := newWorkLab(t, "a")
	core := func(more ...string) *lab.Process {
		return w.start("receptor-core", append([]string{"--node", "id=a", "--local-only", "--work-command", "worktype=sh", "command=sh", "allowruntimeparams=true"}, more...)...)
	}
	first := core()
	w.start("receptor-worker-command", "--socket", w.PlugSocket("a"))
	w.offered("sh")
	files := t.TempDir()
	u, err := w.c.Submit(w.ctx, client.Job{Type: "sh", Params: map[string]string{"args": `["-c", "until [ -e ` + files + `/go ]; do sleep 0.01; done; echo $COLOR.; exit 4"]`}})
	must(t, err)
	w.await(u.ID, running)
	supervisor := w.supervisors()[u.ID]
	first.Kill()
	core(`environment={"COLOR": "red"}`)
	w.offered("sh")
	if u, err := w.c.Status(w.ctx, u.ID); err != nil || !running(u) || supervisor == 0 || w.supervisors()[u.ID] != supervisor {
		t.Errorf("%+v, %v", u, err)
	}
	must(t, os.WriteFile(filepath.Join(files, "go"), nil, 0o600))
	if out, u := w.results(u.ID); out != ".\n" || u.State != client.Failed || u.Exit == nil || u.Exit.Code != 4 {
		t.Errorf("%q, %+v", out, u)
	}
	next, err := w.c.Submit(w.ctx, client.Job{Type: "sh", Params: map[string]string{"args": `["-c", "echo $COLOR."]`}})
	must(t, err)
	if out, _ := w.results(next.ID); out != "red.\n" {
		t.Errorf("%q", out)
	}
}

// The jobs' user can open neither the node's files nor those of the worker of another
// user, and gets its units' all the same.
func TestWorkerUnderItsOwnUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("skipped: needs root, to start programs as different users")
	}
	const jobUser = 64005
	w := newWorkLab(t, "hand")
	h := &byHand{Lab: w.Lab, ctx: w.ctx, link: freePort(t), entry: freePort(t)}
	h.prepare(t)
	must(t, os.WriteFile(h.config, fmt.Appendf(nil, `---
- node:
    id: hand
- local-only: {}
- plugs-policy:
    socket: %s
    group: "%d"
    mode: "0660"
    rules:
      - {user: "%d", kinds: [work-command], roles: {worker: {types: ["job*"]}}}
- work-command: {worktype: job, command: sh, params: -c "id -u; cat; cat %s"}
- work-command: {worktype: other, command: sh}
`, h.socket(), plugGroup, jobUser, filepath.Join(h.Dir, "state", "hand", "units")), 0o644))
	state := filepath.Join(h.Dir, "jobs")
	must(t, os.Mkdir(state, 0o700))
	must(t, os.Chown(state, jobUser, jobUser))
	h.start(t, "core")
	_, err := h.StartAs(func(c *exec.Cmd) {
		as(jobUser)(c)
		c.Env = append(c.Env, w.mark, "STATE_DIRECTORY="+state)
	}, "receptor-worker-command", "--socket", h.socket())
	must(t, err)
	control := filepath.Join(filepath.Dir(h.socket()), "control.sock")
	w.c.Dial = func(ctx context.Context) (io.ReadWriteCloser, error) {
		return new(net.Dialer).DialContext(ctx, "unix", control)
	}
	for {
		s, err := h.StatusAt(w.ctx, control)
		if err == nil && s.Item("work-command worktype=job").State == "up" && s.Item("work-command worktype=other").State == "failed" {
			if got := s.Item("work-command worktype=other").Err; !strings.Contains(got, "denied") {
				t.Errorf("a type that the policy does not give: %s", got)
			}
			break
		}
		must(t, lab.Pause(w.ctx, pause))
	}
	u, err := w.c.Submit(w.ctx, client.Job{Type: "job", Payload: strings.NewReader("payload\n")})
	must(t, err)
	if out, u := w.results(u.ID); out != strconv.Itoa(jobUser)+"\npayload\n" || u.State != client.Failed {
		t.Errorf("%q, %+v", out, u)
	}
}
