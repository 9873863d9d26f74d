package plug

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Anybody can connect to a listener of links, and what a link costs before it is
// known who is there (a hand-over, goroutines, a signature, a handshake of TLS) is
// many times what a connection costs. So a listener has a door. At its ease all
// pass at once. Pressed, a connection first has to say something that a link can
// begin with, which is looked at here where it costs least, and then to wait for
// its turn, which goes round among the addresses that they come from.
const (
	// linksPerSecond is how many may pass for long. It is to take a small part of a
	// core only. Beyond: they wait.
	linksPerSecond = 100

	// linksBurst is how many may come and pass at once, without a word: the leaves of a
	// large hub all come when that restarts. With more the listener is pressed.
	linksBurst = 512

	// linksPressed is what is counted at most of those that come, so that a listener is
	// at its ease again five seconds after the last of many.
	linksPressed = 2 * linksBurst

	// maxMute bounds those that have not said enough yet. Of more the oldest gives way:
	// whoever is honest speaks at once.
	maxMute = 1024

	// muteTime is how long they may take, as it is in the core.
	muteTime = 10 * time.Second

	// maxQueued bounds those that wait for their turn, and maxQueuedOfSource those of one
	// address: what can be let pass in some seconds. Of more the oldest gives way, so
	// that each has the same chance.
	maxQueued         = 1024
	maxQueuedOfSource = 128
)

// The counters of what did not pass.
const (
	countNoHello    = "connections_no_hello"
	countMute       = "connections_mute"
	countCrowdedOut = "connections_crowded_out"
)

// Verdict is what can be told of a connection by its first bytes.
type Verdict int

// The verdicts.
const (
	TooShort Verdict = iota // to tell
	NoLink                  // no link begins so
	MayBeLink
)

// Opening looks at the first bytes of a connection, of which it is shown headSize
// at most. It does not retain them.
type Opening func(head []byte) Verdict

// OpensTLS is the Opening of TLS: a record of a handshake that begins with a ClientHello.
func OpensTLS(head []byte) Verdict {
	const handshake, version, clientHello = 22, 3, 1
	switch {
	case len(head) > 0 && head[0] != handshake, len(head) > 1 && head[1] != version, len(head) > 5 && head[5] != clientHello:
		return NoLink
	case len(head) < 6 || len(head) < 5+int(binary.BigEndian.Uint16(head[3:])):
		return TooShort
	}
	return MayBeLink
}

// headSize is as much of a connection as is looked at.
const headSize = 4 << 10

// AcceptLinks is Accept for a listener of links, with a door: each is called of those
// connections that have passed it. Those that have not when ctx is done are closed.
// Where the system is not Linux all pass.
func (it *Item) AcceptLinks(ctx context.Context, l net.Listener, opening Opening, each func(context.Context, net.Conn), failed func(error)) error {
	return it.Accept(ctx, guard(l, opening, it.Count), each, failed)
}

// bucket counts what goes beyond linksPerSecond.
type bucket struct {
	level float64
	at    time.Time
}

// now returns its level.
func (b *bucket) now() float64 {
	now := time.Now()
	b.level = max(0, b.level-linksPerSecond*now.Sub(b.at).Seconds())
	b.at = now
	return b.level
}

// press tells how hard a listener is pressed.
type press struct {
	came   bucket // all of them
	passed bucket // those that did
}

// pressed tells whether there is a press, and notes how many have come since.
func (p *press) pressed(came int) bool {
	before := p.came.now()
	p.came.level = min(before+float64(came), linksPressed)
	return before > linksBurst-1
}

// mayPass tells whether there is room for one more, which is taken.
func (p *press) mayPass() bool {
	if p.passed.now() > linksBurst-1 {
		return false
	}
	p.passed.level++
	return true
}

// queue has those that wait for their turn.
type queue struct {
	of    map[netip.Addr][]*visitor // by source, each the oldest first
	order []netip.Addr              // of those, whose turn it is first
	size  int
}

// visitor is a connection at the door.
type visitor struct {
	fd     int
	source netip.Addr
	since  time.Time
}

// add takes one in. It returns the one that has to give way, or nil: the oldest of
// its source, or of one of which there are more.
func (q *queue) add(v *visitor) (out *visitor) {
	if q.of == nil {
		q.of = map[netip.Addr][]*visitor{}
	}
	waiting := append(q.of[v.source], v)
	if len(waiting) == 1 {
		q.order = append(q.order, v.source)
	}
	q.of[v.source] = waiting
	q.size++
	switch {
	case len(waiting) > maxQueuedOfSource:
		return q.take(v.source)
	case q.size > maxQueued:
		return q.take(q.longest(v.source))
	}
	return nil
}

// longest is a source of which more than one wait, source itself if that is so, or
// else the one whose turn it is.
func (q *queue) longest(source netip.Addr) netip.Addr {
	if len(q.of[source]) > 1 {
		return source
	}
	longest := q.order[0]
	for _, s := range q.order {
		if len(q.of[s]) > len(q.of[longest]) {
			longest = s
		}
	}
	return longest
}

// next takes out the one whose turn it is; there is one.
func (q *queue) next() *visitor {
	source := q.order[0]
	q.order = append(q.order[1:], source)
	return q.take(source)
}

// take takes out the oldest of a source, which has one.
func (q *queue) take(source netip.Addr) *visitor {
	v := q.of[source][0]
	q.remove(v)
	return v
}

// remove takes one out, if it is there.
func (q *queue) remove(v *visitor) {
	waiting := q.of[v.source]
	i := slices.Index(waiting, v)
	if i < 0 {
		return
	}
	q.size--
	if waiting = slices.Delete(waiting, i, i+1); len(waiting) > 0 {
		q.of[v.source] = waiting
		return
	}
	delete(q.of, v.source)
	q.order = slices.DeleteFunc(q.order, func(s netip.Addr) bool { return s == v.source })
}

// sourceOf is whom a connection from an address counts for: of IPv6 a network, since
// whoever has one address of it has all.
func sourceOf(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil { // it has as many bits
			return p.Addr()
		}
	}
	return a
}
