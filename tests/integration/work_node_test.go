package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/netceptor/control"
	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/workceptor"
	"github.com/project-receptor/receptor/workceptor/client"
	"github.com/project-receptor/receptor/workceptor/workertest"
)

// workNode is a node alpha in this process, without a mesh, whose units of type echo
// are a function. Programs talk to it over its control socket.
type workNode struct {
	*workceptor.Workceptor
	t      *testing.T
	worker *workertest.Worker
	socket string
	stop   func()
}

// startWorkNode starts it on a directory.
func startWorkNode(t *testing.T, l *lab.Lab, dir string, worker *workertest.Worker, log io.Writer) *workNode {
	t.Helper()
	n := &workNode{t: t, worker: worker, socket: filepath.Join(l.Dir, "work.sock")}
	var err error
	n.Workceptor, err = workceptor.New(workceptor.Config{
		Dir: dir, NodeID: "alpha", Logger: hclog.New(&hclog.LoggerOptions{Output: log, Level: hclog.Info}),
	})
	must(t, err)
	must(t, n.Start())
	_, err = worker.Attach(n.Workceptor, workceptor.WorkType{Name: "echo", Params: true})
	must(t, err)
	command := n.Command()
	s := control.New(control.Config{NodeID: "alpha"})
	s.Register(control.Command{Name: "work", Plain: command.Plain, Own: command.Own})
	socket, err := net.Listen("unix", n.socket)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, socket) }()
	stopped := false
	n.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		must(t, <-served)
		worker.Detach()
		must(t, n.Close())
	}
	t.Cleanup(func() {
		n.stop()
		worker.Wait()
	})
	return n
}

// client returns one of its control socket.
func (n *workNode) client() *client.Client {
	return &client.Client{Dial: func(ctx context.Context) (io.ReadWriteCloser, error) {
		return new(net.Dialer).DialContext(ctx, "unix", n.socket)
	}}
}

// TestLegacyWorkConversation replays what was recorded with a legacy node, over a real
// socket, byte for byte, half-closes included. The recorded node had another one run
// the first unit; ours runs it itself, and has no ExtraData of that.
func TestLegacyWorkConversation(t *testing.T) {
	t.Parallel()
	w := newWorkLab(t, "alpha")
	w.start("receptor", "--node", "id=alpha", "--work-command", "worktype=echo", "command=cat")
	w.offered("echo")
	root, err := lab.Repository()
	must(t, err)
	b, err := os.ReadFile(filepath.Join(root, "workceptor", "testdata", "06-work-submit-control-conversation.json"))
	must(t, err)
	var v struct {
		Connections []struct {
			Conversation []struct{ From, Text, Event string }
		}
	}
	must(t, json.Unmarshal(b, &v))
	extra := regexp.MustCompile(`"ExtraData":\{[^}]*\{\}[^}]*\}`)
	created := regexp.MustCompile(`with ID (\w{8})\.`)
	ids := map[string]string{} // of the recording, and ours
	steps := 0
	for i, connection := range v.Connections {
		c, err := net.Dial("unix", w.Socket("alpha"))
		must(t, err)
		defer c.Close()
		deadline, _ := w.ctx.Deadline()
		must(t, c.SetDeadline(deadline))
		in, ended := bufio.NewReader(c), false
		for _, s := range connection.Conversation {
			steps++
			text := strings.NewReplacer(`"node":"beta"`, `"node":"alpha"`, `"WorkType":"remote"`, `"WorkType":"echo"`).Replace(extra.ReplaceAllString(s.Text, `"ExtraData":null`))
			for theirs, ours := range ids {
				text = strings.ReplaceAll(text, theirs, ours)
			}
			switch {
			case s.From == "client":
				if id, ok := strings.CutPrefix(text, "work status "); ok { // the recorded client had waited
					w.results(strings.TrimSpace(id))
				}
				_, err := io.WriteString(c, text)
				must(t, err)
			case s.From == "server":
				got := make([]byte, len(text))
				_, err := io.ReadFull(in, got)
				must(t, err)
				if m := created.FindStringSubmatch(text); m != nil && ids[m[1]] == "" {
					if g := created.FindStringSubmatch(string(got)); g != nil {
						ids[m[1]] = g[1]
						text = strings.ReplaceAll(text, m[1], g[1])
					}
				}
				if string(got) != text {
					t.Fatalf("connection %d: the node says %q, want %q", i+1, got, text)
				}
			case s.Event == "client half-close" && !ended:
				must(t, c.(*net.UnixConn).CloseWrite())
			case s.Event == "server half-close":
				ended = true
				if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil {
					t.Errorf("connection %d: then %q, %v", i+1, rest, err)
				}
			}
		}
	}
	if len(ids) != 2 || steps < 20 {
		t.Errorf("%d units in %d steps", len(ids), steps)
	}
}

