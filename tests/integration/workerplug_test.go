package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/workceptor/client"
)

// workerNode is a node alpha, started by hand, whose worker is the example that counts.
type workerNode struct {
	*lab.Lab
	t    *testing.T
	ctx  context.Context
	core *lab.Process
	plug *lab.Process
}

func newWorkerNode(t *testing.T) *workerNode {
	t.Helper()
	l, ctx := newLab(t)
	n := &workerNode{Lab: l, t: t, ctx: ctx}
	n.startCore()
	n.startPlug()
	return n
}

func (n *workerNode) startCore() {
	n.t.Helper()
	var err error
	n.core, err = n.Start("receptor-core", "--node", "id=alpha", "--control-service", "service=control",
		"--work-counter", "dir="+filepath.Join(n.Dir, "ledger"))
	must(n.t, err)
}

func (n *workerNode) startPlug() {
	n.t.Helper()
	var err error
	n.plug, err = n.Start("counter", "--socket", n.PlugSocket("alpha"))
	must(n.t, err)
}

// submit submits a unit once the type is offered.
func (n *workerNode) submit(payload, pause string) string {
	n.t.Helper()
	for {
		u, err := workClient(n.Lab, "alpha").Submit(n.ctx, client.Job{
			Type: "count", Params: map[string]string{"pause": pause}, Payload: strings.NewReader(payload),
		})
		if err == nil {
			return u.ID
		}
		if !strings.Contains(err.Error(), "unknown work type") {
			n.t.Fatal(err)
		}
		must(n.t, lab.Pause(n.ctx, 20*time.Millisecond))
	}
}

// counted are the lines 1 to n.
func counted(n int) string {
	var b strings.Builder
	for i := 1; i <= n; i++ {
		fmt.Fprintln(&b, i)
	}
	return b.String()
}

// results follows a unit to its end, through cuts. each sees each line.
func (n *workerNode) results(unit string, each func(line string)) (string, client.Status) {
	n.t.Helper()
	var end client.Status
	var out strings.Builder
	for r, err := range workClient(n.Lab, "alpha").Responses(n.ctx, unit, client.From{}, &end) {
		must(n.t, err)
		each(string(r.Line))
		fmt.Fprintln(&out, string(r.Line))
	}
	return out.String(), end
}

func nothing(string) {}

// A unit of a worker that is a plug goes on while its core is killed, twice, and while
// it does the plug serves a service of its own. When the plug is killed its units are
// lost, what they wrote is kept, and none is run again.
func TestWorkerPlug(t *testing.T) {
	t.Parallel()
	n := newWorkerNode(t)
	quick := n.submit("3", "0s")
	if out, end := n.results(quick, nothing); out != counted(3) || end.State != client.Succeeded {
		t.Errorf("a quick unit is %s and has written %q", end.State, out)
	}
	failed := n.submit("no number", "0s")
	if _, end := n.results(failed, nothing); end.State != client.Failed || end.Exit == nil || end.Exit.Code != 1 || end.Reason == "" {
		t.Errorf("a unit that fails is %+v", end)
	}

	const lines = 40
	long := n.submit(fmt.Sprint(lines), "50ms")
	out, end := n.results(long, func(line string) {
		switch line {
		case "5", "20":
			n.core.Kill()
			n.startCore()
		case "15":
			told, err := n.Ctl(n.ctx, "alpha", "connect", "alpha", "counter")
			if err != nil || !strings.Contains(told, long+": ") {
				t.Errorf("the worker's service says %q, %v", told, err)
			}
		}
	})
	if out != counted(lines) || end.State != client.Succeeded {
		t.Errorf("a unit whose core was killed twice is %s and has written %q", end.State, out)
	}

	doomed := n.submit("1000", "50ms")
	out, end = n.results(doomed, func(line string) {
		if line == "3" {
			n.plug.Kill()
			n.startPlug()
		}
	})
	if end.State != client.Lost || !strings.HasPrefix(counted(1000), out) || len(out) < len(counted(3)) {
		t.Errorf("a unit whose worker was killed is %s and has written %q", end.State, out)
	}
	again := n.submit("2", "0s")
	if out, end := n.results(again, nothing); out != counted(2) || end.State != client.Succeeded {
		t.Errorf("the next unit is %s and has written %q", end.State, out)
	}
	for _, id := range []string{quick, failed, long, doomed, again} {
		released, err := workClient(n.Lab, "alpha").Release(n.ctx, id, false)
		if err != nil || !released {
			t.Errorf("release of %s: %v, %v", id, released, err)
		}
	}
	for { // the worker has no notes of them then, but its lock
		notes, err := os.ReadDir(filepath.Join(n.Dir, "ledger"))
		must(t, err)
		if len(notes) == 1 && notes[0].Name() == "lock.lock" {
			break
		}
		must(t, lab.Pause(n.ctx, 20*time.Millisecond))
	}
}

