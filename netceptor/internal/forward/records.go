package forward

import (
	"crypto/tls"
	"net"
	"sync"
)

// gatherSize is how many bytes of TLS records are written at once: four of the
// largest records. More would only leave the cache.
const gatherSize = 4*(16<<10+tlsOverhead) + slack

const (
	tlsOverhead = 5 + 1 + 16 // header, type and tag of a record of TLS 1.3
	slack       = 256        // TLS 1.2 has a little more
)

// gathered holds buffers of gatherSize: a link has one only while it writes.
var gathered = sync.Pool{New: func() any { return new([gatherSize]byte) }}

// Records is a connection of TLS that writes many records at once, which
// crypto/tls does not: it writes each by itself. Out is what TLS was made on. The
// handshake is to be over.
type Records struct {
	*tls.Conn
	Out *Gather
}

// Write implements net.Conn.
func (r *Records) Write(p []byte) (int, error) {
	r.Out.hold()
	n, err := r.Conn.Write(p)
	if failed := r.Out.release(); err == nil && failed != nil {
		return 0, failed
	}
	return n, err
}

// Gather is the connection below one of TLS. While it is held it keeps what is
// written, up to a limit, for one write; what TLS writes of itself then, such as
// an alert, keeps its place in the order.
type Gather struct {
	net.Conn

	mu   sync.Mutex
	held *[gatherSize]byte // nil: nothing is kept
	n    int               // bytes in held
	err  error             // of a write of what was kept
}

func (g *Gather) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = gathered.Get().(*[gatherSize]byte)
}

// release writes what is kept, and keeps no more.
func (g *Gather) release() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flush()
	gathered.Put(g.held)
	g.held = nil
	return g.err
}

// flush writes what is kept. The caller holds mu.
func (g *Gather) flush() {
	if g.n > 0 && g.err == nil {
		_, g.err = g.Conn.Write(g.held[:g.n])
	}
	g.n = 0
}

// Write implements net.Conn.
func (g *Gather) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held == nil {
		return g.Conn.Write(p)
	}
	if g.n+len(p) > len(g.held) {
		g.flush()
	}
	if g.err != nil {
		return 0, g.err
	}
	if len(p) > len(g.held) { // no record is that large
		return g.Conn.Write(p)
	}
	g.n += copy(g.held[g.n:], p)
	return len(p), nil
}
