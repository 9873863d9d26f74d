package route

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// mesh is a number of machines, joined by links that carry bytes in order, each
// message in a millisecond, under a clock of its own.
type mesh struct {
	t     testing.TB
	now   time.Time
	nodes map[string]*node
	links map[[2]string]float64 // both directions
	queue []packet              // in order of arrival
	trace func(at time.Time, text string)
	sent  int
}

type node struct {
	*Machine
	legacy bool
	ids    int
}

type packet struct {
	at       time.Time
	from, to string
	message  []byte
}

const latency = time.Millisecond

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func newMesh(t testing.TB) *mesh {
	return &mesh{
		t: t, now: start,
		nodes: make(map[string]*node),
		links: make(map[[2]string]float64),
		trace: func(time.Time, string) {},
	}
}

// add makes a node. A legacy one says no Ext, and passes none on.
func (m *mesh) add(name string, epoch uint64, legacy bool) {
	n := &node{legacy: legacy}
	c := Config{Self: name, Epoch: epoch, NewID: func() string {
		n.ids++
		return fmt.Sprintf("%s.%d.%d", name, epoch, n.ids)
	}}
	if !legacy {
		c.Ext = &wire.Ext{V: 1, Caps: []string{wire.CapMux}}
	}
	n.Machine = New(c)
	m.nodes[name] = n
}

func (m *mesh) link(a, b string, cost float64) {
	m.links[[2]string{a, b}] = cost
	m.links[[2]string{b, a}] = cost
	for _, end := range [][2]string{{a, b}, {b, a}} {
		n, peer := m.nodes[end[0]], m.nodes[end[1]]
		n.Init() // as the link protocol does
		m.apply(end[0], n.LinkUp(m.now, end[1], Link{Cost: cost, Legacy: n.legacy || peer.legacy}))
	}
}

func (m *mesh) unlink(a, b string) {
	delete(m.links, [2]string{a, b})
	delete(m.links, [2]string{b, a})
	m.queue = slices.DeleteFunc(m.queue, func(p packet) bool {
		return p.from == a && p.to == b || p.from == b && p.to == a
	})
	m.apply(a, m.nodes[a].LinkDown(m.now, b))
	m.apply(b, m.nodes[b].LinkDown(m.now, a))
}

// restart ends a node with all its links, and makes it again with another epoch.
func (m *mesh) restart(name string, epoch uint64) {
	for _, peer := range m.names() {
		if _, ok := m.links[[2]string{name, peer}]; ok {
			m.unlink(name, peer)
		}
	}
	m.add(name, epoch, m.nodes[name].legacy)
}

// inject is what a neighbour puts on its link to a node, whatever its machine thinks.
func (m *mesh) inject(from, to string, body string) {
	m.queue = append(m.queue, packet{m.now, from, to, append([]byte{wire.TypeRoute}, body...)})
	slices.SortStableFunc(m.queue, func(p, q packet) int { return p.at.Compare(q.at) })
}

// apply does what a shell does.
func (m *mesh) apply(name string, e Effects) {
	for _, s := range e.Send {
		if len(s.To) == 0 {
			m.t.Fatalf("%s sends to nobody", name)
		}
		message := s.Update.Append(nil)
		for _, to := range s.To {
			if _, ok := m.links[[2]string{name, to}]; !ok {
				m.t.Fatalf("%s sends to %s, which is no neighbour", name, to)
			}
			if m.nodes[to].legacy && s.Update.Ext != nil {
				m.t.Fatalf("%s says Ext to the legacy node %s", name, to)
			}
			m.queue = append(m.queue, packet{m.now.Add(latency), name, to, message})
			m.sent++
		}
	}
	say := func(format string, a ...any) { m.trace(m.now, "        "+name+" "+fmt.Sprintf(format, a...)) }
	if len(e.Learned) > 0 {
		say("learned %s", strings.Join(e.Learned, " "))
	}
	if len(e.Restarted) > 0 {
		say("saw a restart of %s", strings.Join(e.Restarted, " "))
	}
	if e.Duplicate != "" {
		say("logs: %s", e.Duplicate)
	}
	if e.Ignored != "" {
		say("ignored it: %s", e.Ignored)
	}
	if e.Routes {
		say("routes: %s", formatRoutes(m.nodes[name].Routes()))
	}
}

// run lets time pass.
func (m *mesh) run(d time.Duration) {
	end := m.now.Add(d)
	for {
		at, name := end, ""
		for _, other := range m.names() {
			if next := m.nodes[other].Next(); !next.IsZero() && next.Before(at) {
				at, name = next, other
			}
		}
		if len(m.queue) > 0 && m.queue[0].at.Before(end) && !m.queue[0].at.After(at) {
			m.deliver()
			continue
		}
		if name == "" {
			m.now = end
			return
		}
		if at.After(m.now) {
			m.now = at
		}
		n := m.nodes[name]
		m.apply(name, n.Tick(m.now))
		if next := n.Next(); !next.IsZero() && !next.After(m.now) {
			m.t.Fatalf("%s wants to be called again at once", name)
		}
	}
}

