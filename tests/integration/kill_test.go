package integration

import (
	"context"
	"io"
	"net"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// child returns the process ID of a program that a launcher runs.
func child(t *testing.T, launcher *lab.Process, program string) int {
	t.Helper()
	children, err := lab.Children(launcher.PID())
	must(t, err)
	for _, c := range children {
		if c.Program == program {
			return c.PID
		}
	}
	t.Fatalf("%s is not among the children of the launcher: %v", program, children)
	return 0
}

// others are the programs of a launcher but for one, with their process IDs.
func others(t *testing.T, launcher *lab.Process, except int) []lab.Child {
	t.Helper()
	children, err := lab.Children(launcher.PID())
	must(t, err)
	return slices.DeleteFunc(children, func(c lab.Child) bool { return c.PID == except })
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

// kill ends one program of a node as by kill -9, and waits until the launcher
// has started it again.
func (ln *line) kill(t *testing.T, node int, program string) {
	t.Helper()
	killProgram(ln.ctx, t, ln.procs[node], program)
}

// killProgram is that for a launcher.
func killProgram(ctx context.Context, t *testing.T, launcher *lab.Process, program string) {
	t.Helper()
	pid := child(t, launcher, program)
	rest := others(t, launcher, pid)
	must(t, syscall.Kill(pid, syscall.SIGKILL))
	deadline := time.Now().Add(patience)
	for {
		children, err := lab.Children(launcher.PID())
		must(t, err)
		if slices.ContainsFunc(children, func(c lab.Child) bool { return c.Program == program && c.PID != pid }) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s of launcher %d was killed and did not come back", program, launcher.PID())
		}
		must(t, lab.Pause(ctx, 20*time.Millisecond))
	}
	for _, c := range rest {
		if !alive(c.PID) {
			t.Errorf("killing %s of launcher %d took %s (pid %d) with it", program, launcher.PID(), c.Program, c.PID)
		}
	}
}

func TestKillEachProgram(t *testing.T) {
	app, err := lab.Serve(lab.Echo)
	must(t, err)
	defer app.Close()
	ln := startLine(t, app.Addr())
	must(t, lab.WaitRoundTrip(ln.ctx, ln.entry))

	for _, k := range []struct {
		node    int
		program string
	}{
		{0, "receptor-proxy-tcp"},
		{0, "receptor-backend-tcp"},
		{0, "receptor-core"},
		{1, "receptor-backend-tcp"},
		{1, "receptor-core"},
		{2, "receptor-proxy-tcp"},
		{2, "receptor-backend-tcp"},
		{2, "receptor-core"},
	} {
		ln.kill(t, k.node, k.program)
		start := time.Now()
		must(t, lab.WaitRoundTrip(ln.ctx, ln.entry))
		t.Logf("%s of %s: traffic again after %.2f s", k.program, ln.nodes[k.node], time.Since(start).Seconds())
	}
}

// A killed core in the middle of a transfer is a reset at both applications,
// never an end. (A killed proxy: see TestRelayedStreamEndsWithItsPlug; what it
// has handed over goes on.)
func TestCoreKilledInTransferIsAReset(t *testing.T) {
	for name, node := range map[string]int{"near core": 0, "far core": 2} {
		t.Run(name, func(t *testing.T) {
			app, farEnd := serveEndless(t)
			ln := startLine(t, app.Addr())
			c := ln.dial(t)
			_, err := io.CopyN(io.Discard, c, 8<<20)
			must(t, err)
			ln.kill(t, node, "receptor-core")
			expectReset(t, c)
			expectEnd(ln.ctx, t, farEnd)
		})
	}
}

// serveEndless writes to each connection for as long as that lasts, and tells
// how it ended.
func serveEndless(t *testing.T) (app *lab.Server, ended <-chan error) {
	t.Helper()
	end := make(chan error, 1)
	app, err := lab.Serve(func(c *net.TCPConn) {
		b := make([]byte, 64<<10)
		for {
			if _, err := c.Write(b); err != nil {
				end <- err
				return
			}
		}
	})
	must(t, err)
	t.Cleanup(app.Close)
	return app, end
}

// expectEnd waits until the far application has heard of the end.
func expectEnd(ctx context.Context, t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		t.Logf("the far application: %v", err)
	case <-ctx.Done():
		t.Error("the far application's connection goes on")
	}
}

// A core that is restarted three times within a second comes with a greater
// epoch each time; a neighbour that took it for old news would not route to it.
func TestCoreRestartedThriceIsHeard(t *testing.T) {
	l, ctx := newLab(t)
	port := strconv.Itoa(freePort(t))
	_, err := l.Start("receptor", "--node", "id=steady", "--tcp-listener", "bindaddr=127.0.0.1", "port="+port)
	must(t, err)
	// By hand, so that no launcher's back-off comes between.
	_, err = l.Start("receptor-backend-tcp", "--socket", l.PlugSocket("restless"))
	must(t, err)
	startCore := func() *lab.Process {
		p, err := l.Start("receptor-core", "--node", "id=restless", "--tcp-peer", "address="+net.JoinHostPort("127.0.0.1", port))
		must(t, err)
		return p
	}
	core := startCore()
	must(t, l.WaitRoute(ctx, "steady", "restless"))
	last := epoch(ctx, t, l, "restless")
	start := time.Now()
	for range 3 {
		core.Kill()
		core = startCore()
		now := epoch(ctx, t, l, "restless")
		if now <= last {
			t.Fatalf("the restarted core has epoch %d, the one before it %d", now, last)
		}
		last = now
	}
	t.Logf("three restarts in %.2f s", time.Since(start).Seconds())
	// The last core knows steady only by a link of its own; then steady's route is no old one.
	must(t, l.WaitRoute(ctx, "restless", "steady"))
	must(t, l.WaitRoute(ctx, "steady", "restless"))
	if _, err := l.Ctl(ctx, "steady", "ping", "restless", "--count", "1"); err != nil {
		t.Error(err)
	}
}

// epoch waits for a node's status and returns its epoch.
func epoch(ctx context.Context, t *testing.T, l *lab.Lab, node string) uint64 {
	t.Helper()
	var e uint64
	must(t, l.WaitStatus(ctx, node, func(s *lab.Status) bool { e = s.Epoch; return true }))
	return e
}