// logLines are a log that a test looks into, from its beginning.
type logLines chan string

// Write implements io.Writer.
func (l logLines) Write(p []byte) (int, error) {
	select {
	case l <- string(p):
	default: // nobody looks any more
	}
	return len(p), nil
}

// A full disk: new work is refused with the reason, what runs keeps its state and is
// answered for, and when there is room again all goes on, without a restart (T13).
func TestDiskFull(t *testing.T) {
	t.Parallel()
	l, ctx := newLab(t)
	dir := smallDisk(t, l, "disk")
	let := make(chan struct{})
	worker := &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		if _, err := fmt.Fprintf(u, "unit %s\n", u.Unit); err != nil {
			return workceptor.Exit{Code: 1}
		}
		<-let
		return workceptor.Exit{}
	}}
	log := make(logLines, 1000)
	units := filepath.Join(dir, "units")
	n := startWorkNode(t, l, units, worker, log)
	c := n.client()
	var running []client.Status
	for range 30 { // whose ends are more than what is left of any page
		u, err := c.Submit(ctx, client.Job{Type: "echo"})
		must(t, err)
		running = append(running, u)
	}

	free := fill(t, dir)
	if _, err := c.Submit(ctx, client.Job{Type: "echo"}); !errors.Is(err, client.ErrNoRoom) {
		t.Errorf("new work: %v", err)
	}
	_, err := l.CtlAt(ctx, n.socket, "work", "submit", "-n", "echo")
	if err == nil || !strings.Contains(err.Error(), "exit status 101") || !strings.Contains(err.Error(), "ERROR: Failed to start work unit: no room for new work: ") {
		t.Errorf("new work: %v", err)
	}
	t.Logf("the reason that is given: %v", err)
	for _, u := range running {
		if u, err := c.Status(ctx, u.ID); err != nil || u.State != client.Running {
			t.Errorf("unit %s is %s: %v", u.ID, u.State, err)
		}
	}
	close(let) // they all end, and nobody can write that down
	for said := ""; !strings.Contains(said, "cannot write to the state directory"); {
		select {
		case said = <-log:
		case <-ctx.Done():
			t.Fatal("the disk is not full")
		}
	}
	for _, u := range running {
		if u, err := c.Status(ctx, u.ID); err != nil || u.State != client.Running && u.State != client.Succeeded {
			t.Errorf("unit %s is %s: %v", u.ID, u.State, err)
		}
	}
	if l, err := c.List(ctx); err != nil || len(l.Units) != len(running) {
		t.Errorf("%d units of %d are listed: %v", len(l.Units), len(running), err)
	}

	free()
	check := func(c *client.Client, u client.Status) {
		t.Helper()
		var got []string
		var end client.Status
		for r, err := range c.Responses(ctx, u.ID, client.From{}, &end) {
			must(t, err)
			got = append(got, string(r.Line))
		}
		if end.State != client.Succeeded || fmt.Sprint(got) != "[unit "+u.ID+"]" || worker.Runs(u.ID) != 1 {
			t.Errorf("unit %s is %s and has written %q", u.ID, end.State, got)
		}
	}
	for _, u := range running {
		check(c, u)
	}
	u, err := c.Submit(ctx, client.Job{Type: "echo"})
	must(t, err)
	check(c, u)
	n.stop()
	n = startWorkNode(t, l, units, worker, io.Discard)
	for _, u := range append(running, u) {
		check(n.client(), u)
	}
}

