package route

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// A mesh of ours that grows in any order, also from parts that did not know each
// other: all learn of all at once, though nobody floods because somebody else is new.
func TestNewcomersAreTold(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
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
		m.run(2*FloodDelay + SPFDelay) // sooner than the floods that repair everything
		m.check()
		for _, n := range m.names() {
			if got := len(m.nodes[n].Routes()); got != count-1 {
				t.Fatalf("seed %d: %s has %d routes to %d others", seed, n, got, count-1)
			}
		}
	}
}
