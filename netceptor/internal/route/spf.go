package route

import (
	"maps"
	"slices"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// Way is what is known of the way to a node.
type Way struct {
	Cost  float64
	Whole bool // datagrams of any size go there in one piece
}

// shortestPaths is the neighbour over which each node is reached at the least
// cost, for all that can be reached, and what way that is. Each node is settled once,
// so it ends whatever the costs are.
//
// Our own links count as they are. All others count in the direction in which
// they are walked, at the cost of the near end, and only if the far end reports
// them too. Of equal paths the one whose neighbour is first in the alphabet is
// taken, so the result depends on the order of nothing.
//
// The parts are what the mesh falls into without us: each node's is named by the
// first of our neighbours, in the alphabet, that is in it.
//
// A way is whole if each of its links is known to be: our own, and of the others
// those of which one end says that all of its links are.
func shortestPaths(self string, own map[string]*neighbour, origins map[string]*origin) (routes, parts map[string]string, ways map[string]Way) {
	vertices := make([]vertex, 0, len(origins)+len(own))
	ids := make(map[string]int32, len(origins)+len(own))
	add := func(name string, o *origin) {
		id := int32(len(vertices))
		ids[name] = id
		vertices = append(vertices, vertex{name: name, links: o.links, allWhole: o.ext.Has(wire.CapWhole), part: id})
	}
	for name, o := range origins {
		add(name, o)
	}
	var open frontier
	reach := func(p path) {
		v := &vertices[p.to]
		if v.reached && !p.before(v.best) {
			return
		}
		v.reached, v.best = true, p
		open.push(p)
	}
	hops := slices.Sorted(maps.Keys(own))
	for i, peer := range hops {
		if _, ok := ids[peer]; !ok {
			add(peer, &origin{}) // it has not said anything yet
		}
		vertices[ids[peer]].whole = own[peer].whole
		reach(path{own[peer].cost, int32(i), ids[peer], noVertex})
	}
	routes = make(map[string]string, len(vertices))
	ways = make(map[string]Way, len(vertices))
	for len(open) > 0 {
		p := open.pop()
		near := &vertices[p.to]
		if near.settled {
			continue
		}
		near.settled = true
		if p.from != noVertex {
			before := &vertices[p.from]
			near.whole = before.whole && (before.allWhole || near.allWhole)
		}
		routes[near.name] = hops[p.hop]
		ways[near.name] = Way{Cost: p.cost, Whole: near.whole}
		for name, cost := range near.links {
			id, ok := ids[name]
			if !ok || name == self || vertices[id].settled {
				continue
			}
			if _, mutual := vertices[id].links[near.name]; mutual {
				vertices[partOf(vertices, id)].part = partOf(vertices, p.to)
				reach(path{p.cost + cost, p.hop, id, p.to})
			}
		}
	}
	parts = make(map[string]string, len(routes))
	names := make(map[int32]string)
	for _, peer := range hops {
		if part := partOf(vertices, ids[peer]); names[part] == "" {
			names[part] = peer
		}
	}
	for name := range routes {
		parts[name] = names[partOf(vertices, ids[name])]
	}
	return routes, parts, ways
}

// partOf finds the vertex that stands for the part of another one.
func partOf(vertices []vertex, id int32) int32 {
	for vertices[id].part != id {
		vertices[id].part = vertices[vertices[id].part].part // half as far the next time
		id = vertices[id].part
	}
	return id
}

type vertex struct {
	name     string
	links    map[string]float64
	allWhole bool // as it says of its links
	whole    bool // the way to it: of a neighbour, as long as it is not settled, our link
	best     path // if reached
	reached  bool
	settled  bool
	part     int32 // a vertex of the same part, in the end the one that stands for it
}

// path is a way to a node: its cost and the neighbour it starts with, by its place
// in the alphabet.
type path struct {
	cost float64
	hop  int32
	to   int32
	from int32 // the last vertex before; noVertex: it is our own link
}

const noVertex = -1

// before is the order in which nodes are settled.
func (p path) before(q path) bool {
	return p.cost < q.cost || p.cost == q.cost && p.hop < q.hop
}

// frontier is a binary heap of paths, the best one first. When a better path to a
// node is found the worse one stays in, and is of no interest when it is taken.
type frontier []path

func (f *frontier) push(p path) {
	h := append(*f, p)
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if !h[i].before(h[parent]) {
			break
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
	*f = h
}

func (f *frontier) pop() path {
	h := *f
	first, last := h[0], len(h)-1
	h[0] = h[last]
	h = h[:last]
	for i := 0; ; {
		best := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if h[child].before(h[best]) {
				best = child
			}
		}
		if best == i {
			break
		}
		h[i], h[best] = h[best], h[i]
		i = best
	}
	*f = h
	return first
}