func (m *mesh) deliver() {
	p := m.queue[0]
	m.queue = m.queue[1:]
	if p.at.After(m.now) {
		m.now = p.at
	}
	u, err := wire.ParseRoutingUpdate(p.message)
	if err != nil {
		m.trace(m.now, fmt.Sprintf("%s>%s  %v", p.from, p.to, err))
		return
	}
	m.trace(m.now, fmt.Sprintf("%s>%s  %s", p.from, p.to, formatUpdate(u)))
	m.apply(p.to, m.nodes[p.to].Receive(m.now, p.from, u))
}

func formatUpdate(u *wire.RoutingUpdate) string {
	text := fmt.Sprintf("%s %d/%d %s", u.NodeID, u.UpdateEpoch, u.UpdateSequence, formatLinks(u.Connections))
	if u.SuspectedDuplicate != 0 {
		text += fmt.Sprintf(" suspects %d", u.SuspectedDuplicate)
	}
	if u.Ext != nil {
		text += " ext"
	}
	return text
}

func formatLinks(links map[string]float64) string {
	return format(links, func(peer string, cost float64) string { return fmt.Sprintf("%s:%v", peer, cost) })
}

func formatRoutes(routes map[string]string) string {
	return format(routes, func(to, via string) string { return to + ">" + via })
}

func format[V any](m map[string]V, one func(string, V) string) string {
	var words []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		words = append(words, one(key, m[key]))
	}
	return "{" + strings.Join(words, " ") + "}"
}

// check is what holds whatever has happened.
func (m *mesh) check() {
	m.t.Helper()
	for _, name := range m.names() {
		n := m.nodes[name]
		if len(n.origins) > n.limits.origins || len(n.seen.ids) > n.limits.seen || len(n.seen.order) > 2*n.limits.seen+2 {
			m.t.Fatalf("%s keeps %d origins, %d of %d UpdateIDs", name, len(n.origins), len(n.seen.ids), len(n.seen.order))
		}
		first := make(map[string]int)
		for _, o := range n.origins {
			first[o.firstBy]++
		}
		if !maps.Equal(first, n.firstBy) {
			m.t.Fatalf("%s counts %v, has %v", name, n.firstBy, first)
		}
		for neighbour, count := range first {
			if count > n.limits.neighbourOrigins {
				m.t.Fatalf("%s keeps %d origins of %s", name, count, neighbour)
			}
		}
		if !n.spfAt.IsZero() {
			continue // not up to date, and known to be
		}
		want := slowPaths(name, n.ownLinks(), n.origins)
		if parts := slowParts(name, n.ownLinks(), n.origins); !maps.Equal(n.Parts(), parts) {
			m.t.Fatalf("%s has parts\n     %s\nwant %s\nof %v", name, formatRoutes(n.Parts()), formatRoutes(parts), n.Costs())
		}
		if !maps.Equal(n.Routes(), want) {
			m.t.Fatalf("%s has routes\n     %s\nwant %s\nof %v", name, formatRoutes(n.Routes()), formatRoutes(want), n.Costs())
		}
	}
}

// names are the nodes in order.
func (m *mesh) names() []string { return slices.Sorted(maps.Keys(m.nodes)) }

// slowPaths is shortestPaths, written to be right at a glance.
func slowPaths(self string, own map[string]float64, origins map[string]*origin) map[string]string {
	costs, hops := make(map[string]float64), make(map[string]string)
	better := func(to string, cost float64, hop string) bool {
		old, ok := costs[to]
		if ok && (cost > old || cost == old && hop >= hops[to]) {
			return false
		}
		costs[to], hops[to] = cost, hop
		return true
	}
	for peer, cost := range own {
		better(peer, cost, peer)
	}
	for again := true; again; {
		again = false
		for near, o := range origins {
			if hops[near] == "" {
				continue
			}
			for far, cost := range o.links {
				back := origins[far]
				if far == self || back == nil || back.links[near] == 0 {
					continue
				}
				if better(far, costs[near]+cost, hops[near]) {
					again = true
				}
			}
		}
	}
	return hops
}

// slowParts is the other half of it: from each neighbour, in order, all that can
// be reached without self.
func slowParts(self string, own map[string]float64, origins map[string]*origin) map[string]string {
	parts := make(map[string]string)
	var visit func(part, name string)
	visit = func(part, name string) {
		if parts[name] != "" || name == self {
			return
		}
		parts[name] = part
		if near := origins[name]; near != nil {
			for far := range near.links {
				if back := origins[far]; back != nil && back.links[name] != 0 {
					visit(part, far)
				}
			}
		}
	}
	for _, peer := range slices.Sorted(maps.Keys(own)) {
		visit(peer, peer)
	}
	return parts
}
