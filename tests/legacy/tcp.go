package legacy

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// maxFrame is what the length of a frame can say.
	maxFrame = 65535

	// tlsDialTime bounds connecting with the handshake, tlsAcceptTime the
	// handshake of who has connected: an existing node gives up at its first poll.
	tlsDialTime   = 15 * time.Second
	tlsAcceptTime = time.Second
)

// framed is a session over a byte stream: each message follows its length, 2
// bytes, little-endian.
type framed struct {
	conn net.Conn
	in   *bufio.Reader

	mu  sync.Mutex
	out []byte
}

// NewFramed makes a session of a connection, which it owns.
func NewFramed(conn net.Conn) Session {
	return &framed{conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}
}

func (f *framed) Send(msg []byte) error {
	if len(msg) == 0 || len(msg) > maxFrame {
		return fmt.Errorf("a message of %d bytes has no frame", len(msg))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out = appendFrame(f.out[:0], msg)
	_, err := f.conn.Write(f.out)
	return err
}

func (f *framed) Receive() ([]byte, error) { return readFrame(f.in) }

func (f *framed) Close() error { return f.conn.Close() }

func (f *framed) String() string { return "tcp " + f.conn.RemoteAddr().String() }

func appendFrame(b, msg []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(len(msg)))
	return append(b, msg...)
}

func readFrame(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.LittleEndian.Uint16(length[:]))
	if _, err := io.ReadFull(r, msg); err != nil {
		return nil, fmt.Errorf("within a frame: %w", err)
	}
	return msg, nil
}

// ListenTCP accepts links; t is nil for none without TLS.
func (n *Node) ListenTCP(addr string, c LinkConfig, t *TLS) (*Backend, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	b := n.newBackend(l.Close)
	b.Addr = l.Addr()
	b.start(n, func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if !b.start(n, func() { b.accept(n, conn, c, t) }) {
				conn.Close()
			}
		}
	})
	return b, nil
}

func (b *Backend) accept(n *Node, conn net.Conn, c LinkConfig, t *TLS) {
	if t != nil {
		secure := tls.Server(conn, t.linkServer())
		ctx, cancel := context.WithTimeout(b.ctx, tlsAcceptTime)
		err := secure.HandshakeContext(ctx)
		cancel()
		if err != nil {
			n.note("", "handshake with %v: %v", conn.RemoteAddr(), err)
			conn.Close()
			return
		}
		conn = secure
	}
	b.carry(n, NewFramed(conn), c)
}

// DialTCP makes a link to addr, and again after its end unless redial is false.
func (n *Node) DialTCP(addr string, c LinkConfig, t *TLS, redial bool) *Backend {
	b := n.newBackend(nothing)
	b.start(n, func() {
		b.keep(n, c, redial, func(ctx context.Context) (Session, error) {
			conn, err := dialTCP(ctx, addr, t)
			if err != nil {
				return nil, err
			}
			return NewFramed(conn), nil
		})
	})
	return b
}

func dialTCP(ctx context.Context, addr string, t *TLS) (net.Conn, error) {
	if t == nil {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, tlsDialTime)
	defer cancel()
	return (&tls.Dialer{Config: t.linkClient(host)}).DialContext(ctx, "tcp", addr)
}
