package integration

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// kills is how often a plug is killed under traffic.
const kills = 5

// Whatever becomes of the proxy that listens (stopped in order and started again,
// replaced by a newer one while it runs, or killed), no connection is refused, and
// a transfer that was handed over loses no byte.
//
// The one thing that a kill may take is a connection that was accepted and not
// handed over yet, a matter of microseconds: it is reset.
func TestReplacedProxyRefusesNothing(t *testing.T) {
	echo, err := lab.Serve(lab.Echo)
	must(t, err)
	defer echo.Close()
	p := startPair(t, echo.Addr())
	for _, r := range []replacement{
		{"stop and start", 1, 0, func() { p.restart(nearProxy) }},
		{"stop and start at the far end", kills, 0, func() { p.restart(farProxy) }},
		{"takeover", 1, 0, func() { p.takeOver(nearProxy, "tcp-server") }},
		{"takeover at the far end", 1, 0, func() { p.takeOver(farProxy, "tcp-client service=app") }},
		{"kill", kills, kills, func() { p.kill(nearProxy) }},
		{"kill at the far end", kills, 0, func() { p.kill(farProxy) }},
	} {
		t.Run(r.name, func(t *testing.T) { r.underTraffic(t, &p.way) })
	}
}

// replacement is a way to replace a plug that runs.
type replacement struct {
	name   string
	times  int
	resets int // of connections that were accepted; at most
	do     func()
}

// underTraffic replaces a plug under a loop of connections and a bulk stream.
func (r *replacement) underTraffic(t *testing.T, w *way) {
	t.Helper()
	b := startBulk(w.ctx, t, w.entry)
	l := startLoop(w.ctx, w.entry)
	for range r.times {
		must(t, l.More(w.ctx, 10))
		r.do()
	}
	must(t, l.More(w.ctx, 10))
	l.end(t, r.resets)
	b.end(t)
}

// Backends that are killed take no link with them: those that were handed over
// go on, whoever connects meanwhile waits, and nobody is linked twice.
func TestKilledBackendKeepsItsLinks(t *testing.T) {
	echo, err := lab.Serve(lab.Echo)
	must(t, err)
	defer echo.Close()
	p := startPair(t, echo.Addr())
	since := p.linkSince()
	b := startBulk(p.ctx, t, p.entry)
	l := startLoop(p.ctx, p.entry)
	for range kills {
		must(t, l.More(p.ctx, 5))
		p.procs[nearBackend].Kill()
		p.procs[farBackend].Kill()
		must(t, l.More(p.ctx, 5)) // without backends
		waits, err := net.Dial("tcp", p.link)
		must(t, err) // nobody accepts it, and it is not refused
		p.again(nearBackend)
		p.again(farBackend)
		expectGreeting(t, waits)
		p.waitUp()
	}
	l.end(t, 0)
	b.end(t)
	if now := p.linkSince(); !now.Equal(since) {
		t.Errorf("the link is there since %v, before the kills it was since %v", now, since)
	}
	// The listener that came back takes new nodes in.
	_, err = p.Start("receptor", "--node", "id=third", "--tcp-peer", "address="+p.link)
	must(t, err)
	must(t, p.WaitRoute(p.ctx, "third", "far"))
}

// linkSince is since when the two nodes are linked, by their one link.
func (p *pair) linkSince() (since time.Time) {
	p.t.Helper()
	must(p.t, p.WaitStatus(p.ctx, "near", func(s *lab.Status) bool {
		if len(s.Links) != 1 {
			return false
		}
		since = s.Links[0].Since
		return true
	}))
	return since
}

// expectGreeting waits for the first byte of a link, and closes it.
func expectGreeting(t *testing.T, c net.Conn) {
	t.Helper()
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(patience)))
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("a link that was waiting: %v", err)
	}
}

// restart stops a plug in order, and starts it again.
func (p *pair) restart(plug string) {
	p.t.Helper()
	must(p.t, p.procs[plug].Stop())
	p.again(plug)
}

// kill ends a plug as by kill -9, and starts it again.
func (p *pair) kill(plug string) {
	p.t.Helper()
	p.procs[plug].Kill()
	p.again(plug)
}

// again starts one more process of a plug.
func (p *pair) again(plug string, more ...string) (node string) {
	p.t.Helper()
	node, program, _ := strings.Cut(plug, " ")
	p.plug(node, program, more...)
	return node
}

// takeOver has a newer process take over from a plug that runs, and ends that.
func (p *pair) takeOver(plug, item string) {
	p.t.Helper()
	old := p.procs[plug]
	node := p.again(plug, "--takeover")
	pid := p.procs[plug].PID()
	must(p.t, p.WaitStatus(p.ctx, node, func(s *lab.Status) bool {
		return s.Item(item).State == "up" && slices.ContainsFunc(s.Plugs, func(plug lab.Plug) bool { return plug.PID == pid })
	}))
	must(p.t, old.Stop())
}
