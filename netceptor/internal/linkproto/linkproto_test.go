package linkproto

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// update is a message about node, put on the link by forwarder.
func update(node, forwarder string, links map[string]float64) []byte {
	return (&wire.RoutingUpdate{NodeID: node, UpdateEpoch: 100, Connections: links, ForwardingNode: forwarder}).Append(nil)
}

func newTest(c Config) *Machine {
	c.Self = "me"
	if c.Cost == 0 {
		c.Cost = 1
	}
	m := New(c)
	m.Start(start, 0)
	return m
}

// describe is what the effects are, in one word each.
func describe(e Effects) string {
	var words []string
	add := func(is bool, word string) {
		if is {
			words = append(words, word)
		}
	}
	add(e.SendInit, "init")
	add(e.Established, "established")
	add(e.Route != nil, "route")
	add(e.Advert != nil, "advert")
	add(e.Ignored != "", e.Ignored)
	add(e.Reject, "reject")
	if e.Close != nil {
		words = append(words, "close: "+e.Close.Error())
	}
	return strings.Join(words, ", ")
}

func TestReceive(t *testing.T) {
	t.Parallel()
	hello := update("peer", "peer", nil)
	lists := update("peer", "peer", map[string]float64{"me": 1})
	type step struct {
		message []byte
		want    string
	}
	for _, c := range []struct {
		name   string
		config Config
		steps  []step
	}{
		{"as usual", Config{}, []step{
			{hello, "established"},
			{lists, "route"},
			{update("far", "peer", nil), "route"},
			{[]byte("\x02{}"), "advert"},
			{lists, "route"},
		}},
		{"before the first update nothing counts", Config{}, []step{
			{nil, IgnoredEmpty},
			{[]byte{}, IgnoredEmpty},
			{[]byte("\x02{}"), IgnoredNotEstablished},
			{[]byte{9}, IgnoredNotEstablished},
			{[]byte("\x01{"), IgnoredMalformed},
			{update("peer", "peer", map[string]float64{"x": -5}), IgnoredCost},
			{update("far", "peer", nil), IgnoredNotEstablished},
			{hello, "established"},
		}},
		{"rejected while connecting", Config{}, []step{
			{[]byte{3}, "close: the peer rejected the link"},
			{hello, IgnoredClosed},
		}},
		{"rejected when established", Config{}, []step{
			{hello, "established"},
			{[]byte("\x03[]"), "close: the peer rejected the link"},
		}},
		{"no name", Config{}, []step{
			{[]byte("\x01{}"), "reject, close: the peer has no valid name: node ID is empty"},
			{hello, IgnoredClosed},
		}},
		{"reserved name", Config{}, []step{
			{update("LOCALHOST", "LOCALHOST", nil), `reject, close: the peer has no valid name: node ID "LOCALHOST" is reserved`},
		}},
		{"our name", Config{}, []step{
			{update("me", "me", nil), `reject, close: the peer has our own node ID "me"`},
		}},
		{"not allowed", Config{AllowedPeers: []string{"a", "Peer"}}, []step{
			{hello, `reject, close: node "peer" is not among the allowed peers`},
		}},
		{"not allowed, though it relays for one who is", Config{AllowedPeers: []string{"peer"}}, []step{
			{update("peer", "evil", nil), `reject, close: node "evil" is not among the allowed peers`},
		}},
		{"allowed", Config{AllowedPeers: []string{"a", "peer"}}, []step{
			{hello, "established"},
		}},
		{"not admitted", Config{Admit: func(string, *wire.RoutingUpdate) error { return errors.New("already connected") }}, []step{
			{hello, "reject, close: already connected"},
		}},
		{"the first update lists us: the peer has heard us before there was a link", Config{}, []step{
			{lists, "established, route"},
			{hello, `reject, close: node "peer" no longer lists this link`},
		}},
		{"the first update may list us, whatever it says", Config{}, []step{
			{update("peer", "peer", map[string]float64{"me": 7}), "established"},
			{hello, IgnoredNotListed},
			{lists, "route"},
		}},
		{"late init message", Config{}, []step{
			{hello, "established"},
			{hello, IgnoredNotListed},
			{lists, "route"},
		}},
		{"no longer listed", Config{}, []step{
			{hello, "established"},
			{lists, "route"},
			{hello, `reject, close: node "peer" no longer lists this link`},
		}},
		{"other cost", Config{Cost: 2.5}, []step{
			{hello, "established"},
			{lists, `reject, close: the cost of this link is 2.5 here and 1 at node "peer": they must be equal`},
		}},
		{"cost changes", Config{}, []step{
			{hello, "established"},
			{lists, "route"},
			{update("peer", "peer", map[string]float64{"me": 3}), `reject, close: the cost of this link is 1 here and 3 at node "peer": they must be equal`},
		}},
		{"in the name of another", Config{}, []step{
			{hello, "established"},
			{update("far", "evil", nil), `reject, close: node "peer" sent an update in the name of "evil"`},
		}},
		{"without a forwarder", Config{}, []step{
			{hello, "established"},
			{update("far", "", nil), `reject, close: node "peer" sent an update in the name of ""`},
		}},
		{"junk when established", Config{}, []step{
			{hello, "established"},
			{[]byte{}, IgnoredEmpty},
			{[]byte("\x01"), IgnoredMalformed},
			{[]byte("\x01null["), IgnoredMalformed},
			{update("x", "peer", map[string]float64{"peer": 0}), IgnoredCost},
			{[]byte{4}, IgnoredUnknownType},
			{[]byte{255, 1, 2}, IgnoredUnknownType},
			{lists, "route"},
		}},
		{"claims about us and others are for routing", Config{}, []step{
			{hello, "established"},
			{update("me", "peer", nil), "route"},
			{update("", "peer", nil), "route"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newTest(c.config)
			for i, s := range c.steps {
				if got := describe(m.Receive(start, s.message)); got != s.want {
					t.Fatalf("step %d, %q:\n got %s\nwant %s", i+1, s.message, got, s.want)
				}
			}
		})
	}
}

func TestEstablished(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		config Config
		ext    *wire.Ext
		cost   float64
	}{
		{"legacy", Config{Cost: 3}, nil, 3},
		{"ours", Config{Cost: 3}, &wire.Ext{V: 1, Caps: []string{wire.CapMux}}, 3},
		{"cost by node", Config{Cost: 3, NodeCost: map[string]float64{"peer": 4.5, "other": 6}}, nil, 4.5},
		{"cost by other node", Config{Cost: 3, NodeCost: map[string]float64{"other": 6}}, nil, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			asked := ""
			c.config.Admit = func(peer string, u *wire.RoutingUpdate) error {
				if u.UpdateEpoch != 1<<60 || u.NodeID != peer {
					t.Errorf("asked with %+v", u)
				}
				asked += peer
				return nil
			}
			m := newTest(c.config)
			if m.Established() {
				t.Error("established before the peer is known")
			}
			u := wire.RoutingUpdate{NodeID: "peer", ForwardingNode: "peer", UpdateEpoch: 1 << 60, Ext: c.ext}
			if e := m.Receive(start, u.Append(nil)); !e.Established || !m.Established() {
				t.Fatalf("not established: %s", describe(e))
			}
			if asked != "peer" || m.Peer() != "peer" || m.Cost() != c.cost {
				t.Errorf("admitted %q, peer %q, cost %v", asked, m.Peer(), m.Cost())
			}
			if (m.Ext() == nil) != (c.ext == nil) || m.Ext().Has(wire.CapMux) != c.ext.Has(wire.CapMux) {
				t.Errorf("extension %+v, want %+v", m.Ext(), c.ext)
			}
			m.Receive(start, []byte{wire.TypeReject})
			if m.Established() {
				t.Error("established though closed")
			}
		})
	}
}

