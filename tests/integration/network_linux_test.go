package integration

import (
	"context"
	"encoding/binary"
	"flag"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

// acrossSize is what goes through while ways are cut.
var acrossSize = flag.Int64("across", 16<<20, "bytes of the transfer in TestFailOverBetweenMedia; from 256 MiB on, with programs without the race detector over faster wires")

// threeWays are two nodes, near and far, on hosts of their own, with a node between
// them for each medium, which costs less the earlier it is named.
type threeWays struct {
	*lab.Lab
	t         *testing.T
	ctx       context.Context
	near, far *lab.Host
	wires     map[string]*lab.Wire // of near, by the node at the other end
	rate      string               // of all wires
}

func newThreeWays(t *testing.T) *threeWays {
	t.Helper()
	n := newNetwork(t)
	p, rate, most := programs, "20mbit", 2*patience
	if *acrossSize >= 256<<20 {
		var err error
		p, err = plain()
		must(t, err)
		rate, most = "200mbit", 5*patience
	}
	l, ctx := newLabFor(t, p, most)
	w := &threeWays{Lab: l, t: t, ctx: ctx, wires: map[string]*lab.Wire{}, rate: rate}
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
	w.start(w.near, "near", slices.Concat(listeners, []string{
		"--tcp-server", "port=4000", "bindaddr=127.0.0.1", "remotenode=far", "remoteservice=app",
		"--udp-server", "port=4000", "bindaddr=127.0.0.1", "remotenode=far", "remoteservice=udpapp",
	}))
	w.start(w.far, "far", slices.Concat(listeners, []string{
		"--tcp-client", "service=app", "address=127.0.0.1:4001",
		"--udp-client", "service=udpapp", "address=127.0.0.1:4001",
	}))
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
			must(t, wire.Slow(rate))
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

// questions are datagrams, one after the other, to what answers each with its bytes
// turned round.
type questions struct {
	asked    atomic.Uint64 // the number of the last one
	answered atomic.Uint64 // how many
	latest   atomic.Uint64 // that was answered, by its number
}

// askOn asks fifty times a second on a socket, which it owns, until the test ends.
func askOn(t *testing.T, c *net.UDPConn) *questions {
	t.Helper()
	q := &questions{}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				_, _ = c.Write(binary.BigEndian.AppendUint64(nil, q.asked.Add(1))) // lost, as any may be
			}
		}
	})
	wg.Go(func() {
		b := make([]byte, 1<<16)
		for ctx.Err() == nil {
			n, err := c.Read(b)
			if err != nil {
				continue // nobody listens yet
			}
			number := uint64(0)
			if n == 8 {
				number = binary.LittleEndian.Uint64(b)
			}
			if number == 0 || number > q.asked.Load() {
				t.Errorf("an answer that nobody has asked for: %x", b[:n])
				return
			}
			q.answered.Add(1)
			q.latest.Store(max(q.latest.Load(), number))
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = c.Close()
		wg.Wait()
	})
	return q
}

// goesBy waits until near and far reach each other by that node; after that bytes of
// the transfer arrive, and answers to questions that were asked then.
func (w *threeWays) goesBy(x *transfer, q *questions, way string) {
	w.t.Helper()
	start := time.Now()
	for node, to := range map[string]string{"near": "far", "far": "near"} {
		must(w.t, w.WaitStatus(w.ctx, node, func(s *lab.Status) bool { return s.RoutingTable[to] == way }))
	}
	routed := time.Since(start)
	asked, answered, before := q.asked.Load(), q.answered.Load(), x.bytes.Load()
	must(w.t, waitFor(w.ctx, func() bool { return q.latest.Load() > asked && q.answered.Load() >= answered+20 }))
	talked := time.Since(start)
	must(w.t, waitFor(w.ctx, func() bool { return x.bytes.Load() > before+1<<20 }))
	w.t.Logf("by %s after %.1f s, answers after %.1f s, bytes after %.1f s; since then %d questions, %d answers", way,
		routed.Seconds(), talked.Seconds(), time.Since(start).Seconds(), q.asked.Load()-asked, q.answered.Load()-answered)
}

// A mesh over all media at once takes the cheapest way that there is: the next when
// that is cut, with a word to the ends or without, and again the cheaper one when it
// is back. A stream goes on, and loses no byte; datagrams go on too, some of which are
// lost. Over UDP, datagrams of links are lost on the way. A way that has become slow
// is still the cheapest.
func TestFailOverBetweenMedia(t *testing.T) {
	t.Parallel()
	w := newThreeWays(t)
	l, err := w.far.Listen("127.0.0.1:4001")
	must(t, err)
	app := lab.ServeListener(l, lab.Echo)
	t.Cleanup(app.Close)
	udpApp, err := w.far.ListenUDP("127.0.0.1:4001")
	must(t, err)
	answerOn(t, udpApp)
	must(t, w.wires["udp"].Lose(1))
	must(t, w.WaitStatus(w.ctx, "near", func(s *lab.Status) bool { return len(s.Links) == 3 && s.RoutingTable["far"] == "tcp" }))
	must(t, w.WaitStatus(w.ctx, "far", func(s *lab.Status) bool {
		return len(s.Links) == 3 && s.RoutingTable["near"] == "tcp" &&
			s.Item("tcp-client service=app").State == "up" && s.Item("udp-client service=udpapp").State == "up"
	}))
	conn, err := w.near.Dial(w.ctx, "127.0.0.1:4000")
	must(t, err)
	x := transferOver(t, conn)
	asker, err := w.near.DialUDP("127.0.0.1:4000")
	must(t, err)
	q := askOn(t, asker)

	w.goesBy(x, q, "tcp")
	must(t, w.wires["tcp"].Reset())
	w.goesBy(x, q, "udp")
	must(t, w.wires["tcp"].Slow("4mbit"))
	must(t, w.wires["tcp"].Lose(0))
	w.goesBy(x, q, "tcp")
	must(t, w.wires["tcp"].Slow(w.rate))
	must(t, w.wires["tcp"].Reset())
	w.goesBy(x, q, "udp")
	must(t, w.wires["udp"].Lose(100)) // which is noticed after some time only
	w.goesBy(x, q, "ws")
	must(t, waitFor(w.ctx, func() bool { return x.bytes.Load() >= *acrossSize }))
	x.finish(t)
	t.Logf("%d MiB there and back, %d of %d questions answered", x.bytes.Load()>>20, q.answered.Load(), q.asked.Load())
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
