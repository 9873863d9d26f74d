package route

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// A mesh in which links come and go and some nodes are legacy, and a neighbour
// that says whatever it likes: see mesh.check for what holds all the time. At the
// end, left alone, everybody reaches everybody whose links are up.
func FuzzMesh(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 7))
		m := newMesh(t)
		names := []string{"a", "b", "c", "d", "e", "f"}[:2+r.IntN(5)]
		for i, name := range names {
			m.add(name, uint64(1000+i), r.IntN(4) == 0)
			m.nodes[name].limits = limits{origins: 12, neighbourOrigins: 8, seen: 50}
		}
		pick := func() string { return names[r.IntN(len(names))] }
		for range 60 {
			a, b := pick(), pick()
			_, linked := m.links[[2]string{a, b}]
			switch r.IntN(6) {
			case 0, 1:
				if a != b && !linked {
					m.link(a, b, float64(1+r.IntN(3)))
				}
			case 2:
				if linked {
					m.unlink(a, b)
				}
			case 3:
				if linked {
					m.inject(a, b, randomUpdate(r, names))
				}
			case 4:
				m.run(time.Duration(r.IntN(300)) * time.Millisecond)
			case 5:
				m.run(time.Duration(r.IntN(20)) * time.Second)
			}
			m.check()
		}

		// The lies end; those about nodes that do not exist are forgotten. What was
		// said of those that do is outlived by what they say.
		m.run(5 * time.Second)
		sent := m.sent
		m.run(60 * time.Second)
		m.check()
		// Six floods of each node pass each link at most once in each direction.
		if limit := 7 * len(m.nodes) * len(m.links); m.sent-sent > limit {
			t.Fatalf("%d messages in a minute of peace, more than %d", m.sent-sent, limit)
		}
		for _, name := range names {
			reached := m.reachable(name)
			routes := m.nodes[name].Routes()
			for _, to := range names {
				if _, ok := routes[to]; ok != reached[to] && to != name {
					t.Fatalf("%s has a route to %s: %v, but there is one: %v\n%v", name, to, ok, reached[to], m.nodes[name].Costs())
				}
			}
		}
	})
}

// reachable is where one gets from a node over links that are up.
func (m *mesh) reachable(from string) map[string]bool {
	reached := map[string]bool{from: true}
	for again := true; again; {
		again = false
		for l := range m.links {
			if reached[l[0]] && !reached[l[1]] {
				reached[l[1]], again = true, true
			}
		}
	}
	return reached
}

// randomUpdate is JSON of a liar: mostly well formed, about nodes that exist and
// nodes that do not.
func randomUpdate(r *rand.Rand, names []string) string {
	name := func() string {
		if r.IntN(4) == 0 {
			return fmt.Sprintf("x%d", r.IntN(30))
		}
		return names[r.IntN(len(names))]
	}
	u := wire.RoutingUpdate{
		NodeID:         name(),
		UpdateID:       fmt.Sprint(r.IntN(1000)),
		UpdateEpoch:    uint64(995 + r.IntN(15)),
		UpdateSequence: uint64(r.IntN(20)),
		Connections:    map[string]float64{},
	}
	switch r.IntN(8) {
	case 0:
		u.SuspectedDuplicate = uint64(995 + r.IntN(15))
	case 1:
		u.Ext = &wire.Ext{V: 1}
	case 2:
		u.UpdateEpoch = r.Uint64()
	case 3, 4:
		u.UpdateSequence = r.Uint64()
	}
	for range r.IntN(4) {
		u.Connections[name()] = []float64{1, 1, 2, 0.001, 1e9, 0, -5, 1e308}[r.IntN(8)]
	}
	body, err := json.Marshal(&u)
	if err != nil {
		return "{}"
	}
	return string(body)
}
