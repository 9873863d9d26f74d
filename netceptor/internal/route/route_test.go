package route

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

func newTest() *Machine {
	n := 0
	return New(Config{Self: "me", Epoch: 100, Ext: &wire.Ext{V: 1}, NewID: func() string {
		n++
		return fmt.Sprintf("me%06d", n)
	}})
}

// of is an update of an origin that is only known through one neighbour.
func of(name string, sequence uint64, links map[string]float64) *wire.RoutingUpdate {
	return &wire.RoutingUpdate{
		NodeID: name, UpdateID: fmt.Sprintf("%s%d", name, sequence), UpdateEpoch: 1,
		UpdateSequence: sequence, Connections: links,
	}
}

func TestInitTellsNothing(t *testing.T) {
	t.Parallel()
	m := newTest()
	m.LinkUp(start, "a", Link{Cost: 1})
	u, v := m.Init(), m.Init()
	if u.NodeID != "me" || u.ForwardingNode != "me" || u.UpdateEpoch != 100 || u.Ext == nil {
		t.Errorf("init is %+v", u)
	}
	if len(u.Connections) != 0 {
		t.Errorf("init names connections to whoever asks: %v", u.Connections)
	}
	if v.UpdateSequence != u.UpdateSequence+1 || v.UpdateID == u.UpdateID {
		t.Errorf("second init is %+v, after %+v", v, u)
	}
}

func TestReceiveIgnores(t *testing.T) {
	t.Parallel()
	inADay := uint64(start.Add(MaxAhead).Unix()) << 24
	for _, c := range []struct {
		name, from string
		u          wire.RoutingUpdate
		want       string
	}{
		{"of a stranger", "stranger", wire.RoutingUpdate{NodeID: "x"}, IgnoredNotNeighbour},
		{"no origin", "a", wire.RoutingUpdate{}, IgnoredNoOrigin},
		{"negative cost", "a", wire.RoutingUpdate{NodeID: "x", Connections: map[string]float64{"a": -1}}, IgnoredInvalid},
		{"NaN", "a", wire.RoutingUpdate{NodeID: "x", Connections: map[string]float64{"a": math.NaN()}}, IgnoredInvalid},
		{"tomorrow", "a", wire.RoutingUpdate{NodeID: "x", UpdateEpoch: inADay}, ""},
		{"the day after", "a", wire.RoutingUpdate{NodeID: "x", UpdateEpoch: inADay + 1}, IgnoredEpochAhead},
		{"suspicion of the day after", "a", wire.RoutingUpdate{NodeID: "x", UpdateEpoch: inADay + 1, SuspectedDuplicate: 1}, IgnoredEpochAhead},
		{"suspicion of an elder", "a", wire.RoutingUpdate{NodeID: "x", UpdateEpoch: 5, SuspectedDuplicate: 4}, IgnoredSuspicion},
		{"denial of a sequence", "a", wire.RoutingUpdate{NodeID: "x", UpdateEpoch: 5, SuspectedDuplicate: 5}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newTest()
			m.LinkUp(start, "a", Link{Cost: 1})
			m.LinkUp(start, "b", Link{Cost: 1})
			e := m.Receive(start, c.from, &c.u)
			if e.Ignored != c.want || (e.Ignored != "") != (len(e.Send) == 0) {
				t.Errorf("ignored for %q, want %q; sent on %d times", e.Ignored, c.want, len(e.Send))
			}
		})
	}
}

// One neighbour cannot fill the table, and all of them not more than there is.
func TestOriginLimits(t *testing.T) {
	t.Parallel()
	m := newTest()
	m.limits = limits{origins: 5, neighbourOrigins: 3, seen: 100}
	for _, peer := range []string{"a", "b"} {
		m.LinkUp(start, peer, Link{Cost: 1})
	}
	receive := func(from, name string, sequence uint64) string {
		return m.Receive(start, from, of(name, sequence, nil)).Ignored
	}
	for i, want := range []string{"", "", "", IgnoredNeighbourOrigins} {
		if got := receive("a", fmt.Sprintf("x%d", i), 1); got != want {
			t.Errorf("node %d of a: ignored for %q, want %q", i, got, want)
		}
	}
	for i, want := range []string{"", "", IgnoredOrigins} {
		if got := receive("b", fmt.Sprintf("y%d", i), 1); got != want {
			t.Errorf("node %d of b: ignored for %q, want %q", i, got, want)
		}
	}
	if got := receive("b", "x1", 2); got != "" {
		t.Errorf("a known node is ignored for %q", got)
	}
	// What is not heard makes room.
	later := start.Add(ForgetAfter)
	m.Receive(later, "b", of("x1", 3, nil))
	m.Tick(later)
	if got := m.Receive(later, "a", of("x9", 1, nil)).Ignored; got != "" {
		t.Errorf("a new node is ignored for %q, with %d known", got, len(m.origins))
	}
}