// The reader's buffer is used again; what came out of the machine must stay.
func TestReceiveDoesNotRetain(t *testing.T) {
	t.Parallel()
	m := newTest(Config{})
	m.Receive(start, update("peer", "peer", nil))
	msg := []byte("\x02advert")
	e := m.Receive(start, msg)
	clear(msg)
	if string(e.Advert) != "\x02advert" {
		t.Errorf("advertisement became %q", e.Advert)
	}
}

func TestInitMessages(t *testing.T) {
	t.Parallel()
	m := New(Config{Self: "me", Cost: 1})
	if got := describe(m.Start(start, 0)); got != "init" {
		t.Fatalf("start: %s", got)
	}
	now := start
	for i := 2; i <= InitTries; i++ {
		if m.Next() != now.Add(InitInterval) {
			t.Fatalf("init message %d is due after %v", i, m.Next().Sub(now))
		}
		if got := describe(m.Tick(m.Next().Add(-1), start)); got != "" {
			t.Fatalf("too early: %s", got)
		}
		now = m.Next()
		if got := describe(m.Tick(now, start)); got != "init" {
			t.Fatalf("init message %d: %s", i, got)
		}
	}
	if got, want := describe(m.Tick(m.Next(), start)), "close: no routing update arrived within 10s"; got != want {
		t.Fatalf("at last: %s, want %s", got, want)
	}
	if !m.Next().IsZero() || describe(m.Tick(now.Add(time.Hour), start)) != "" {
		t.Error("a closed link has things to do")
	}
}

