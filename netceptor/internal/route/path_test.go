package route

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// Paths are made of links that both ends report, begin as the routes say, and no
// link leads anywhere at less.
func TestPath(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := newTest()
		m.origins = randomLinks(r, 2+r.IntN(30), 1+r.IntN(6))
		m.origins["one-sided"] = &origin{links: map[string]float64{"node00001": 1}}
		m.config.Self = "node00000"
		for peer, cost := range m.origins["node00000"].links {
			m.neighbours[peer] = &neighbour{cost: cost}
		}
		m.neighbours["silent"] = &neighbour{cost: 7}
		delete(m.origins, "node00000")
		m.routes, m.parts, m.ways = shortestPaths(m.config.Self, m.neighbours, m.origins)

		costs := map[string]float64{}
		for to, first := range m.routes {
			path := m.Path(to)
			if len(path) == 0 || path[0].Node != first || path[len(path)-1].Node != to || path[0].Cost != m.neighbours[first].cost {
				t.Fatalf("seed %d: path to %s over %s is %v", seed, to, first, path)
			}
			costs[to] = path[0].Cost
			for i, hop := range path[1:] {
				near := path[i].Node
				if m.links(near)[hop.Node] != hop.Cost || m.links(hop.Node)[near] == 0 {
					t.Fatalf("seed %d: path to %s has no link from %s: %v", seed, to, near, path)
				}
				costs[to] += hop.Cost
			}
		}
		for to, way := range m.ways {
			if way.Cost != costs[to] {
				t.Fatalf("seed %d: the way to %s costs %v, its path %v", seed, to, way.Cost, costs[to])
			}
		}
		for near, cost := range costs {
			for far, link := range m.links(near) {
				if m.links(far)[near] != 0 && far != m.config.Self && costs[far] > cost+link {
					t.Fatalf("seed %d: %s is reached at %v, over %s it would be %v", seed, far, costs[far], near, cost+link)
				}
			}
		}
		if path := m.Path("one-sided"); path != nil {
			t.Fatalf("seed %d: path %v over a link that one end reports", seed, path)
		}
	}
}

// A route that was computed before the mesh changed has no path any more.
func TestPathIsOfNow(t *testing.T) {
	t.Parallel()
	m := newTest()
	m.LinkUp(start, "a", Link{Cost: 2})
	m.Receive(start, "a", of("a", 1, map[string]float64{"me": 2, "b": 3}))
	m.Receive(start, "a", of("b", 1, map[string]float64{"a": 4}))
	m.Tick(m.Next())
	if got, want := fmt.Sprint(m.Path("b")), "[{a 2} {b 3}]"; got != want {
		t.Errorf("path %s, want %s", got, want)
	}
	m.Receive(start, "a", of("b", 2, nil))
	if got := m.Path("b"); got != nil {
		t.Errorf("path %v over a link that is gone", got)
	}
	if got := m.Path("x"); got != nil {
		t.Errorf("path %v to nobody", got)
	}
}

// A way is whole if our own link is, and of each other one end says that all of its
// links are: who has both kinds, as a hub may, is judged by who is linked to it.
func TestWholeWays(t *testing.T) {
	t.Parallel()
	m := newTest()
	said := func(name string, sequence uint64, whole bool, links ...string) {
		u := of(name, sequence, map[string]float64{})
		u.Ext = &wire.Ext{V: 1}
		if whole {
			u.Ext.Caps = []string{wire.CapWhole}
		}
		for _, peer := range links {
			u.Connections[peer] = 1
		}
		m.Receive(start, "hub", u)
	}
	m.LinkUp(start, "hub", Link{Cost: 1, Whole: true})
	said("hub", 1, false, "me", "leaf", "mixed")
	said("leaf", 1, true, "hub")
	said("mixed", 1, false, "hub", "beyond")
	said("beyond", 1, true, "mixed")
	whole := func(want string) {
		t.Helper()
		m.Tick(m.Next())
		var got []string
		for name, way := range m.ways {
			if way.Whole {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		if fmt.Sprint(got) != want {
			t.Errorf("whole are the ways to %v, want %s", got, want)
		}
	}
	whole("[hub leaf]")
	said("mixed", 2, true, "hub", "beyond") // only that has changed
	whole("[beyond hub leaf mixed]")
	if !m.ownExt().Has(wire.CapWhole) {
		t.Error("we have no link that is not whole, and do not say so")
	}
	m.LinkUp(start, "hub", Link{Cost: 1})
	whole("[]")
	if m.ownExt().Has(wire.CapWhole) {
		t.Error("we say that all of our links are whole")
	}
}
