package backendudp

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// inboxSize bounds what waits for the core, of one flow: twice what one call
	// receives, some milliseconds of a fast link. inboxesSize bounds it for all flows of
	// a socket, should the core stand still. Beyond them datagrams are dropped.
	inboxSize   = 1 << 20
	inboxesSize = 64 << 20

	// inboxQuiet is what the inbox of a flow that carries little keeps.
	inboxQuiet = 64 << 10

	// unprovenFactor is how much more may be sent to a source than came from it, until
	// it has shown that it hears us: its address may be somebody else's.
	unprovenFactor = 3
)

// flow is the datagrams of one link, as a connection that carries link framing, for
// the SDK to relay. The receiver of its socket pushes, the relay reads and writes.
type flow struct {
	sock  *socket
	count func(name string, n uint64)
	ended func(*flow) // called once, by Close

	closeOnce sync.Once
	closed    chan struct{}
	wake      chan struct{} // something is in the inbox; capacity 1

	mu       sync.Mutex
	inbox    []byte // frames
	read     int    // of the inbox
	node     string // ours: unproven until the source lists it; empty: proven
	received int    // bytes, while unproven
	sent     int    // likewise
	over     bool   // the other side knows of the end, or is not there
	done     bool   // closed
	failed   error  // why nothing more comes, if that is not Close
	to       []netip.AddrPort
	heard    bool // something has come from to, which is one address then
	tries    int  // of to, until then

	partial []byte // of a frame, of Write only
	batch   [][]byte
}

func newFlow(sock *socket, count func(string, uint64), ended func(*flow), to ...netip.AddrPort) *flow {
	return &flow{
		sock: sock, count: count, ended: ended, to: to, heard: true,
		closed: make(chan struct{}), wake: make(chan struct{}, 1),
	}
}

// push takes datagrams that came at once: b is cut into pieces of that size, the
// last of which may be shorter. It does not retain b, and never waits.
func (f *flow) push(b []byte, size int) {
	f.mu.Lock()
	dropped := uint64(0)
	for len(b) > 0 && !f.done {
		msg := b[:min(size, len(b))]
		b = b[len(msg):]
		if f.node != "" {
			f.received += len(msg)
			if lists(msg, f.node) {
				f.node = ""
			}
		}
		if msg[0] == typeReject {
			f.over = true
		}
		size := int64(lengthSize + len(msg))
		if int64(len(f.inbox)-f.read)+size > inboxSize || f.sock.waiting.Load()+size > inboxesSize {
			dropped++
			continue
		}
		f.sock.waiting.Add(size)
		if f.read > 0 && len(f.inbox)+lengthSize+len(msg) > cap(f.inbox) {
			f.inbox = f.inbox[:copy(f.inbox, f.inbox[f.read:])]
			f.read = 0
		}
		f.inbox = appendFrame(f.inbox, msg)
	}
	f.mu.Unlock()
	f.rouse()
	if dropped > 0 {
		f.count(countQueue, dropped)
	}
}

// rouse lets Read look again.
func (f *flow) rouse() {
	select {
	case f.wake <- struct{}{}:
	default: // it will
	}
}

// Read implements net.Conn: frames, as they came.
func (f *flow) Read(b []byte) (int, error) {
	for {
		f.mu.Lock()
		n, failed := copy(b, f.inbox[f.read:]), f.failed
		f.sock.waiting.Add(int64(-n))
		f.read += n
		if f.read == len(f.inbox) {
			if cap(f.inbox) > inboxQuiet && len(f.inbox) < cap(f.inbox)/4 {
				f.inbox = nil // it was needed before
			}
			f.inbox, f.read = f.inbox[:0], 0
		}
		f.mu.Unlock()
		switch {
		case n > 0 || len(b) == 0:
			return n, nil
		case failed != nil:
			return 0, failed
		}
		select {
		case <-f.wake:
		case <-f.closed:
			return 0, net.ErrClosed
		}
	}
}

// Write implements net.Conn: frames, cut anywhere. What cannot be sent is dropped:
// it fails only when the flow is over.
func (f *flow) Write(b []byte) (int, error) {
	select {
	case <-f.closed:
		return 0, net.ErrClosed
	default:
	}
	written := len(b)
	if len(f.partial) > 0 {
		f.partial = append(f.partial, b...)
		b = f.partial
	}
	f.batch = f.batch[:0]
	used := 0
	for {
		msg, size := cutFrame(b[used:])
		if size == 0 {
			break
		}
		used += size
		switch {
		case len(msg) == 0:
			f.count(countEmpty, 1)
		case len(msg) > maxMessage:
			f.count(countOversize, 1)
		default:
			f.batch = append(f.batch, msg)
		}
	}
	if len(f.batch) > 0 {
		f.send(f.batch)
	}
	f.partial = append(f.partial[:0], b[used:]...)
	return written, nil
}

// send sends messages as far as that is allowed.
func (f *flow) send(msgs [][]byte) {
	f.mu.Lock()
	to := f.to
	if !f.heard { // the core says all again, every second: the addresses are tried one more each time
		f.tries = min(f.tries+1, len(to))
		to = to[:f.tries]
	}
	if f.node != "" {
		kept := msgs[:0]
		for _, m := range msgs {
			if f.sent+len(m) > unprovenFactor*f.received {
				f.count(countUnproven, 1)
				continue
			}
			f.sent += len(m)
			kept = append(kept, m)
		}
		msgs = kept
	}
	for _, m := range msgs {
		f.over = f.over || m[0] == typeReject
	}
	f.mu.Unlock()
	for _, a := range to {
		f.sock.send(a, msgs)
	}
}

// from tells whether what comes from an address is of this flow, and whether it is
// the first: then no other address is from there on.
func (f *flow) from(a netip.AddrPort) (ours, first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.heard || !slices.Contains(f.to, a) {
		return f.heard && f.to[0] == a, false
	}
	f.to, f.heard = []netip.AddrPort{a}, true
	return true, true
}

// refused ends the flow, when what has come is read, if nobody listens at the only
// address that it may be with.
func (f *flow) refused() {
	f.mu.Lock()
	if len(f.to) == 1 {
		f.failed, f.over = errRefused, true
	}
	f.mu.Unlock()
	f.rouse()
}

// Close implements net.Conn. The other side is told, as it would not see it else.
func (f *flow) Close() error {
	f.closeOnce.Do(func() {
		close(f.closed)
		f.ended(f) // whatever comes once the other side knows begins anew
		f.mu.Lock()
		over := f.over
		f.done = true
		f.sock.waiting.Add(int64(f.read - len(f.inbox)))
		f.inbox, f.read = nil, 0
		f.mu.Unlock()
		if !over {
			f.send([][]byte{farewell})
		}
	})
	return nil
}

// LocalAddr implements net.Conn.
func (f *flow) LocalAddr() net.Addr { return f.sock.conn.LocalAddr() }

// RemoteAddr implements net.Conn: an address that may be the other side.
func (f *flow) RemoteAddr() net.Addr {
	f.mu.Lock()
	defer f.mu.Unlock()
	return net.UDPAddrFromAddrPort(f.to[0])
}

// SetDeadline implements net.Conn. There are none: a write does not wait, and a
// read ends with the flow.
func (f *flow) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (f *flow) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (f *flow) SetWriteDeadline(time.Time) error { return nil }
