package legacy

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// maxUDP is the largest message over UDP; receiving takes a little more.
const (
	maxUDP    = 65507
	udpBuffer = 65536
)

// dialled is the dialler's session: a connected socket.
type dialled struct {
	conn *net.UDPConn
	buf  []byte
}

func (d *dialled) Send(msg []byte) error {
	if len(msg) > maxUDP {
		return fmt.Errorf("a message of %d bytes has no datagram", len(msg))
	}
	_, err := d.conn.Write(msg)
	return err
}

func (d *dialled) Receive() ([]byte, error) {
	n, err := d.conn.Read(d.buf)
	return append([]byte(nil), d.buf[:n]...), err
}

func (d *dialled) Close() error { return d.conn.Close() }

func (d *dialled) String() string { return "udp " + d.conn.RemoteAddr().String() }

// DialUDP makes a link to addr, and again after its end unless redial is false.
func (n *Node) DialUDP(addr string, c LinkConfig, redial bool) *Backend {
	b := n.newBackend(nothing)
	b.start(n, func() {
		b.keep(n, c, redial, func(ctx context.Context) (Session, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "udp", addr)
			if err != nil {
				return nil, err
			}
			return &dialled{conn.(*net.UDPConn), make([]byte, udpBuffer)}, nil
		})
	})
	return b
}

// udpListener has a session for each remote address.
type udpListener struct {
	conn *net.UDPConn

	mu       sync.Mutex
	sessions map[netip.AddrPort]*accepted
}

// accepted is a session of a udpListener.
type accepted struct {
	listener *udpListener
	remote   netip.AddrPort
	inbox    chan []byte
	closed   chan struct{}
}

func (a *accepted) Send(msg []byte) error {
	_, err := a.listener.conn.WriteToUDPAddrPort(msg, a.remote)
	return err
}

func (a *accepted) Receive() ([]byte, error) {
	select {
	case msg := <-a.inbox:
		return msg, nil
	case <-a.closed:
		return nil, net.ErrClosed
	}
}

func (a *accepted) Close() error {
	a.listener.mu.Lock()
	defer a.listener.mu.Unlock()
	if a.listener.sessions[a.remote] == a {
		delete(a.listener.sessions, a.remote)
		close(a.closed)
	}
	return nil
}

func (a *accepted) String() string { return "udp " + a.remote.String() }

// ListenUDP accepts links: the first datagram of an address makes one.
func (n *Node) ListenUDP(addr string, c LinkConfig) (*Backend, error) {
	at, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP("udp", at)
	if err != nil {
		return nil, err
	}
	b := n.newBackend(conn.Close)
	b.Addr = conn.LocalAddr()
	l := &udpListener{conn: conn, sessions: map[netip.AddrPort]*accepted{}}
	b.start(n, func() {
		buf := make([]byte, udpBuffer)
		for {
			size, from, err := conn.ReadFromUDPAddrPort(buf)
			if b.ctx.Err() != nil {
				return
			}
			if err != nil {
				continue // of one datagram: the socket lives
			}
			if s := l.receive(from, append([]byte(nil), buf[:size]...)); s != nil {
				b.start(n, func() { b.carry(n, s, c) })
			}
		}
	})
	return b, nil
}

// receive hands a datagram to its session, and returns that if it is new.
func (l *udpListener) receive(from netip.AddrPort, msg []byte) (fresh *accepted) {
	l.mu.Lock()
	s := l.sessions[from]
	if s == nil {
		s = &accepted{listener: l, remote: from, inbox: make(chan []byte, inboxSize), closed: make(chan struct{})}
		l.sessions[from] = s
		fresh = s
	}
	l.mu.Unlock()
	select {
	case s.inbox <- msg:
	default: // as UDP itself would
	}
	return fresh
}