// A handshake below the link has its share of the time to say who one is.
func TestTimeSpent(t *testing.T) {
	t.Parallel()
	for spent, inits := range map[time.Duration]int{0: 10, 999 * time.Millisecond: 10, 3500 * time.Millisecond: 7, 9 * time.Second: 1, time.Minute: 1} {
		m := New(Config{Self: "me"})
		m.Start(start, spent)
		sent := 1
		for m.Tick(m.Next(), start).Close == nil {
			sent++
		}
		if sent != inits {
			t.Errorf("%v spent: %d init messages, want %d", spent, sent, inits)
		}
	}
}

func TestIdle(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		maxIdle time.Duration
		want    time.Duration // closed that long after the last message
	}{
		{"default", 0, 25 * time.Second},
		{"longer", 60 * time.Second, 65 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newTest(Config{MaxIdle: c.maxIdle})
			m.Receive(start, update("peer", "peer", nil))
			last := start
			for range 10 { // kept up by any message, data too
				last = m.Next()
				if got := describe(m.Tick(last, last)); got != "" {
					t.Fatalf("in use: %s", got)
				}
			}
			for {
				now := m.Next()
				if now.IsZero() || now.Sub(last) > 2*c.want {
					t.Fatal("never closed")
				}
				e := m.Tick(now, last)
				if e.Close == nil {
					continue
				}
				if !errors.Is(e.Close, ErrIdle) || e.Reject || now.Sub(last) != c.want {
					t.Errorf("after %v: %s", now.Sub(last), describe(e))
				}
				return
			}
		})
	}
}

// Whatever arrives in whatever order: no panic, and an end is an end.
func FuzzReceive(f *testing.F) {
	f.Add(update("peer", "peer", nil), update("peer", "peer", map[string]float64{"me": 1}), []byte("\x02{}"))
	f.Add([]byte("\x01{}"), []byte{}, []byte{3})
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		m := newTest(Config{})
		for _, msg := range [][]byte{a, b, c, a, b, c} {
			was := m.state
			e := m.Receive(start, msg)
			if (e.Close != nil) != (was != closed && m.state == closed) {
				t.Fatalf("from state %d to %d: %s", was, m.state, describe(e))
			}
			if e.Route != nil && (was != established || e.Route.ForwardingNode != m.Peer() || e.Route.Check() != nil) {
				t.Fatalf("handed to routing in state %d: %+v", was, e.Route)
			}
			if m.Established() && m.Peer() == "" {
				t.Fatal("a peer without a name")
			}
		}
	})
}
