package legacy

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Session carries messages to a neighbour and back.
type Session interface {
	// Send sends one message, which it does not retain.
	Send(msg []byte) error
	// Receive waits for one message, which is the caller's.
	Receive() ([]byte, error)
	// Close ends both, also while they wait.
	Close() error
	// String says where it leads.
	String() string
}

// link is a session with a neighbour.
type link struct {
	session Session
	out     *outbox
	label   atomic.Pointer[string] // for traces
	done    chan struct{}          // closed by drop

	// Under the mutex of the node.
	peering peering
}

// String is what traces call the link.
func (l *link) String() string { return *l.label.Load() }

func (l *link) name(s string) { l.label.Store(&s) }

// AddLink runs a link over a session, which it owns. The channel is closed when
// the link has ended.
func (n *Node) AddLink(s Session, c LinkConfig) <-chan struct{} {
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.made++
	l := &link{session: s, out: newOutbox(), done: make(chan struct{})}
	l.name(fmt.Sprintf("#%d %s", n.made, s))
	l.peering = peering{
		self: n.config.ID, config: c, idle: n.config.MaxIdle,
		linked: func(peer string) bool { return n.peers[peer] != nil },
	}
	if n.ctx.Err() != nil {
		s.Close()
		close(l.done)
		return l.done
	}
	n.links[l] = true
	n.note(l.String(), "connected")
	n.obey(now, l, l.peering.start(now))
	n.wg.Go(func() { n.send(l) })
	n.wg.Go(func() { n.receive(l) })
	n.rouse()
	return l.done
}

// send writes what is queued until the link ends.
func (n *Node) send(l *link) {
	for {
		msg, ok := l.out.take()
		if !ok {
			return
		}
		n.trace(Event{Link: l.String(), Way: Sent, Message: msg})
		if err := l.session.Send(msg); err != nil {
			n.lost(l, fmt.Errorf("send: %w", err))
			return
		}
	}
}

// receive handles what comes until the link ends.
func (n *Node) receive(l *link) {
	for {
		msg, err := l.session.Receive()
		if err != nil {
			n.lost(l, fmt.Errorf("receive: %w", err))
			return
		}
		n.trace(Event{Link: l.String(), Way: Received, Message: msg})
		now := time.Now()
		n.mu.Lock()
		data := n.obey(now, l, l.peering.receive(now, msg))
		n.mu.Unlock()
		if data == nil {
			n.rouse()
			continue
		}
		if m, err := parseMessage(data); err != nil {
			n.note(l.String(), "ignored: %v", err)
		} else if err := n.pass(m); err != nil {
			n.note(l.String(), "dropped: %v", err)
		}
	}
}

func (n *Node) lost(l *link, why error) {
	n.mu.Lock()
	n.drop(l, why)
	n.mu.Unlock()
	n.rouse()
}

// obey does what a link's protocol wants; n.mu is held. Data are for the caller
// to pass on, without the mutex.
func (n *Node) obey(now time.Time, l *link, v verdict) (data []byte) {
	if !n.links[l] {
		return nil
	}
	if v.introduce {
		l.out.put(n.routing.update(0).Append(nil))
	}
	if v.established {
		n.peers[l.peering.peer] = l
		l.name(l.String() + " " + l.peering.peer)
		n.note(l.String(), "established, cost %v", l.peering.cost)
		n.routing.linked(now, l.peering.peer, l.peering.cost)
	}
	if v.ignored != nil {
		n.note(l.String(), "ignored: %v", v.ignored)
	}
	if v.route != nil {
		n.heard(now, l, v.route)
	}
	if v.advert != nil {
		if ad, err := parseAdvert(v.advert); err != nil {
			n.note(l.String(), "ignored: %v", err)
		} else if n.adverts.receive(*ad) {
			n.relay(v.advert, l)
		}
	}
	switch {
	case v.reject != nil:
		l.out.put(rejectMessage[:]) // closing at once, it is seldom seen
		n.drop(l, v.reject)
	case v.closed != nil:
		n.drop(l, v.closed)
	}
	return v.data
}

// heard handles an update; n.mu is held.
func (n *Node) heard(now time.Time, l *link, u *Update) {
	h := n.routing.receive(now, u)
	if h.forward != nil {
		n.relay(h.forward.Append(nil), l)
	}
	if h.duplicate != 0 {
		n.flood(h.duplicate)
		n.routing.flooded(now)
	}
	if h.stop != nil {
		n.note(l.String(), "shutting down: %v", h.stop)
		n.cancel(h.stop)
	}
}

// drop ends a link; n.mu is held. It may be called twice.
func (n *Node) drop(l *link, why error) {
	if !n.links[l] {
		return
	}
	delete(n.links, l)
	n.note(l.String(), "ended: %v", why)
	if p := l.peering.peer; p != "" && n.peers[p] == l {
		delete(n.peers, p)
		n.routing.unlinked(time.Now(), p)
	}
	l.out.close()
	l.session.Close()
	close(l.done)
}
