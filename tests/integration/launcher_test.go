package integration

import (
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// A launcher that is killed and started again finds its node at work, and looks
// after it as before. Nobody who uses the node notices.
func TestLauncherKilledUnderTraffic(t *testing.T) {
	echo, err := lab.Serve(lab.Echo)
	must(t, err)
	defer echo.Close()
	ln := startLine(t, echo.Addr())
	b := startBulk(ln.ctx, t, ln.entry)
	l := startLoop(ln.ctx, ln.entry)
	must(t, ln.WaitStatus(ln.ctx, "first", func(s *lab.Status) bool { return pidOf(s, "launcher") == ln.procs[0].PID() }))

	before, err := lab.Children(ln.procs[0].PID())
	must(t, err)
	for _, c := range before {
		p, err := os.FindProcess(c.PID)
		must(t, err)
		t.Cleanup(func() { // should no launcher do it
			if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Error(err)
			}
		})
	}
	ln.procs[0].Kill()
	must(t, l.More(ln.ctx, 10))
	next := ln.starts[0]()
	must(t, next.WaitOutput(ln.ctx, "node runs already; attached to it"))
	must(t, l.More(ln.ctx, 10))
	l.end(t, 0)
	for _, c := range before {
		if !alive(c.PID) {
			t.Errorf("%s (pid %d) has ended", c.Program, c.PID)
		}
	}

	// What dies comes back, by the new launcher.
	var proxy int
	must(t, ln.WaitStatus(ln.ctx, "first", func(s *lab.Status) bool { proxy = pidOf(s, "proxy-tcp"); return proxy != 0 }))
	must(t, syscall.Kill(proxy, syscall.SIGKILL))
	must(t, ln.WaitStatus(ln.ctx, "first", func(s *lab.Status) bool {
		pid := pidOf(s, "proxy-tcp")
		return pid != 0 && pid != proxy && s.Item("tcp-server").State == "up"
	}))
	must(t, lab.RoundTrip(ln.ctx, ln.entry))
	b.end(t)

	// And what runs ends with it.
	after, err := lab.Children(next.PID())
	must(t, err)
	must(t, next.Stop())
	for _, c := range append(before, after...) {
		for alive(c.PID) {
			must(t, lab.Pause(ln.ctx, pause))
		}
	}
}

// pidOf is the process of an attached plug; 0: there is none.
func pidOf(s *lab.Status, plug string) int {
	i := slices.IndexFunc(s.Plugs, func(p lab.Plug) bool { return p.Name == plug })
	if i < 0 {
		return 0
	}
	return s.Plugs[i].PID
}