func TestSeen(t *testing.T) {
	t.Parallel()
	var s seenIDs
	const limit = 10
	for i := range 1000 {
		id := fmt.Sprint(i)
		if !s.add(start, id, limit) || s.add(start, id, limit) {
			t.Fatalf("%s is not news once", id)
		}
		if len(s.ids) > limit || len(s.order)-s.head != len(s.ids) || cap(s.order) > 8*limit {
			t.Fatalf("after %d: %d kept in %d of %d", i, len(s.ids), len(s.order)-s.head, cap(s.order))
		}
	}
	if s.add(start, "991", limit) || !s.add(start, "900", limit) {
		t.Error("it is not the latest that are remembered")
	}
	if s.add(start.Add(SeenFor), "999", limit) {
		t.Error("forgotten too early")
	}
	if !s.add(start.Add(SeenFor+1), "999", limit) || len(s.ids) != 1 {
		t.Errorf("%d remembered for too long", len(s.ids))
	}
}

// A new neighbour is told of everybody, in batches that its queue can take.
func TestReplay(t *testing.T) {
	t.Parallel()
	m := newTest()
	m.LinkUp(start, "a", Link{Cost: 1})
	const count = 2*ReplayBatch + 7
	links := map[string]float64{"me": 1}
	for i := range count - 1 {
		name := fmt.Sprintf("x%04d", i)
		links[name] = 1
		u := of(name, 1, map[string]float64{"a": 1})
		u.Ext = &wire.Ext{V: 1}
		m.Receive(start, "a", u)
	}
	u := of("a", 1, links)
	u.Ext = &wire.Ext{V: 1}
	m.Receive(start, "a", u)
	for _, legacy := range []bool{false, true} {
		told := make(map[string]bool)
		now := start
		e := m.LinkUp(now, "b", Link{Cost: 1, Legacy: legacy})
		for batch := 0; ; batch++ {
			replayed := 0
			for _, s := range e.Send {
				if s.Update.NodeID == "me" {
					continue
				}
				replayed++
				if !slices.Equal(s.To, []string{"b"}) || s.Update.ForwardingNode != "me" || told[s.Update.NodeID] {
					t.Fatalf("sent to %v: %+v", s.To, s.Update)
				}
				if (s.Update.Ext == nil) != legacy || s.Update.UpdateID != s.Update.NodeID+"1" {
					t.Fatalf("legacy %v: %+v", legacy, s.Update)
				}
				told[s.Update.NodeID] = true
			}
			if replayed > ReplayBatch {
				t.Fatalf("%d updates at once", replayed)
			}
			if len(told) == count {
				break
			}
			if batch > 3 {
				t.Fatalf("told of %d nodes only", len(told))
			}
			now = m.Next()
			e = m.Tick(now)
		}
		m.LinkDown(now, "b")
	}

	// What was not heard lately is not passed on as if it were news.
	for _, s := range m.LinkUp(start.Add(ReplayFresh+1), "c", Link{Cost: 1}).Send {
		t.Fatalf("told of %+v", s.Update)
	}
}

func TestFloodOnlyWithLinks(t *testing.T) {
	t.Parallel()
	m := newTest()
	if !m.Next().IsZero() {
		t.Errorf("a node alone wants to be called at %v", m.Next())
	}
	m.LinkUp(start, "a", Link{Cost: 1})
	m.LinkDown(start, "a")
	m.LinkDown(start, "never")
	for now := m.Next(); !now.IsZero(); now = m.Next() {
		if now.After(start.Add(time.Second)) {
			t.Fatalf("a node alone wants to be called at %v", now)
		}
		if e := m.Tick(now); len(e.Send) != 0 {
			t.Fatalf("sent %+v to nobody", e.Send)
		}
	}
}

func TestLookups(t *testing.T) {
	t.Parallel()
	m := newTest()
	m.LinkUp(start, "a", Link{Cost: 2})
	m.Receive(start, "a", of("b", 7, map[string]float64{"a": 3, "me": 9}))
	if e, ok := m.Epoch("b"); !ok || e != 1 {
		t.Errorf("epoch of b: %d, %v", e, ok)
	}
	if e, ok := m.Epoch("me"); !ok || e != 100 {
		t.Errorf("own epoch: %d, %v", e, ok)
	}
	if _, ok := m.Epoch("a"); ok || m.Ext("a") != nil || m.Ext("b") != nil || m.Ext("me") == nil {
		t.Error("more is known than was said")
	}
	// Of a neighbour the link has said it, before its first update has come.
	m.LinkUp(start, "legacy", Link{Cost: 2, Legacy: true})
	if !m.Ours("me") || !m.Ours("a") || m.Ours("b") || m.Ours("legacy") || m.Ours("nobody") {
		t.Error("who is ours")
	}
	m.LinkDown(start, "legacy")
	want := map[string]map[string]float64{
		"me": {"a": 2},
		"a":  {"me": 2},
		"b":  {"a": 3}, // and no link to us that we do not have
	}
	if got := m.Costs(); !maps.EqualFunc(got, want, maps.Equal) {
		t.Errorf("costs %v, want %v", got, want)
	}
	m.Tick(m.Next())
	m.Routes()["a"] = "changed"
	m.Costs()["b"]["a"] = 99
	if m.Routes()["a"] != "a" || m.Costs()["b"]["a"] != 3 {
		t.Error("what was returned is not a copy")
	}
}

