package plug

import (
	"container/list"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Anybody can connect to a listener of links, and what a link costs before it is
// known who is there (a hand-over, goroutines, a signature, a handshake of TLS) is
// many times what a connection costs. So a listener has a door. At its ease all may
// pass at once. Pressed, a connection first has to say something that a link can
// begin with, which is looked at here where it costs least, and then to wait for
// its turn, which goes round among the addresses that they come from.
const (
	// linksPerSecond is how many may pass for long. It is to take a small part of a
	// core only. Beyond: they wait.
	linksPerSecond = 250

	// linksBurst is how many may pass at once: the leaves of a large hub all come
	// when that restarts.
	linksBurst = 1024

	// linksAtEase is how many may come at once, beyond linksPerSecond, until the listener
	// is pressed, and linksPressed what it counts of them: it is at its ease again two
	// seconds after the last of many.
	linksAtEase  = 512
	linksPressed = 2 * linksAtEase

	// maxMute bounds those that have not said enough yet. Of more the oldest gives way:
	// whoever is honest speaks at once.
	maxMute = 1024

	// muteTime is how long they may take, pressed or not, as it is in the core.
	muteTime = 10 * time.Second

	// maxQueued bounds those that wait for their turn, and maxQueuedOfSource those of one
	// address: what can be let pass in some seconds. Of more the oldest gives way, so
	// that each has the same chance.
	maxQueued         = 1024
	maxQueuedOfSource = 128

	// turnsEvery is the shortest time between turns, which are as many then as there
	// may be.
	turnsEvery = 10 * time.Millisecond
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

// AcceptLinks is Accept for a listener of links: each is called of those connections
// that have passed its door. Those that have not when ctx is done are closed.
func (it *Item) AcceptLinks(ctx context.Context, l net.Listener, opening Opening, each func(context.Context, net.Conn), failed func(error)) error {
	d := newDoor(opening, it.Count)
	defer context.AfterFunc(ctx, d.shut)()
	return it.Accept(ctx, d.sift(l), func(ctx context.Context, c net.Conn) {
		if !d.pass(c) {
			_ = c.Close() // nothing was written to it
			return
		}
		each(ctx, c)
	}, failed)
}

// door decides who may pass, and when.
type door struct {
	opening Opening
	count   func(name string, n uint64)

	mu     sync.Mutex
	closed bool
	came   bucket     // all of them
	passed bucket     // those that did
	mute   *list.List // of net.Conn, the oldest first

	queues map[netip.Addr][]turn // by source, each the oldest first
	order  []netip.Addr          // of queues, whose turn it is first
	queued int                   // in all of them
	timer  *time.Timer           // of the next turns; nil: none is planned
}

// turn is what a connection waits for. It is told whether it may pass.
type turn chan bool

func newDoor(opening Opening, count func(name string, n uint64)) *door {
	return &door{opening: opening, count: count, mute: list.New(), queues: map[netip.Addr][]turn{}}
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

// pass waits until a connection may pass. It returns false if it may not.
func (d *door) pass(c net.Conn) bool {
	if d.atEase() {
		return true
	}
	switch d.look(c) {
	case MayBeLink:
		return <-d.queue(sourceOf(c))
	case NoLink:
		d.count(countNoHello, 1)
	case TooShort:
		d.count(countMute, 1)
	}
	return false
}

// atEase notes that a connection has come, and lets it pass if there is no press.
func (d *door) atEase() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.press(1) || d.passed.now() > linksBurst-1 {
		return false
	}
	d.passed.level++
	return true
}

// pressed notes how many have come, and tells whether there is a press.
func (d *door) pressed(came int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.press(came)
}

// press is pressed for callers that hold mu.
func (d *door) press(came int) bool {
	before := d.came.now()
	d.came.level = min(before+float64(came), linksPressed)
	return before > linksAtEase-1
}

// look waits until a connection has said enough to tell.
func (d *door) look(c net.Conn) Verdict {
	v := peek(c, d.opening, false)
	if v != TooShort {
		return v
	}
	e := d.await(c)
	if e == nil {
		return TooShort
	}
	v = peek(c, d.opening, true)
	d.heard(c, e)
	return v
}

// await notes a connection that has not said enough; nil: it is too late for that.
func (d *door) await(c net.Conn) *list.Element {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || c.SetReadDeadline(time.Now().Add(muteTime)) != nil {
		return nil
	}
	if d.mute.Len() == maxMute {
		oldest := d.mute.Front()
		d.mute.Remove(oldest)
		_ = oldest.Value.(net.Conn).Close() // its look sees that
	}
	return d.mute.PushBack(c)
}

// heard is the counterpart of await.
func (d *door) heard(c net.Conn, e *list.Element) {
	d.mu.Lock()
	d.mute.Remove(e)
	d.mu.Unlock()
	_ = c.SetReadDeadline(time.Time{}) // fails if it was closed, which whoever uses it finds as well
}

// queue lets a connection from a source wait for its turn.
func (d *door) queue(source netip.Addr) turn {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := make(turn, 1)
	if d.closed {
		t <- false
		return t
	}
	waiting := d.queues[source]
	if len(waiting) == 0 {
		d.order = append(d.order, source)
	}
	d.queues[source] = append(waiting, t)
	d.queued++
	switch {
	case len(waiting) == maxQueuedOfSource:
		d.crowdOut(source)
	case d.queued > maxQueued:
		d.crowdOut(d.longest(source))
	}
	d.turns()
	return t
}

// longest is a source of which more than one wait, source itself if that is so, or
// else the one whose turn it is. Callers hold mu.
func (d *door) longest(source netip.Addr) netip.Addr {
	if len(d.queues[source]) > 1 {
		return source
	}
	longest := d.order[0]
	for _, s := range d.order {
		if len(d.queues[s]) > len(d.queues[longest]) {
			longest = s
		}
	}
	return longest
}

// crowdOut has the oldest of a source give way. Callers hold mu.
func (d *door) crowdOut(source netip.Addr) {
	d.count(countCrowdedOut, 1)
	d.next(source) <- false
}

// next takes the oldest of a source, which has one, out of its queue. Callers hold mu.
func (d *door) next(source netip.Addr) turn {
	waiting := d.queues[source]
	d.queued--
	if d.queues[source] = waiting[1:]; len(waiting) == 1 {
		delete(d.queues, source)
		d.order = slices.DeleteFunc(d.order, func(s netip.Addr) bool { return s == source })
	}
	return waiting[0]
}

// turns lets those pass whose turn it is, one of each source, and plans to do it
// again if others wait. Callers hold mu.
func (d *door) turns() {
	for d.queued > 0 && d.passed.now() <= linksBurst-1 {
		source := d.order[0]
		d.order = append(d.order[1:], source)
		d.passed.level++
		d.next(source) <- true
	}
	if d.queued > 0 && d.timer == nil {
		d.timer = time.AfterFunc(turnsEvery, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.timer = nil
			d.turns()
		})
	}
}

// shut lets nobody pass any more who would have to wait.
func (d *door) shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for e := d.mute.Front(); e != nil; e = e.Next() {
		_ = e.Value.(net.Conn).Close()
	}
	for d.queued > 0 {
		d.next(d.order[0]) <- false
	}
	if d.timer != nil {
		d.timer.Stop()
	}
}

// sourceOf is whom a connection counts for: an address, or a network of IPv6, of which
// whoever has one address has all.
func sourceOf(c net.Conn) netip.Addr {
	a, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	source := a.AddrPort().Addr().Unmap().WithZone("")
	if source.Is6() {
		if p, err := source.Prefix(64); err == nil { // it has as many bits
			return p.Addr()
		}
	}
	return source
}
