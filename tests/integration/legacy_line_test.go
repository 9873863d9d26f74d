package integration

import (
	"maps"
	"testing"

	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/tests/legacy"
)

// Ours, a model and ours again: what ours say to each other goes through it.
func TestLegacyInTheMiddle(t *testing.T) {
	m := newMixed(t)
	left, right := freePort(t), freePort(t)
	m.ours("a", listens(left)...)
	m.ours("c", listens(right)...)
	b := m.model(legacy.Config{ID: "b"})
	b.DialTCP(lab.Local(left), legacy.LinkConfig{}, nil, true)
	b.DialTCP(lab.Local(right), legacy.LinkConfig{}, nil, true)

	must(t, m.WaitRoute(m.ctx, "a", "b", "c"))
	must(t, m.WaitRoute(m.ctx, "c", "a", "b"))
	m.reaches(b, "a", "c")
	m.pingsFrom("a", "c", "b")
	m.pingsFrom("c", "a", "b")
	m.pingsFrom("a", "b")
	m.pings(b, "a")
	m.pings(b, "c")
}

// A model, ours and a model again.
func TestLegacyAtTheEnds(t *testing.T) {
	m := newMixed(t)
	left, right := freePort(t), freePort(t)
	m.ours("b", append(listens(left), dials(right)...)...)
	a, c := m.model(legacy.Config{ID: "a"}), m.model(legacy.Config{ID: "c"})
	m.listen(c, right, legacy.LinkConfig{})
	a.DialTCP(lab.Local(left), legacy.LinkConfig{}, nil, true)

	must(t, m.WaitRoute(m.ctx, "b", "a", "c"))
	m.reaches(a, "b", "c")
	m.reaches(c, "a", "b")
	m.pings(a, "c", "b")
	m.pings(c, "a", "b")
	m.pings(a, "b")
	m.pingsFrom("b", "a")
	m.pingsFrom("b", "c")
	if p := a.Ping(m.ctx, "nobody", 30); p.Err == nil {
		t.Errorf("a pings nobody: %+v", p)
	}
}

// ring is four nodes in a ring, ours and models by turns; the link from d to a
// costs more, so that no two ways are equal.
type ring struct {
	*mixed
	a, c *legacy.Node
}

func newRing(t *testing.T) *ring {
	t.Helper()
	r := &ring{mixed: newMixed(t)}
	ab, bc, cd, da := freePort(t), freePort(t), freePort(t), freePort(t)
	r.ours("b", append(listens(ab), dials(bc)...)...)
	r.ours("d", append(listens(cd), dials(da, "cost=2.5")...)...)
	r.a, r.c = r.model(legacy.Config{ID: "a"}), r.model(legacy.Config{ID: "c"})
	r.listen(r.a, da, legacy.LinkConfig{Cost: 2.5})
	r.listen(r.c, bc, legacy.LinkConfig{})
	r.a.DialTCP(lab.Local(ab), legacy.LinkConfig{}, nil, true)
	r.c.DialTCP(lab.Local(cd), legacy.LinkConfig{}, nil, true)
	r.whole()
	return r
}

// whole waits until all have both their links and the best way to each other.
func (r *ring) whole() {
	r.t.Helper()
	best := bestWays()
	for _, id := range []string{"b", "d"} {
		must(r.t, r.WaitStatus(r.ctx, id, func(s *lab.Status) bool { return maps.Equal(s.RoutingTable, best[id]) }))
	}
	for _, n := range []*legacy.Node{r.a, r.c} {
		r.eventually(n.ID()+" has the best ways", func() bool { return maps.Equal(n.Routes(), best[n.ID()]) })
	}
}

// bestWays are the next hops of each node of a ring to each other.
func bestWays() map[string]map[string]string {
	return map[string]map[string]string{
		"a": {"b": "b", "c": "b", "d": "d"},
		"b": {"a": "a", "c": "c", "d": "c"},
		"c": {"a": "b", "b": "b", "d": "d"},
		"d": {"a": "a", "b": "c", "c": "c"},
	}
}

func TestLegacyRing(t *testing.T) {
	r := newRing(t)
	r.pings(r.a, "c", "b")
	r.pings(r.c, "a", "b")
	r.pingsFrom("b", "d", "c")
	r.pingsFrom("d", "b", "c")
	// Without c, the long way.
	must(t, r.c.Close())
	must(t, r.WaitStatus(r.ctx, "b", func(s *lab.Status) bool { return s.RoutingTable["d"] == "a" }))
	must(t, r.WaitStatus(r.ctx, "d", func(s *lab.Status) bool { return s.RoutingTable["b"] == "a" }))
	r.pingsFrom("b", "d", "a")
}