// A node without worker programs cannot be made to run anything: whatever is said in
// any form of the command work, there is no unit, no process and no trace of a run.
func TestNothingRunsWithoutWorkers(t *testing.T) {
	t.Parallel()
	l, ctx := newLab(t)
	launcher, err := l.Start("receptor", "--node", "id=alpha", "--control-service", "service=control")
	must(t, err)
	must(t, l.WaitStatus(ctx, "alpha", func(*lab.Status) bool { return true }))
	trace := filepath.Join(l.Dir, "ran")
	children := func() (all []lab.Child) {
		for pids := []int{launcher.PID()}; len(pids) > 0; pids = pids[1:] {
			c, err := lab.Children(pids[0])
			must(t, err)
			for _, c := range c {
				all = append(all, c)
				pids = append(pids, c.PID)
			}
		}
		return all
	}
	before := fmt.Sprint(children())
	if !strings.Contains(before, "receptor-core") {
		t.Fatalf("no core among %s", before)
	}

	script := "touch " + trace
	types := []string{
		"echo", "command", "work-command", "shell", "sh", "/bin/sh", "sh -c", "../../../../bin/sh", "touch", "/usr/bin/touch", "local", "localhost", "control",
		"counter", "receptor-worker-command", l.Programs.Path("counter"), "`" + script + "`", "$(" + script + ")", "; " + script, "\x00", "%s", strings.Repeat("a", 1000),
	}
	converse := func(lines ...string) {
		t.Helper()
		c, err := net.Dial("unix", l.Socket("alpha"))
		must(t, err)
		defer c.Close()
		deadline, _ := ctx.Deadline()
		must(t, c.SetDeadline(deadline))
		in := bufio.NewReader(c)
		_, err = in.ReadString('\n') // the greeting
		must(t, err)
		for _, line := range lines {
			_, err := io.WriteString(c, line+"\n")
			must(t, err)
			if got, err := in.ReadString('\n'); !strings.HasPrefix(got, "ERROR: ") && !strings.Contains(got, `"error":`) {
				t.Errorf("%.200q is answered by %q, %v", line, got, err)
			}
		}
	}
	object := func(v map[string]any) string {
		b, err := json.Marshal(v)
		must(t, err)
		return string(b)
	}
	for _, typ := range types {
		for _, node := range []string{"localhost", "alpha", "LOCALHOST"} {
			converse(
				"work submit "+node+" "+typ,
				"work submit "+node+" "+typ+" "+script,
				"work start "+node+" "+typ,
				"WORK SUBMIT "+node+" "+typ,
				object(map[string]any{"command": "work", "subcommand": "submit", "node": node, "worktype": typ}),
				object(map[string]any{"command": "work", "subcommand": "submit", "node": node, "worktype": typ, "params": script, "command_line": script}),
				object(map[string]any{"command": "work", "subcommand": "submit", "node": node, "worktype": typ, "tlsclient": "", "ttl": "10s"}),
				object(map[string]any{"v": 1, "id": 1, "command": "work", "args": map[string]any{"subcommand": "submit", "type": typ}}),
				object(map[string]any{"v": 1, "id": 1, "command": "work", "args": map[string]any{"subcommand": "submit", "node": node, "type": typ, "params": map[string]string{"params": script}}}),
				object(map[string]any{"v": 1, "id": 1, "command": "work", "args": map[string]any{"subcommand": "submit", "type": typ, "submission": "s", "merged": true}}),
				object(map[string]any{"v": 1, "id": 1, "command": "work", "args": map[string]any{"subcommand": "submit", "type": typ, "command": script}}),
				object(map[string]any{"v": 1, "id": 1, "command": "work", "args": map[string]any{"subcommand": "start", "type": typ}}),
			)
		}
		for _, sub := range []string{"status", "results", "cancel", "release", "force-release"} {
			converse(
				"work "+sub+" "+typ,
				object(map[string]any{"command": "work", "subcommand": sub, "unitid": typ, "startpos": 0}),
				object(map[string]any{"v": 1, "id": 1, "command": "work", "args": map[string]any{"subcommand": sub, "unit": typ}}),
			)
		}
	}
	if _, err := l.Ctl(ctx, "alpha", "work", "submit", "-l", script, "sh"); err == nil {
		t.Error("receptorctl has submitted something")
	}
	if out, err := l.Ctl(ctx, "alpha", "work", "list"); err != nil || strings.TrimSpace(out) != "{}" {
		t.Errorf("units: %q, %v", out, err)
	}
	if after := fmt.Sprint(children()); after != before {
		t.Errorf("processes of the node: %s, and before %s", after, before)
	}
	entries, err := os.ReadDir(filepath.Join(l.Dir, "state", "alpha", "units"))
	must(t, err)
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") { // those are the store's own
			t.Errorf("there is a unit %s", e.Name())
		}
	}
	if _, err := os.Stat(trace); !os.IsNotExist(err) {
		t.Errorf("something has run: %v", err)
	}
}
