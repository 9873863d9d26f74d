package streams

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/quic-go/quic-go"
)

// The first byte of a stream, from its dialler. The accepting side of
// receptor-mux/1 answers openByte with openByte.
const (
	openByte   = 0 // this is a stream for the service
	retireByte = 1 // no more streams will come: close the connection after the last one
)

// openingSize is what the dialler of a stream of receptor-mux/1 sends first: its
// byte, and zeros. They make the packet so large (over 42 bytes) that a node
// which has forgotten the connection answers it with a stateless reset.
const openingSize = 32

// opening is what a stream begins with.
func opening(first byte) []byte { return append([]byte{first}, make([]byte, openingSize-1)...) }

// legacyAcceptTimeout is how long a netceptor connection may be without its
// stream, as with existing nodes.
const legacyAcceptTimeout = 60 * time.Second

// openingTimeout bounds the wait for the first bytes of a stream of
// receptor-mux/1. They come in the packet that opens the stream.
const openingTimeout = 15 * time.Second

// serve accepts connections on a transport until that is closed.
func (c *Carrier) serve(t *transport) {
	for {
		q, err := t.listener.Accept(c.ctx)
		if err != nil {
			return // closed, with the carrier or with the last use of the transport
		}
		c.admission.meet(q)
		cn := newConn(c, q, c.localOf(q), endpointOf(q.RemoteAddr()), false)
		if !c.register(cn) {
			c.spawn(func() { cn.close(connBusy, "too many connections") })
			continue
		}
		c.spawn(func() {
			if cn.legacy {
				cn.acceptLegacy()
				return
			}
			cn.acceptStreams()
		})
	}
}

// localOf is the service that a connection was accepted for.
func (c *Carrier) localOf(q *quic.Conn) Endpoint { return endpointOf(q.LocalAddr()) }

// acceptStreams takes the streams of a receptor-mux/1 connection.
func (cn *conn) acceptStreams() {
	for {
		str, err := cn.q.AcceptStream(cn.c.ctx)
		if err != nil {
			return
		}
		// Counted before anything else, so that a later request to retire sees it.
		cn.add()
		if !cn.c.spawn(func() { cn.acceptStream(str) }) {
			return
		}
	}
}

func (cn *conn) acceptStream(str *quic.Stream) {
	in := &Incoming{conn: cn, str: str}
	_ = str.SetReadDeadline(time.Now().Add(openingTimeout)) // never fails
	var first [openingSize]byte
	if _, err := io.ReadFull(str, first[:]); err != nil {
		in.refuse(codeViolation, "")
		return
	}
	_ = str.SetReadDeadline(time.Time{})
	switch first[0] {
	case openByte:
		cn.c.offer(in)
	case retireByte:
		cn.retire()
		in.refuse(codeDone, "")
	default:
		in.refuse(codeViolation, "")
	}
}

// acceptLegacy takes the one stream of a netceptor connection.
func (cn *conn) acceptLegacy() {
	ctx, cancel := context.WithTimeout(cn.c.ctx, legacyAcceptTimeout)
	defer cancel()
	str, err := cn.q.AcceptStream(ctx)
	if err != nil {
		cn.close(connLegacyErr, "Accept Timeout")
		return
	}
	cn.add()
	in := &Incoming{conn: cn, str: str}
	_ = str.SetReadDeadline(time.Now().Add(legacyAcceptTimeout)) // never fails
	var first [1]byte
	_, err = io.ReadFull(str, first[:])
	if err == nil && first[0] != openByte {
		err = errors.New("the first byte is not 0")
	}
	if err != nil {
		in.refuse(codeLegacyStop, "Read Data Error")
		return
	}
	_ = str.SetReadDeadline(time.Time{})
	cn.c.offer(in)
}

// offer hands a stream to the listener of its service.
func (c *Carrier) offer(in *Incoming) {
	l := c.listenerOf(in.conn.local.Service())
	if l == nil {
		in.refuse(codeServiceUnknown, "Listener Closed")
		return
	}
	l.offer(in)
}
