package netceptor

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/forward"
	"github.com/project-receptor/receptor/netceptor/internal/linkproto"
	"github.com/project-receptor/receptor/netceptor/internal/wire"
	"github.com/project-receptor/receptor/netceptor/mtls"
)

// flushTime is how long a link that is ended in order, or rejected, may take to
// write what is queued.
const flushTime = time.Second

// LinkConfig says how a link is to be used, and describes it for status.
type LinkConfig struct {
	Cost          float64            // > 0; 0 means 1
	NodeCost      map[string]float64 // by peer, before Cost
	AllowedPeers  []string           // empty: all
	Item          string             // the item that made it
	Dir           string             // "in" or "out"
	Local, Remote string
	Medium        string
	Mode          string // how its bytes get here

	// At most one of these. With it the node speaks TLS on the connection, as the
	// server or the client, and the certificate of the other side, if it shows one
	// that is verified, must name the node ID that it claims (see mtls, Relaxed).
	TLSServer *mtls.Server
	TLSClient *mtls.Client
	TLSHost   string // for TLSClient: the host that the certificate must be valid for; empty: any

	MediumTLS *MediumTLS // of the medium itself, below conn; nil: none
}

// whole tells whether the medium carries a frame of any size in one piece. Of media
// that are not known to it is not taken for granted.
func (c *LinkConfig) whole() bool {
	switch c.Medium {
	case "tcp", "unix", "ws":
		return true
	default:
		return false
	}
}

// MediumTLS is what somebody else, who speaks TLS below the bytes of a link, says
// of it.
type MediumTLS struct {
	Profile string // for people

	// Names are the node IDs in the certificate of the other side: the node that it
	// says it is must be one of them. Empty: it has shown none, or that need not be.
	Names []string

	// Proven are those of the names that are taken for proven: by the word of
	// whoever speaks the TLS.
	Proven []string
}

// validate checks c and names the field that is wrong.
func (c *LinkConfig) validate() error {
	if !validCost(c.Cost) {
		return fmt.Errorf("the Cost %v is not in (0, %v]", c.Cost, wire.MaxCost)
	}
	for peer, cost := range c.NodeCost {
		if !validCost(cost) {
			return fmt.Errorf("the NodeCost of %q, %v, is not in (0, %v]", peer, cost, wire.MaxCost)
		}
	}
	if c.TLSServer != nil && c.TLSClient != nil {
		return errors.New("there is both a TLSServer and a TLSClient")
	}
	if c.MediumTLS != nil && c.speaks() {
		return errors.New("there is TLS both in the medium and above it")
	}
	return nil
}

// validCost tells whether routing takes a cost; not a NaN, either.
func validCost(cost float64) bool { return cost > 0 && cost <= wire.MaxCost }

// Link is one link to a neighbour.
type Link struct {
	node   *Node
	conn   net.Conn // as it was given
	config LinkConfig
	path   *forward.Link

	established atomic.Bool   // data may pass
	via         uint64        // the hash of peer; set before established
	stop        chan struct{} // closed by end
	done        chan struct{} // closed when all is over

	// Set before stop is closed.
	reason  error
	flushed bool

	// Set by the handshake, before proto starts.
	tls   *tls.Conn // over conn; nil: the link is plain
	shown mtls.Peer // whom the certificate of the other side names

	// Under the mutex of the mesh.
	proto  *linkproto.Machine
	peer   string // empty until established
	epoch  uint64 // of the peer, when the link was made
	legacy bool
	since  time.Time
}

