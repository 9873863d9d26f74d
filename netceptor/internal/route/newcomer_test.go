package route

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// A mesh of ours that grows in any order, also from parts that did not know each
// other, and whose nodes restart: all learn of all at once, though nobody floods
// because somebody else is new.
func TestNewcomersAreTold(t *testing.T) {
	t.Parallel()
	const soon = 2*FloodDelay + 2*SPFDelay // and not the floods that repair everything
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 3))
		m := newMesh(t)
		count := 2 + r.IntN(12)
		name := func(i int) string { return fmt.Sprintf("n%02d", i) }
		for i := range count {
			m.add(name(i), uint64(1000+i), false)
		}
		for _, i := range r.Perm(count) {
			for _, j := range []int{(i + 1) % count, r.IntN(count)} { // a ring, and some links across
				if _, linked := m.links[[2]string{name(i), name(j)}]; i != j && !linked {
					m.link(name(i), name(j), 1)
				}
			}
			m.run(time.Duration(r.IntN(300)) * time.Millisecond)
		}
		check := func(what string) {
			t.Helper()
			m.run(soon)
			m.check()
			for _, n := range m.names() {
				if got := len(m.nodes[n].Routes()); got != count-1 {
					t.Fatalf("seed %d: %s: %s has %d routes to %d others", seed, what, n, got, count-1)
				}
			}
		}
		check("joined")
		for range 5 {
			again := name(r.IntN(count))
			var peers []string
			for _, peer := range m.names() {
				if _, ok := m.links[[2]string{again, peer}]; ok {
					peers = append(peers, peer)
				}
			}
			m.restart(again, m.nodes[again].config.Epoch+1)
			for _, peer := range peers {
				m.run(time.Duration(r.IntN(30)) * time.Millisecond)
				m.link(again, peer, 1)
			}
			check(again + " has restarted")
		}
	}
}

// Who comes is told of what lies behind others, not of what lies behind itself, or
// nowhere; when that changes, of what then lies behind others. One beside a legacy
// node is told of everything.
func TestReplayOfWhatIsElsewhere(t *testing.T) {
	t.Parallel()
	m := newTest()
	said := func(name string, sequence uint64, peers ...string) *wire.RoutingUpdate {
		u := of(name, sequence, make(map[string]float64))
		for _, peer := range peers {
			u.Connections[peer] = 1
		}
		u.Ext = &wire.Ext{V: 1}
		return u
	}
	m.LinkUp(start, "hub", Link{Cost: 1})
	m.Receive(start, "hub", said("hub", 1, "me", "x", "y"))
	m.Receive(start, "hub", said("x", 1, "hub"))
	m.Receive(start, "hub", said("y", 1, "hub", "side", "known"))
	m.Receive(start, "hub", said("z", 1, "nobody"))
	m.Receive(start, "hub", said("known", 1, "y"))
	now := m.Next()
	m.Tick(now)

	var got []string
	note := func(e Effects) {
		for _, s := range e.Send {
			if s.Update.NodeID != "me" && slices.Equal(s.To, []string{"hub"}) {
				got = append(got, s.Update.NodeID)
			}
		}
	}
	expect := func(when string, want ...string) {
		t.Helper()
		for range 3 {
			now = m.Next()
			note(m.Tick(now))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s the hub is told of %v, want %v", when, got, want)
		}
		got = nil
	}
	m.LinkDown(now, "hub")
	note(m.LinkUp(now, "hub", Link{Cost: 1}))
	expect("at first", "hub") // itself, should anybody use its name
	known := said("known", 1, "y")
	known.UpdateID += " again"
	note(m.Receive(now, "hub", known))
	m.LinkUp(now, "side", Link{Cost: 1})
	m.Receive(now, "side", said("side", 1, "me", "y"))
	got = nil
	m.Receive(now, "hub", said("hub", 2, "me", "x"))
	expect("with another way", "y")
	legacy := said("old", 1, "hub", "z")
	legacy.Ext = nil
	m.Receive(now, "hub", legacy)
	m.Receive(now, "hub", said("hub", 3, "me", "x", "old"))
	expect("beside a legacy node, which would tell it of nobody,", "x", "z")
}
