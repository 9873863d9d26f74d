package netceptor

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/streams"
	"github.com/project-receptor/receptor/netceptor/mtls"
)

// dialTimeout bounds a Dial whose context has no nearer deadline.
const dialTimeout = 15 * time.Second

// Conn is a stream through the mesh. It implements net.Conn. Close ends both
// directions in order (what was written arrives); Reset aborts both, which the
// other side sees as ErrReset, never as an end.
type Conn struct {
	stream        *streams.Stream
	local, remote Addr
}

var _ net.Conn = (*Conn)(nil)

// newConn gives a stream the names of its ends.
func (n *Node) newConn(s *streams.Stream) *Conn {
	return &Conn{stream: s, local: n.addr(split(s.Local())), remote: n.addr(split(s.Remote()))}
}

// Read reads. io.EOF means that the other side has ended its direction in order.
func (c *Conn) Read(b []byte) (int, error) { return c.stream.Read(b) }

// WriteTo implements io.WriterTo: it writes to w what arrives, until the other
// side has ended its direction in order. While it waits it holds no buffer.
func (c *Conn) WriteTo(w io.Writer) (int64, error) { return c.stream.WriteTo(w) }

// Pass waits until something arrives, and writes to w at once what of it fits in
// a buffer: one step of WriteTo. It returns how much that was; io.EOF means that
// the other side has ended its direction in order.
func (c *Conn) Pass(w io.Writer) (int, error) { return c.stream.Pass(w) }

// Write writes; it blocks while the other side does not read.
func (c *Conn) Write(b []byte) (int, error) { return c.stream.Write(b) }

// CloseWrite ends the writing direction; reading goes on.
func (c *Conn) CloseWrite() error { return c.stream.CloseWrite() }

// Close ends both directions in order: what was written arrives.
func (c *Conn) Close() error { return c.stream.Close() }

// Reset aborts both directions.
func (c *Conn) Reset() error { return c.stream.Reset() }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error { return c.stream.SetDeadline(t) }

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.stream.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.stream.SetWriteDeadline(t) }

// LocalAddr is the address of our end, an Addr.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is the address of the other end, an Addr.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// Peer is what is known of the other side.
func (c *Conn) Peer() PeerIdentity { return identityOf(c.stream.Security(), c.remote.Node) }

// PeerIdentity is what is known for certain of who is at the other end of a stream.
// Its address is a claim of the mesh, which any node on the way could have made up.
type PeerIdentity struct {
	Authentication string   // AuthNone, AuthTLS or AuthCertificate
	Node           string   // the node ID that a certificate proves; empty: none does
	Nodes          []string // all node IDs that this certificate names
	Profile        string   // the TLS profile here, "tls-server NAME"; empty: none
}

func identityOf(s streams.Security, node string) PeerIdentity {
	p := PeerIdentity{Authentication: AuthNone, Profile: s.Profile}
	switch {
	case s.Peer.Check(node) == nil:
		p.Authentication, p.Node, p.Nodes = AuthCertificate, node, s.Peer.Nodes
	case s.Profile != "":
		p.Authentication = AuthTLS
	}
	return p
}

// DialOptions say more about a dial.
type DialOptions struct {
	// TLS is how the service has to prove that it is on that node, and what we show
	// it of ourselves. nil: streams are encrypted all the same, but nobody proves
	// anything, and a service that has TLS is not taken for one that has not.
	TLS *mtls.Client
}

// Dial opens a stream to a service. It fails at once with ErrNoRoute, ErrBlocked,
// ErrExpired or ErrServiceUnknown where that is known, else by ctx or after 15 s. A way
// to the node that was lost less than 2 s ago is waited for, that long.
func (n *Node) Dial(ctx context.Context, node, service string) (*Conn, error) {
	return n.DialWith(ctx, node, service, DialOptions{})
}

// DialWith is Dial with options.
func (n *Node) DialWith(ctx context.Context, node, service string, o DialOptions) (*Conn, error) {
	addr := Addr{Node: n.resolve(node), Service: service}
	began := time.Now()
	s, err := n.dial(ctx, addr, o)
	n.dials.note(addr, o, began, err)
	if err != nil {
		return nil, opError("dial", addr, err)
	}
	c := n.newConn(s)
	c.remote = addr
	return c, nil
}

func (n *Node) dial(ctx context.Context, addr Addr, o DialOptions) (*streams.Stream, error) {
	service, err := parseService(addr.Service)
	if err != nil {
		return nil, err
	}
	if reserved(service) {
		return nil, ErrServiceUnknown // of streams
	}
	if !n.isRunning() || n.carrier == nil {
		return nil, errNotRunning
	}
	if err := n.mayDial(addr); err != nil {
		return nil, err
	}
	to, err := n.reachAgain(ctx, addr.Node)
	if err != nil {
		return nil, err
	}
	if to == n.self && n.services.listener(service) == nil {
		return nil, ErrServiceUnknown
	}
	limited := ctx
	if end, ok := ctx.Deadline(); !ok || time.Until(end) > dialTimeout {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, dialTimeout)
		defer cancel()
	}
	s, err := n.carrier.DialTLS(limited, endpoint(to, service), o.TLS)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, timeoutError{}
	}
	return s, err
}