// AddLink runs a link over conn, which it owns from now on, and returns at once.
// If it fails, conn is closed.
func (n *Node) AddLink(conn net.Conn, c LinkConfig) (*Link, error) {
	if c.Cost == 0 {
		c.Cost = 1
	}
	err := c.validate()
	if err == nil && n.config.RequireTLS {
		err = n.requireTLS(conn, &c)
	}
	if err != nil {
		return nil, fmt.Errorf("add link: %w", errors.Join(err, conn.Close()))
	}
	l := &Link{
		node:   n,
		conn:   conn,
		config: c,
		path:   forward.NewLink(conn),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	l.proto = linkproto.New(linkproto.Config{
		Self:         n.config.NodeID,
		Cost:         c.Cost,
		NodeCost:     c.NodeCost,
		AllowedPeers: c.AllowedPeers,
		MaxIdle:      n.config.MaxIdle,
		Admit:        func(peer string, u *wire.RoutingUpdate) error { return n.mesh.admit(l, peer, u) },
	})
	if err := n.mesh.add(l); err != nil {
		return nil, fmt.Errorf("add link: %w", errors.Join(err, conn.Close()))
	}
	return l, nil
}

// Done is closed when the link has ended; Err then says why (nil: in order).
func (l *Link) Done() <-chan struct{} { return l.done }

// Err says why the link ended; nil before it has, or if Close of it or of the node
// ended it.
func (l *Link) Err() error {
	select {
	case <-l.done:
		return l.reason
	default:
		return nil
	}
}

// Greeting returns a message that introduces this node to one that dials it, as
// each link begins with one: for a medium on which nobody can be sure that who
// seems to dial does, and no link is made before that is answered.
func (n *Node) Greeting() []byte {
	n.mesh.mu.Lock()
	defer n.mesh.mu.Unlock()
	return n.mesh.routing.Init().Append(nil)
}

// Peer is the neighbour's node ID, empty until it is known.
func (l *Link) Peer() string {
	l.node.mesh.mu.Lock()
	defer l.node.mesh.mu.Unlock()
	return l.peer
}

// Close ends the link and waits for it.
func (l *Link) Close() error {
	l.node.mesh.end(l, nil, true)
	<-l.done
	return nil
}

// end lets run come to its end. It is called once, by the mesh.
func (l *Link) end(reason error, flushed bool) {
	l.reason, l.flushed = reason, flushed
	close(l.stop)
}

// run owns the goroutines of the link and its connection.
func (l *Link) run() {
	defer close(l.done)
	if !l.begin() {
		<-l.stop
		l.closeConn(l.conn)
		return
	}
	var both sync.WaitGroup
	written := make(chan struct{})
	both.Go(func() {
		defer close(written)
		if err := l.path.Write(); err != nil {
			l.node.mesh.end(l, fmt.Errorf("write to link: %w", err), false)
		}
	})
	both.Go(func() {
		l.node.mesh.end(l, l.read(), false)
	})
	<-l.stop
	l.path.Close()
	if l.flushed && within(written, flushTime) {
		l.farewell()
	}
	l.closeConn(l.conn)
	both.Wait()
}

// within waits that long for the end of something, and tells whether it came.
func within(end <-chan struct{}, patience time.Duration) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-end:
		return true
	case <-timer.C:
		return false
	}
}

// closeConn closes a connection of the link, if there is that one.
func (l *Link) closeConn(c io.Closer) {
	if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		l.node.log.Debug("close of a link's connection failed", "item", l.config.Item, "error", err)
	}
}

// read reads the link to its end and says why that came. A panic in the handling
// of a message costs the link, not the node.
func (l *Link) read() (err error) {
	defer func() {
		if p := recover(); p != nil {
			l.node.counters.add(countPanics)
			l.node.log.Error("handling a message panicked", "peer", shown(l.Peer()), "panic", p, "stack", string(debug.Stack()))
			l.node.alarm(alarmPanic, l.Peer(), fmt.Sprint(p))
			err = errPanic
		}
	}()
	err = l.path.Read(l.handle)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("closed by the other side: %w", err)
	}
	return fmt.Errorf("read from link: %w", err)
}

// handle takes one message off the read buffer. It returns the link that the
// message is to be forwarded on.
func (l *Link) handle(msg []byte) *forward.Link {
	n := l.node
	if len(msg) == 0 {
		n.counters.add(countEmpty)
		return nil
	}
	if msg[0] != wire.TypeData {
		n.mesh.receive(l, bytes.Clone(msg))
		return nil
	}
	if !l.established.Load() {
		n.counters.add(countNotEstablished)
		return nil
	}
	table := n.table.Load()
	verdict, next := table.Route(msg, l.via)
	if verdict >= forward.Local && !n.pass(msg) {
		return nil
	}
	switch verdict {
	case forward.Forward:
		return next
	case forward.Local:
		n.deliver(msg)
	case forward.Expired:
		n.counters.add(countExpired)
		n.report(msg, wire.ProblemExpired)
	case forward.NoRoute:
		n.counters.add(countNoRoute)
	case forward.Short:
		n.counters.add(countShort)
	case forward.Unknown:
		n.counters.add(countUnknownNode)
	case forward.Spoofed:
		n.counters.add(countSpoofed)
		l.forged(table)
	case forward.WrongWay:
		n.counters.add(countWrongWay)
		l.forged(table)
	}
	return nil
}

// forged notes a message whose source cannot be, by the table.
func (l *Link) forged(table *forward.Table) {
	if l.node.now().Sub(table.Made) > routesSettle {
		l.node.alarm(alarmSource, l.peer, "")
	}
}
