package route

import (
	"fmt"
	"math/rand/v2"
	"testing"
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
		m.routes, m.parts = shortestPaths(m.config.Self, m.ownLinks(), m.origins)

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
	m.LinkUp(start, "a", 2, false)
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
