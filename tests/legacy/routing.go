package legacy

import (
	"errors"
	"maps"
	"time"
)

// The times of routing updates.
const (
	updateInterval = 10 * time.Second
	soon           = 100 * time.Millisecond // triggers within it are one
	seenFor        = time.Hour
	purgeInterval  = 30 * time.Minute
)

// ErrDuplicate ends a node that another of its name has called a duplicate.
var ErrDuplicate = errors.New("another node with our ID was here first")

// origin is the latest that was heard of a node.
type origin struct{ epoch, sequence uint64 }

// routing knows the graph and the ways through it. Nothing that it has learned
// is ever forgotten.
type routing struct {
	self  string
	names names
	own   origin

	seen    map[string]time.Time // UpdateID
	origins map[string]origin
	costs   map[string]map[string]float64 // what each node says of its links
	table   map[string]string             // destination to next hop

	floodAt, computeAt, purgeAt time.Time
}

func newRouting(self string, epoch uint64, n names, now time.Time) *routing {
	n.learn(self)
	return &routing{
		self: self, names: n, own: origin{epoch: epoch},
		seen: map[string]time.Time{}, origins: map[string]origin{},
		costs: map[string]map[string]float64{self: {}}, table: map[string]string{},
		floodAt: now.Add(updateInterval), purgeAt: now.Add(purgeInterval),
	}
}

// update makes a fresh update about ourselves.
func (r *routing) update(duplicate uint64) *Update {
	r.own.sequence++
	return &Update{
		NodeID: r.self, UpdateID: randomName(), UpdateEpoch: r.own.epoch, UpdateSequence: r.own.sequence,
		Connections: maps.Clone(r.costs[r.self]), ForwardingNode: r.self, SuspectedDuplicate: duplicate,
	}
}

// linked notes a link that has been established.
func (r *routing) linked(now time.Time, peer string, cost float64) {
	r.names.learn(peer)
	if r.costs[peer] == nil {
		r.costs[peer] = map[string]float64{}
	}
	r.costs[r.self][peer], r.costs[peer][r.self] = cost, cost
	r.floodSoon(now)
	r.computeSoon(now)
}

// unlinked notes that a link has ended.
func (r *routing) unlinked(now time.Time, peer string) {
	delete(r.costs[r.self], peer)
	delete(r.costs[peer], r.self)
	r.floodSoon(now)
	r.computeSoon(now)
}

// heard is what is to be done about an update.
type heard struct {
	forward   *Update // to all links but the one it came from
	duplicate uint64  // flood at once: that epoch is another node's of our name
	stop      error   // we are the duplicate
}

// receive takes an update that its link has passed.
func (r *routing) receive(now time.Time, u *Update) heard {
	switch u.NodeID {
	case "":
		return heard{}
	case r.self:
		return r.receiveOwn(u)
	}
	if _, twice := r.seen[u.UpdateID]; twice {
		return heard{}
	}
	r.seen[u.UpdateID] = now
	forward := *u
	forward.ForwardingNode = r.self
	last, known := r.origins[u.NodeID]
	if u.SuspectedDuplicate != 0 {
		if known && last.epoch == u.SuspectedDuplicate {
			r.origins[u.NodeID] = origin{u.UpdateEpoch, u.UpdateSequence}
		}
		return heard{forward: &forward}
	}
	switch {
	case !known:
		r.names.learn(u.NodeID)
		r.floodSoon(now) // so newcomers learn everybody
	case u.UpdateEpoch < last.epoch, u.UpdateEpoch == last.epoch && u.UpdateSequence <= last.sequence:
		return heard{}
	}
	r.origins[u.NodeID] = origin{u.UpdateEpoch, u.UpdateSequence}
	if stored, ok := r.costs[u.NodeID]; !ok || !maps.Equal(stored, u.Connections) {
		r.replace(now, u)
	}
	return heard{forward: &forward}
}

// receiveOwn takes an update that somebody sent in our name.
func (r *routing) receiveOwn(u *Update) heard {
	switch {
	case u.UpdateEpoch == r.own.epoch: // an echo
	case u.SuspectedDuplicate == r.own.epoch:
		return heard{stop: ErrDuplicate}
	case u.UpdateEpoch > r.own.epoch:
		return heard{duplicate: u.UpdateEpoch}
	}
	return heard{}
}

// replace believes what a node says of its links, and that others have no link
// to it that it does not name.
func (r *routing) replace(now time.Time, u *Update) {
	r.costs[u.NodeID] = map[string]float64{}
	maps.Copy(r.costs[u.NodeID], u.Connections)
	for node, links := range r.costs {
		if _, named := u.Connections[node]; !named && node != r.self {
			delete(links, u.NodeID)
		}
	}
	r.computeSoon(now)
}

func (r *routing) floodSoon(now time.Time) {
	if at := now.Add(soon); at.Before(r.floodAt) {
		r.floodAt = at
	}
}

func (r *routing) computeSoon(now time.Time) {
	if r.computeAt.IsZero() {
		r.computeAt = now.Add(soon)
	}
}

// next is when tick wants to be called.
func (r *routing) next() time.Time {
	if !r.computeAt.IsZero() && r.computeAt.Before(r.floodAt) {
		return r.computeAt
	}
	return r.floodAt
}

// tick does what is due, and tells whether to flood an update about ourselves.
func (r *routing) tick(now time.Time) (flood bool) {
	if !r.computeAt.IsZero() && !now.Before(r.computeAt) {
		r.computeAt = time.Time{}
		r.compute()
	}
	if !now.Before(r.purgeAt) {
		r.purgeAt = now.Add(purgeInterval)
		maps.DeleteFunc(r.seen, func(_ string, at time.Time) bool { return now.Sub(at) > seenFor })
	}
	if now.Before(r.floodAt) {
		return false
	}
	r.flooded(now)
	return true
}

// flooded starts the period anew.
func (r *routing) flooded(now time.Time) { r.floodAt = now.Add(updateInterval) }

// compute finds the next hop to every node that has told of its links. An edge
// counts if its near end names it, whatever the far end says.
func (r *routing) compute() {
	distance := map[string]float64{r.self: 0}
	hop := map[string]string{}
	done := map[string]bool{}
	for {
		at, found := "", false
		for node, d := range distance {
			if !done[node] && (!found || d < distance[at]) {
				at, found = node, true
			}
		}
		if !found {
			break
		}
		done[at] = true
		for to, cost := range r.costs[at] {
			if _, speaks := r.costs[to]; !speaks || done[to] {
				continue
			}
			d, reached := distance[to]
			if reached && d <= distance[at]+cost {
				continue
			}
			distance[to] = distance[at] + cost
			if hop[to] = hop[at]; at == r.self {
				hop[to] = to
			}
		}
	}
	r.table = hop
}
