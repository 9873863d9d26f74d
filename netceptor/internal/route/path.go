package route

import (
	"maps"
	"slices"
)

// Hop is a node on a path, and the cost of the link that leads to it.
type Hop struct {
	Node string
	Cost float64
}

// Path is the way to another node, to its last hop, as this node sees the mesh;
// nil: there is none. Every node on it decides for itself, but where costs agree
// all come to the same.
func (m *Machine) Path(to string) []Hop {
	first, ok := m.routes[to]
	if !ok {
		return nil
	}
	type step struct {
		best path
		from int32
		done bool
	}
	names, ids, steps := []string{first}, map[string]int32{first: 0}, []step{{from: -1}}
	open := frontier{path{}}
	for len(open) > 0 && names[open[0].to] != to {
		p := open.pop()
		if steps[p.to].done {
			continue
		}
		steps[p.to].done = true
		near := names[p.to]
		for _, far := range slices.Sorted(maps.Keys(m.links(near))) {
			if _, mutual := m.links(far)[near]; !mutual || far == m.config.Self {
				continue
			}
			id, known := ids[far]
			if !known {
				id = int32(len(names))
				ids[far] = id
				names, steps = append(names, far), append(steps, step{})
			}
			next := path{cost: p.cost + m.links(near)[far], to: id}
			if !known || !steps[id].done && next.before(steps[id].best) {
				steps[id].best, steps[id].from = next, p.to
				open.push(next)
			}
		}
	}
	id, ok := ids[to]
	if !ok {
		return nil // what was heard since routes were computed has cut it off
	}
	var hops []Hop
	for ; steps[id].from >= 0; id = steps[id].from {
		near := names[steps[id].from]
		hops = append(hops, Hop{names[id], m.links(near)[names[id]]})
	}
	cost := 0.0
	if n, ok := m.neighbours[first]; ok {
		cost = n.cost
	}
	hops = append(hops, Hop{first, cost})
	slices.Reverse(hops)
	return hops
}

// links are those that a node has reported.
func (m *Machine) links(node string) map[string]float64 {
	if o := m.origins[node]; o != nil {
		return o.links
	}
	return nil
}
