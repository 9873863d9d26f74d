package integration

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/tests/legacy"
)

func freeUDPPort(t *testing.T) int {
	t.Helper()
	p, err := lab.FreeUDPPort()
	must(t, err)
	return p
}

// listensUDP and dialsUDP are the words of items that accept links, or make one.
func listensUDP(port int, more ...string) []string {
	return append([]string{"--udp-listener", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(port)}, more...)
}

func dialsUDP(port int, more ...string) []string {
	return append([]string{"--udp-peer", "address=" + lab.Local(port)}, more...)
}

// overUDP leads over a line of so many nodes, each linked to the next over UDP. If
// there is a relay, it is on the way from the last to the one before.
func overUDP(t *testing.T, target string, nodes int, relay *lab.UDPRelay) *way {
	t.Helper()
	l, ctx := newLab(t)
	entry := freePort(t)
	name := func(i int) string { return "n" + strconv.Itoa(i) }
	var link int
	for i := range nodes {
		args := []string{"--node", "id=" + name(i)}
		if i > 0 {
			address := lab.Local(link)
			if relay != nil && i == nodes-1 {
				var err error
				address, err = relay.Start(address)
				must(t, err)
				t.Cleanup(relay.Close)
			}
			args = append(args, "--udp-peer", "address="+address)
		}
		if i == 0 {
			args = append(args, "--tcp-server", "bindaddr=127.0.0.1", "port="+strconv.Itoa(entry), "remotenode="+name(nodes-1), "remoteservice=app")
		}
		if i == nodes-1 {
			args = append(args, "--tcp-client", "service=app", "address="+target)
		} else {
			link = freeUDPPort(t)
			args = append(args, listensUDP(link)...)
		}
		_, err := l.Start("receptor", args...)
		must(t, err)
	}
	must(t, l.WaitRoute(ctx, name(0), name(nodes-1)))
	must(t, l.WaitRoute(ctx, name(nodes-1), name(0)))
	must(t, l.WaitStatus(ctx, name(nodes-1), func(s *lab.Status) bool { return s.Item("tcp-client service=app").State == "up" }))
	return &way{l, ctx, lab.Local(entry)}
}

func TestUDPHalfClose(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{2, 3} {
		t.Run(strconv.Itoa(nodes)+" nodes", func(t *testing.T) {
			t.Parallel()
			halfClose(t, func(t *testing.T, target string) *way { return overUDP(t, target, nodes, nil) }, 32<<20)
		})
	}
}

// Datagrams that are lost or overtaken cost time, and nothing else.
func TestUDPLossAndReorder(t *testing.T) {
	t.Parallel()
	relay := &lab.UDPRelay{Loss: 0.02, Reorder: 0.05, Late: 5 * time.Millisecond}
	halfClose(t, func(t *testing.T, target string) *way { return overUDP(t, target, 2, relay) }, 2<<20)
	if relay.Lost.Load() == 0 || relay.Overtaken.Load() == 0 {
		t.Errorf("%d were lost and %d overtaken of %d", relay.Lost.Load(), relay.Overtaken.Load(), relay.Passed.Load())
	}
}

// A model, ours and a model again, over UDP: ours accepts and dials. Then ours is
// restarted, and its neighbours find it again.
func TestUDPLegacyAtTheEnds(t *testing.T) {
	t.Parallel()
	m := newMixed(t)
	left, right := freeUDPPort(t), freeUDPPort(t)
	a, c := m.model(legacy.Config{ID: "a"}), m.model(legacy.Config{ID: "c"})
	_, err := c.ListenUDP(lab.Local(right), legacy.LinkConfig{})
	must(t, err)
	items := append(listensUDP(left), dialsUDP(right)...)
	b := m.ours("b", items...)
	a.DialUDP(lab.Local(left), legacy.LinkConfig{}, true)
	check := func() {
		t.Helper()
		must(t, m.WaitRoute(m.ctx, "b", "a", "c"))
		m.reaches(a, "b", "c")
		m.reaches(c, "a", "b")
		m.pings(a, "c", "b")
		m.pings(c, "a", "b")
		m.pingsFrom("b", "a")
		m.pingsFrom("b", "c")
	}
	check()
	must(t, b.Stop())
	m.eventually("the end of the links", func() bool { return len(a.Neighbours()) == 0 && len(c.Neighbours()) == 0 })
	m.ours("b", items...)
	check()
}

// Ours, a model and ours again, over UDP: the model dials one and is dialled by the
// other, and carries a stream between them.
func TestUDPLegacyInTheMiddle(t *testing.T) {
	t.Parallel()
	app, err := lab.Serve(lab.Digest)
	must(t, err)
	t.Cleanup(app.Close)
	m := newMixed(t)
	left, right, entry := freeUDPPort(t), freeUDPPort(t), freePort(t)
	b := m.model(legacy.Config{ID: "b"})
	_, err = b.ListenUDP(lab.Local(right), legacy.LinkConfig{})
	must(t, err)
	m.ours("a", append(listensUDP(left), "--tcp-server", "bindaddr=127.0.0.1", "port="+strconv.Itoa(entry), "remotenode=c", "remoteservice=app")...)
	m.ours("c", append(dialsUDP(right), "--tcp-client", "service=app", "address="+app.Addr())...)
	b.DialUDP(lab.Local(left), legacy.LinkConfig{}, true)
	must(t, m.WaitRoute(m.ctx, "a", "b", "c"))
	must(t, m.WaitRoute(m.ctx, "c", "a", "b"))
	must(t, m.WaitStatus(m.ctx, "c", func(s *lab.Status) bool { return s.Item("tcp-client service=app").State == "up" }))
	m.pingsFrom("a", "c", "b")
	w := &way{m.Lab, m.ctx, lab.Local(entry)}
	halfClose(t, func(*testing.T, string) *way { return w }, 4<<20)
}

// Backends over UDP that are killed, ended or taken over, at either end and in the
// middle of a transfer, cost a moment and no byte.
func TestUDPBackendsReplacedInTransfer(t *testing.T) {
	t.Parallel()
	const size = 32 << 20
	app, want := serveBulk(t, size)
	p := startPairOver(t, programs, app.Addr(), "udp", freeUDPPort(t))
	const near, far = "near receptor-backend-udp", "far receptor-backend-udp"
	for _, r := range []struct {
		name string
		do   func()
	}{
		{"killed where links are accepted", func() { p.kill(near) }},
		{"killed where the link is made", func() { p.kill(far) }},
		{"ended where links are accepted", func() { p.restart(near) }},
		{"taken over where links are accepted", func() { p.takeOver(near, "udp-listener") }},
		{"taken over where the link is made", func() { p.takeOver(far, "udp-peer") }},
	} {
		t.Run(r.name, func(t *testing.T) {
			var replacing sync.WaitGroup
			digest, pause := fetch(t, p.dial(t), size/3, func() { replacing.Go(r.do) })
			replacing.Wait()
			if digest != want {
				t.Errorf("the transfer has digest %s, expected %s", digest, want)
			}
			if pause > longestPause {
				t.Errorf("the transfer stood still for %v", pause)
			}
			t.Logf("longest pause %v", pause.Round(time.Millisecond))
		})
	}
}