// smallDisk mounts a disk of 16 MiB on a directory of a lab.
func smallDisk(t *testing.T, l *lab.Lab, name string) (dir string) {
	t.Helper()
	return diskOf(t, l, name, 16)
}

// diskOf is that of so many MiB.
func diskOf(t *testing.T, l *lab.Lab, name string, size int) (dir string) {
	t.Helper()
	dir = filepath.Join(l.Dir, name)
	must(t, os.MkdirAll(dir, 0o700))
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=700", size)); err != nil {
		t.Skipf("skipped: needs the rights of root, to mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	return dir
}

// fill fills a disk up to its last byte, until free is called.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	remove, err := fillDisk(dir)
	must(t, err)
	return func() { must(t, remove()) }
}

// fillDisk is fill for any goroutine.
func fillDisk(dir string) (free func() error, err error) {
	ballast, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		return nil, err
	}
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := ballast.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
	return func() error { return os.Remove(ballast.Name()) }, ballast.Close()
}

// The same over the programs: core and worker have their state on the full disk.
func TestDiskFullOfPrograms(t *testing.T) {
	t.Parallel()
	w := newWorkLab(t, "alpha")
	dir := smallDisk(t, w.Lab, "state")
	let := filepath.Join(w.Dir, "let")
	node := []string{
		"--node", "id=alpha", "--work-command", "worktype=wait", "command=sh",
		fmt.Sprintf(`params=-c "echo begins; while [ ! -e %s ]; do sleep 0.1; done"`, let),
	}
	p := w.start("receptor", node...)
	w.offered("wait")
	epoch := func() uint64 {
		s, err := w.Status(w.ctx, "alpha")
		must(t, err)
		return s.Epoch
	}
	before := epoch()
	var ids []string
	for range 12 {
		ids = append(ids, w.submit("wait", ""))
	}
	free := fill(t, dir)
	if out, err := w.Ctl(w.ctx, "alpha", "work", "submit", "-n", "wait"); err == nil || !strings.Contains(err.Error(), "no room for new work: ") {
		t.Errorf("new work: %s, %v", out, err)
	}
	for _, id := range ids {
		if u, err := w.c.Status(w.ctx, id); err != nil || u.State != client.Running {
			t.Errorf("unit %s is %s, %v", id, u.State, err)
		}
	}
	must(t, os.WriteFile(let, nil, 0o600))
	for len(w.units()) > 0 { // they all end, and that has to wait for the disk
		must(t, lab.Pause(w.ctx, pause))
	}
	if l, err := w.c.List(w.ctx); err != nil || len(l.Units) != len(ids) {
		t.Errorf("%d units of %d are listed: %v", len(l.Units), len(ids), err)
	}
	free()
	ended := func() {
		t.Helper()
		for _, id := range ids {
			if out, u := w.results(id); out != "begins\n" || u.State != client.Succeeded {
				t.Errorf("unit %s is %s, and has written %q", id, u.State, out)
			}
		}
	}
	ended()
	if out, err := w.Ctl(w.ctx, "alpha", "work", "submit", "-nf", "wait"); err != nil || out != "begins\n" {
		t.Errorf("new work: %q, %v", out, err)
	}
	if epoch() != before {
		t.Error("the core was restarted")
	}
	must(t, p.Stop())
	w.start("receptor", node...)
	w.offered("wait")
	ended()
}