// randomLinks joins n nodes with about degree links each, of costs 1 to 4.
func randomLinks(r *rand.Rand, n, degree int) map[string]*origin {
	origins := make(map[string]*origin, n)
	for i := range n {
		origins[fmt.Sprintf("node%05d", i)] = &origin{links: make(map[string]float64)}
	}
	names := slices.Sorted(maps.Keys(origins))
	for i, a := range names {
		for range degree / 2 {
			b := names[r.IntN(n)]
			if i > 0 && len(origins[a].links) == 0 {
				b = names[r.IntN(i)] // a tree at least
			}
			if a != b {
				cost := float64(1 + r.IntN(4))
				origins[a].links[b], origins[b].links[a] = cost, cost
			}
		}
	}
	return origins
}

func neighboursOf(links map[string]float64) map[string]*neighbour {
	neighbours := make(map[string]*neighbour, len(links))
	for peer, cost := range links {
		neighbours[peer] = &neighbour{cost: cost}
	}
	return neighbours
}

func TestShortestPaths(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		origins := randomLinks(r, 2+r.IntN(30), 1+r.IntN(6))
		names := slices.Sorted(maps.Keys(origins))
		own := origins[names[0]].links
		delete(origins, names[0])
		own["silent"] = 1
		for range r.IntN(10) { // one-sided, unequal and odd ones
			a, b := names[r.IntN(len(names))], names[r.IntN(len(names))]
			if o := origins[a]; o != nil {
				o.links[b] = []float64{0.5, 1e9, 1e-300}[r.IntN(3)]
			}
		}
		got, parts, _ := shortestPaths(names[0], neighboursOf(own), origins)
		if want := slowParts(names[0], own, origins); !maps.Equal(parts, want) {
			t.Fatalf("seed %d: parts\n got %s\nwant %s", seed, formatRoutes(parts), formatRoutes(want))
		}
		want := slowPaths(names[0], own, origins)
		if !maps.Equal(got, want) {
			t.Fatalf("seed %d:\n got %s\nwant %s", seed, formatRoutes(got), formatRoutes(want))
		}
	}
}

// BenchmarkShortestPaths is the time between a change and new routes, less the
// delay.
func BenchmarkShortestPaths(b *testing.B) {
	for _, n := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			origins := randomLinks(rand.New(rand.NewPCG(1, 1)), n, 8)
			self := "node00000"
			own := neighboursOf(origins[self].links)
			delete(origins, self)
			b.ReportAllocs()
			for b.Loop() {
				if routes, _, _ := shortestPaths(self, own, origins); len(routes) < n-1 {
					b.Fatalf("%d routes", len(routes))
				}
			}
		})
	}
}

func BenchmarkReceive(b *testing.B) {
	m := newTest()
	for _, peer := range []string{"a", "b", "c"} {
		m.LinkUp(start, peer, Link{Cost: 1, Legacy: peer == "c"})
	}
	links := map[string]float64{"a": 1, "b": 2, "c": 3, "d": 4}
	b.ReportAllocs()
	for i := uint64(1); b.Loop(); i++ {
		u := of("x", i, links)
		u.Ext = m.config.Ext
		if e := m.Receive(start, "a", u); e.Ignored != "" {
			b.Fatal(e.Ignored)
		}
	}
}

// Of two nodes with our ID neither gives in: the mesh must bear it.
func TestAnswersBecomeRare(t *testing.T) {
	t.Parallel()
	m := newTest()
	m.LinkUp(start, "a", Link{Cost: 1})
	var denied []time.Duration
	for ms := range 60_000 / 50 {
		now := start.Add(time.Duration(ms) * 50 * time.Millisecond)
		sends := m.Receive(now, "a", &wire.RoutingUpdate{NodeID: "me", UpdateEpoch: 200}).Send
		if !m.Next().After(now) {
			sends = append(sends, m.Tick(now).Send...)
		}
		for _, s := range sends {
			if s.Update.SuspectedDuplicate == 200 {
				denied = append(denied, now.Sub(start))
			}
		}
	}
	if len(denied) < 7 || denied[0] != 0 || len(denied) > 25 {
		t.Fatalf("denied %d times, at %v", len(denied), denied)
	}
}
