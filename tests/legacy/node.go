package legacy

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
)

// ErrClosed is why a node has ended that was closed.
var ErrClosed = errors.New("the node is closed")

// Node is a running node.
type Node struct {
	config   Config
	firewall *firewall

	ctx    context.Context // ends with the node; its cause says why
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	wake   chan struct{} // something earlier may be due

	mu       sync.Mutex
	names    names
	routing  *routing
	adverts  *adverts
	links    map[*link]bool
	peers    map[string]*link // the established ones
	services map[string]*PacketConn
	made     int // links so far
}

// Start starts a node. Close ends it.
func Start(c Config) (*Node, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("start a legacy node: %w", err)
	}
	if c.MaxIdle == 0 {
		c.MaxIdle = minIdle
	}
	if c.RedialPace == 0 {
		c.RedialPace = 1
	}
	if c.Started.IsZero() {
		c.Started = time.Now()
	}
	n := &Node{
		config: c, firewall: newFirewall(c.Firewall), wake: make(chan struct{}, 1),
		names: names{}, adverts: newAdverts(),
		links: map[*link]bool{}, peers: map[string]*link{}, services: map[string]*PacketConn{},
	}
	n.routing = newRouting(c.ID, newEpoch(c.Started), n.names, time.Now())
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	n.wg.Go(n.run)
	return n, nil
}

// newEpoch is the second of the start with 24 random bits.
func newEpoch(started time.Time) uint64 {
	var r [4]byte
	rand.Read(r[1:]) // never fails
	return uint64(started.Unix())<<24 | uint64(binary.BigEndian.Uint32(r[:]))
}

// ID is the node's ID.
func (n *Node) ID() string { return n.config.ID }

// Epoch tells this run of the node from others.
func (n *Node) Epoch() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.routing.own.epoch
}

// Close ends the node and all that is of it, and waits.
func (n *Node) Close() error {
	n.cancel(ErrClosed)
	n.wg.Wait()
	return nil
}

// Done is closed when the node ends; Err then says why.
func (n *Node) Done() <-chan struct{} { return n.ctx.Done() }

// Err is ErrClosed, or ErrDuplicate; nil as long as the node runs.
func (n *Node) Err() error { return context.Cause(n.ctx) }

// run does what is due until the node ends.
func (n *Node) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-n.wake:
		case <-n.ctx.Done():
			n.end()
			return
		}
		timer.Reset(time.Until(n.tick(time.Now())))
	}
}

// tick does what is due, and returns when it wants to be called again.
func (n *Node) tick(now time.Time) time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	for l := range n.links {
		n.obey(now, l, l.peering.tick(now))
	}
	if n.routing.tick(now) {
		n.flood(0)
	}
	for _, ad := range n.adverts.tick(now) {
		n.relay(ad.Append(nil), nil)
	}
	next := n.routing.next()
	if at := n.adverts.next; !at.IsZero() && at.Before(next) {
		next = at
	}
	for l := range n.links {
		if l.peering.next.Before(next) {
			next = l.peering.next
		}
	}
	return next
}

func (n *Node) rouse() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// flood sends an update about ourselves to all neighbours; n.mu is held.
func (n *Node) flood(duplicate uint64) {
	if len(n.peers) > 0 {
		n.relay(n.routing.update(duplicate).Append(nil), nil)
	}
}

// relay sends a message to all neighbours but one; n.mu is held.
func (n *Node) relay(msg []byte, but *link) {
	for _, l := range n.peers {
		if l != but {
			l.out.put(msg)
		}
	}
}

// end closes what the node has, after n.ctx is over.
func (n *Node) end() {
	n.mu.Lock()
	for l := range n.links {
		n.drop(l, n.Err())
	}
	services := maps.Clone(n.services)
	n.mu.Unlock()
	for _, s := range services {
		s.Close()
	}
}

func (n *Node) trace(e Event) {
	if n.config.Trace != nil {
		e.Time, e.Node = time.Now(), n.config.ID
		n.config.Trace(e)
	}
}

// note tells something that is no message.
func (n *Node) note(link, format string, args ...any) {
	if n.config.Trace != nil {
		n.trace(Event{Link: link, Text: fmt.Sprintf(format, args...)})
	}
}

// Routes are the next hops by destination.
func (n *Node) Routes() map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.routing.table)
}

// Neighbours are the established links: peer and cost.
func (n *Node) Neighbours() map[string]float64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	costs := map[string]float64{}
	for peer, l := range n.peers {
		costs[peer] = l.peering.cost
	}
	return costs
}

// Costs is what each node is known to say of its links.
func (n *Node) Costs() map[string]map[string]float64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	costs := map[string]map[string]float64{}
	for node, links := range n.routing.costs {
		costs[node] = maps.Clone(links)
	}
	return costs
}

// Adverts are the advertisements of all services, our own as of now.
func (n *Node) Adverts() []Advert {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.adverts.all(time.Now())
}