// Directories among the units that the node did not make (S7 of the attacks): they are
// unknown units, cost nobody an answer, also after a restart, and are left alone.
func TestForeignUnitDirectories(t *testing.T) {
	t.Parallel()
	l, ctx := newLab(t)
	link := freePort(t)
	alpha, err := l.Start("receptor", "--node", "id=alpha", "--control-service", "service=control",
		"--tcp-listener", "bindaddr=127.0.0.1", "port="+strconv.Itoa(link))
	must(t, err)
	_, err = l.Start("receptor", "--node", "id=beta", "--tcp-peer", "address="+lab.Local(link))
	must(t, err)
	must(t, l.WaitRoute(ctx, "beta", "alpha"))
	units := filepath.Join(l.Dir, "state", "alpha", "units")
	whole := `{"State":1,"Detail":"Running: PID 1","StdoutSize":5,"WorkType":"echo","ExtraData":{"Pid":1,"Params":""}}`
	status := map[string]func(path string) error{
		"legacy01": func(path string) error { return os.WriteFile(path, []byte(whole), 0o600) },
		"trunca01": func(path string) error { return os.WriteFile(path, []byte(whole[:20]), 0o600) },
		"nojson01": func(path string) error { return os.WriteFile(path, []byte("\x00\xff no JSON"), 0o600) },
		"noread01": func(path string) error { return os.WriteFile(path, []byte(whole), 0) },
		"direct01": func(path string) error { return os.Mkdir(path, 0o700) },
		"fifo0001": func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"escape01": func(path string) error { return os.Symlink("/etc/passwd", path) },
	}
	var ids []string
	for id, write := range status {
		ids = append(ids, id)
		must(t, os.Mkdir(filepath.Join(units, id), 0o700))
		must(t, os.WriteFile(filepath.Join(units, id, "stdout"), []byte("hello"), 0o600))
		must(t, write(filepath.Join(units, id, "status")))
	}
	slices.Sort(ids)
	before := tree(t, filepath.Join(units, "legacy01"))
	ask := func(what string) {
		t.Helper()
		c, err := net.Dial("unix", l.Socket("alpha"))
		must(t, err)
		defer c.Close()
		must(t, c.SetDeadline(time.Now().Add(10*time.Second))) // for what takes a millisecond
		in := bufio.NewReader(c)
		line := func(line, want string) {
			t.Helper()
			_, err := io.WriteString(c, line)
			must(t, err)
			if got, err := in.ReadString('\n'); got != want {
				t.Errorf("%s: %q is answered by %q, %v; want %q", what, line, got, err, want)
			}
		}
		line("", "Receptor Control, node alpha\n")
		for _, id := range ids {
			for _, verb := range []string{"status", "results", "cancel", "release", "force-release", "list"} {
				line(fmt.Sprintf("work %s %s\n", verb, id), "ERROR: unknown work unit "+id+"\n")
			}
			line(fmt.Sprintf(`{"v":1,"id":1,"command":"work","args":{"subcommand":"status","unit":%q}}`+"\n", id),
				fmt.Sprintf(`{"id":1,"error":{"code":"not_found","msg":"unknown work unit %s"}}`+"\n", id))
			line("work list\n", "{}\n")
			line("work submit localhost echo\n", "ERROR: unknown work type echo\n")
		}
	}
	ask("at first")
	children, err := lab.Children(alpha.PID())
	must(t, err)
	killed := false
	for _, c := range children {
		if c.Program == "receptor-core" {
			must(t, syscall.Kill(c.PID, syscall.SIGKILL))
			killed = true
		}
	}
	if !killed {
		t.Fatalf("no core among %v", children)
	}
	must(t, l.WaitStatus(ctx, "alpha", func(s *lab.Status) bool { return s.RoutingTable["beta"] == "beta" }))
	ask("after a restart")
	if _, err := l.Ctl(ctx, "beta", "ping", "alpha", "--count", "1"); err != nil {
		t.Errorf("the healthy neighbour: %v", err)
	}
	for path, was := range before {
		if is := tree(t, filepath.Join(units, "legacy01"))[path]; is != was {
			t.Errorf("%s was %s, and is %s", path, was, is)
		}
	}
	for _, id := range ids {
		if _, err := os.Stat(filepath.Join(units, id, "stdout")); err != nil {
			t.Errorf("what was not ours is gone: %v", err)
		}
	}
}
