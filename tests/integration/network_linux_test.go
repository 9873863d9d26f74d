package integration

import (
	"context"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// newNetwork makes hosts with wires, which the test ends.
func newNetwork(t *testing.T) *lab.Network {
	t.Helper()
	n, err := lab.NewNetwork()
	if err != nil {
		t.Skip("skipped: ", err)
	}
	t.Cleanup(func() { must(t, n.Close()) })
	return n
}

// threeWays are two nodes, near and far, on hosts of their own, with a node between
// them for each medium, which costs less the earlier it is named.
type threeWays struct {
	*lab.Lab
	t         *testing.T
	ctx       context.Context
	near, far *lab.Host
	wires     map[string]*lab.Wire // of near, by the node at the other end
}

func newThreeWays(t *testing.T) *threeWays {
	t.Helper()
	n := newNetwork(t)
	l, ctx := newLabFor(t, programs, 2*patience)
	w := &threeWays{Lab: l, t: t, ctx: ctx, wires: map[string]*lab.Wire{}}
	host := func(name string) *lab.Host {
		t.Helper()
		h, err := n.Host(name)
		must(t, err)
		return h
	}
	w.near, w.far = host("near"), host("far")
	listeners := []string{
		"--tcp-listener", "port=1001", "cost=1",
		"--udp-listener", "port=1002", "cost=2",
		"--ws-listener", "port=1003", "cost=3",
	}
	w.start(w.near, "near", append(listeners, "--tcp-server", "port=4000", "bindaddr=127.0.0.1", "remotenode=far", "remoteservice=app"))
	w.start(w.far, "far", append(listeners, "--tcp-client", "service=app", "address=127.0.0.1:4001"))
	for medium, end := range map[string]struct{ before, after, cost string }{
		"tcp": {"", ":1001", "1"},
		"udp": {"", ":1002", "2"},
		"ws":  {"ws://", ":1003/", "3"},
	} {
		h := host(medium)
		var items []string
		for _, to := range []*lab.Host{w.near, w.far} {
			wire, err := n.Wire(to, h)
			must(t, err)
			must(t, wire.Slow("20mbit"))
			items = append(items, "--"+medium+"-peer", "address="+end.before+wire.A+end.after, "cost="+end.cost)
			if to == w.near {
				w.wires[medium] = wire
			}
		}
		w.start(h, medium, items)
	}
	return w
}

// start starts a node on a host.
func (w *threeWays) start(h *lab.Host, node string, items []string) {
	w.t.Helper()
	_, err := w.StartAs(func(cmd *exec.Cmd) { h.Run(cmd) }, "receptor", slices.Concat([]string{"--node", "id=" + node}, items)...)
	must(w.t, err)
}

// goesBy waits until near and far reach each other by that node, and bytes arrive.
func (w *threeWays) goesBy(x *transfer, way string) {
	w.t.Helper()
	start := time.Now()
	for node, to := range map[string]string{"near": "far", "far": "near"} {
		must(w.t, w.WaitStatus(w.ctx, node, func(s *lab.Status) bool { return s.RoutingTable[to] == way }))
	}
	before := x.bytes.Load()
	must(w.t, waitFor(w.ctx, func() bool { return x.bytes.Load() > before+1<<20 }))
	w.t.Logf("by %s after %.1f s", way, time.Since(start).Seconds())
}

// A mesh over all media at once takes the cheapest way that there is: the next when
// that is cut, and again the cheaper one when it is back. A stream goes on, and loses
// no byte; over UDP, datagrams are lost on the way.
func TestFailOverBetweenMedia(t *testing.T) {
	t.Parallel()
	w := newThreeWays(t)
	l, err := w.far.Listen("127.0.0.1:4001")
	must(t, err)
	app := lab.ServeListener(l, lab.Echo)
	t.Cleanup(app.Close)
	must(t, w.wires["udp"].Lose(1))
	must(t, w.WaitStatus(w.ctx, "near", func(s *lab.Status) bool { return len(s.Links) == 3 && s.RoutingTable["far"] == "tcp" }))
	must(t, w.WaitStatus(w.ctx, "far", func(s *lab.Status) bool {
		return len(s.Links) == 3 && s.RoutingTable["near"] == "tcp" && s.Item("tcp-client service=app").State == "up"
	}))
	conn, err := w.near.Dial(w.ctx, "127.0.0.1:4000")
	must(t, err)
	x := transferOver(t, conn)

	w.goesBy(x, "tcp")
	must(t, w.wires["tcp"].Lose(100))
	w.goesBy(x, "udp")
	must(t, w.wires["udp"].Lose(100))
	w.goesBy(x, "ws")
	must(t, w.wires["udp"].Lose(1))
	must(t, w.wires["tcp"].Lose(0))
	w.goesBy(x, "tcp")
	x.finish(t)
}

// Over a way that takes only small packets, a stream finds out what fits: its packets
// are never cut into fragments. A routing update that does not fit is, or a node with
// so long a name could not be reached.
func TestUDPOverANarrowWay(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	l, ctx := newLab(t)
	near, err := n.Host("near")
	must(t, err)
	far, err := n.Host("far")
	must(t, err)
	wire, err := n.Wire(near, far)
	must(t, err)
	must(t, wire.Narrow(1400))
	long := strings.Repeat("n", 700)
	for _, s := range []struct {
		host  *lab.Host
		items []string
	}{
		{near, []string{"--node", "id=near", "--udp-listener", "port=1002", "--tcp-server", "port=4000", "bindaddr=127.0.0.1", "remotenode=" + long, "remoteservice=app"}},
		{far, []string{"--node", "id=" + long, "--udp-peer", "address=" + wire.A + ":1002", "--tcp-client", "service=app", "address=127.0.0.1:4001"}},
	} {
		_, err := l.StartAs(func(cmd *exec.Cmd) { s.host.Run(cmd) }, "receptor", s.items...)
		must(t, err)
	}
	listener, err := far.Listen("127.0.0.1:4001")
	must(t, err)
	app := lab.ServeListener(listener, lab.Echo)
	t.Cleanup(app.Close)
	must(t, l.WaitStatus(ctx, "near", func(s *lab.Status) bool {
		return s.RoutingTable[long] == long && s.Advertisement(long, "app").Service != ""
	}))
	conn, err := near.Dial(ctx, "127.0.0.1:4000")
	must(t, err)
	x := transferOver(t, conn)
	must(t, l.WaitStatus(ctx, "near", func(s *lab.Status) bool {
		return x.bytes.Load() > 4<<20 && s.Plug("backend-udp").Counters["datagram_path"] > 0 // it has tried what does not fit
	}))
	x.finish(t)
	st, err := l.Status(ctx, "near")
	must(t, err)
	if c := st.Plug("backend-udp").Counters; c["datagram_unsent"] > 0 {
		t.Errorf("counters %v: something was not sent", c)
	}
}
