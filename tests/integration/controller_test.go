package integration

import (
	"context"
	"flag"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

var controllerUnits = flag.Int("controller-units", 200, "units in TestController")

// workers are the nodes that run units for example/controller.
var workers = []string{"w1", "w2", "w3"}

// controllerLab is a node with three neighbours that run units of type sh. Each program
// is started by hand: a launcher would ask all plugs what they are, for each node.
type controllerLab struct {
	*workLab
	hub     *lab.Process // the core of that node
	restart func()
}

// startControllerLab starts it; the units run script by sh.
func startControllerLab(t *testing.T, script string) *controllerLab {
	t.Helper()
	w := newWorkLab(t, "a")
	port := freePort(t)
	c := &controllerLab{workLab: w}
	c.restart = func() {
		c.hub = w.start("receptor-core", "--node", "id=a", "--tcp-listener", "bindaddr=127.0.0.1", "port="+strconv.Itoa(port))
	}
	c.restart()
	w.start("receptor-backend-tcp", "--socket", w.PlugSocket("a"))
	for _, node := range workers {
		w.start("receptor-core", "--node", "id="+node, "--control-service", "service=control", "--tcp-peer", "address="+lab.Local(port),
			"--work-command", "worktype=sh", "command=sh", `args=["-c", "`+strings.ReplaceAll(script, `"`, `\"`)+`"]`)
		w.start("receptor-backend-tcp", "--socket", w.PlugSocket(node))
		w.start("receptor-worker-command", "--socket", w.PlugSocket(node))
	}
	must(t, w.WaitRoute(w.ctx, "a", workers...))
	for _, node := range workers {
		must(t, w.WaitRoute(w.ctx, node, "a"))
		must(t, w.WaitStatus(w.ctx, node, func(s *lab.Status) bool { return s.Item("work-command worktype=sh").State == "up" }))
	}
	return c
}

// controller starts example/controller.
func (c *controllerLab) controller(args ...string) *lab.Process {
	c.t.Helper()
	args = append([]string{"--socket", c.Socket("a"), "--type", "sh"}, args...)
	for _, node := range workers {
		args = append(args, "--node", node)
	}
	p, err := c.Start("controller", args...)
	must(c.t, err)
	return p
}

// exits waits for the end of a program.
func (c *controllerLab) exits(p *lab.Process, want int) {
	c.t.Helper()
	code, err := p.ExitCode(c.ctx)
	must(c.t, err)
	if code != want {
		c.t.Fatalf("exit status %d instead of %d", code, want)
	}
}

// forgotten waits until no node knows a unit, and none runs.
func (c *controllerLab) forgotten() {
	c.t.Helper()
	for _, node := range append([]string{"a"}, workers...) {
		for {
			l, err := workClient(c.Lab, node).List(c.ctx)
			must(c.t, err)
			if len(l.Units) == 0 {
				break
			}
			must(c.t, lab.Pause(c.ctx, pause))
		}
	}
	for len(c.units()) > 0 {
		must(c.t, lab.Pause(c.ctx, pause))
	}
}

var answered = regexp.MustCompile(`(?m)^(w\d) (\d+): (\d+) is done$`)

// Each unit is run and printed once, though the core that the controller talks to is
// killed in the middle; every node has its share, and nothing is left.
func TestController(t *testing.T) {
	t.Parallel()
	c := startControllerLab(t, `read n && echo $n is done`)
	p := c.controller("--units", strconv.Itoa(*controllerUnits))
	seen := func() map[string]int {
		all := map[string]int{}
		for _, m := range answered.FindAllStringSubmatch(p.Output(), -1) {
			if m[2] != m[3] {
				t.Errorf("unit %s has said that %s is done", m[2], m[3])
			}
			all[m[2]]++
			all[m[1]]++
		}
		return all
	}
	for len(seen()) < *controllerUnits/3 {
		must(t, lab.Pause(c.ctx, pause))
	}
	c.hub.Kill()
	must(t, p.WaitOutput(c.ctx, "local node: the node cannot be reached"))
	c.restart()
	c.exits(p, 0)
	all := seen()
	for n := range *controllerUnits {
		if times := all[strconv.Itoa(n+1)]; times != 1 {
			t.Errorf("unit %d was printed %d times", n+1, times)
		}
	}
	for _, node := range workers {
		t.Logf("%s: %d units", node, all[node])
		if all[node] < *controllerUnits/10 {
			t.Errorf("%s has run %d units only", node, all[node])
		}
	}
	t.Log(p.Output()[strings.LastIndex(p.Output(), "controller: "):])
	c.forgotten()
}

// Whoever is interrupted ends what runs, on all nodes.
func TestControllerInterrupted(t *testing.T) {
	t.Parallel()
	c := startControllerLab(t, `echo it runs; exec sleep 1000`)
	p := c.controller("--units", "30", "--parallel", "4")
	for strings.Count(p.Output(), "it runs") < 12 {
		must(t, lab.Pause(c.ctx, pause))
	}
	if n := len(c.units()); n != 12 {
		t.Errorf("%d units run", n)
	}
	must(t, syscall.Kill(p.PID(), syscall.SIGINT))
	c.exits(p, 130)
	if !strings.Contains(p.Output(), "controller: 0 of 30 units succeeded, 0 failed") || strings.Contains(p.Output(), "left behind") {
		t.Error("it says something else")
	}
	c.forgotten()
}

// What fails is listed. A node that takes no units is left out, until it takes some.
func TestControllerTroubles(t *testing.T) {
	t.Parallel()
	c := startControllerLab(t, `read n; test $n -ne 7 || { echo no seven >&2; exit 3; }; echo $n is done`)
	p := c.controller("--units", "20")
	c.exits(p, 1)
	for _, want := range []string{`(?m)^w\d 7: no seven$`, `(?m)^unit 7 on w\d: failed: exit status 3$`, `controller: 19 of 20 units succeeded, 1 failed`} {
		if !regexp.MustCompile(want).MatchString(p.Output()) {
			t.Errorf("it does not say %s", want)
		}
	}

	_, err := c.Ctl(c.ctx, "w1", "drain")
	must(t, err)
	p = c.controller("--units", "6", "--parallel", "2")
	c.exits(p, 0)
	if n := len(answered.FindAllString(p.Output(), -1)); n != 6 || strings.Contains(p.Output(), "w1 ") {
		t.Errorf("%d units", n)
	}
	must(t, p.WaitOutput(c.ctx, "controller: w1: "))

	// All of them: it waits.
	for _, node := range workers {
		_, err := c.Ctl(c.ctx, node, "drain")
		must(t, err)
	}
	p = c.controller("--units", "6")
	for _, node := range workers {
		must(t, p.WaitOutput(c.ctx, fmt.Sprintf("controller: %s: node %s: the node is draining", node, node)))
	}
	_, err = c.Ctl(context.WithoutCancel(c.ctx), "w2", "undrain")
	must(t, err)
	c.exits(p, 0)
	c.forgotten()
}
