package backendudp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-receptor/receptor/plug"
)

const (
	// bufferSize is the room for what one call receives at once: a datagram, or as many
	// of one source as the kernel puts together.
	bufferSize = 64 << 10

	// socketBuffer is what the socket of an item should hold in the kernel. It may
	// allow less.
	socketBuffer = 4 << 20

	// largestPacket is the largest message that streams make: a packet of QUIC, 1,452
	// bytes at most (ours send less), in a data message. What is no larger is never cut into fragments,
	// as streams find out what the way takes; what is larger, is of others.
	largestPacket = 1_500
)

// mayFragment tells whether a message that is larger than the way takes in one piece
// may go in several.
func mayFragment(msg []byte) bool { return msg[0] != typeData || len(msg) > largestPacket }

// socket is the UDP socket of an item. It may be sent on from any goroutine, and
// received from by one.
type socket struct {
	conn    *plug.UDPSocket
	count   func(name string, n uint64)
	refused func() // called when nobody listens where something was sent to; nil: nobody asks

	waiting atomic.Int64 // bytes in the inboxes of its flows

	wholeness sync.RWMutex // held for writing while datagrams may be cut into fragments
	system                 // what belongs to the operating system
}

// newSocket prepares c, which it owns.
func newSocket(c *plug.UDPSocket, count func(string, uint64), refused func()) (*socket, error) {
	s := &socket{conn: c, count: count, refused: refused}
	// How much room there is, is the system's to say: with less, more is lost.
	_ = c.SetReadBuffer(socketBuffer)
	_ = c.SetWriteBuffer(socketBuffer)
	if err := s.prepare(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return s, nil
}

// received is called with datagrams that came at once from one address: b is cut
// into pieces of that size, the last of which may be shorter. It must not retain b.
type received func(from netip.AddrPort, b []byte, size int)

// addrPort is an address as flows are sorted by.
func addrPort(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// run receives until ctx is done or the socket is closed.
func (s *socket) run(ctx context.Context, each received) error {
	defer context.AfterFunc(ctx, func() { _ = s.conn.SetReadDeadline(time.Unix(1, 0)) })()
	backoff := plug.Backoff{Min: time.Millisecond, Max: time.Second}
	for {
		err := s.receive(each)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			backoff.Reset()
		case errors.Is(err, net.ErrClosed):
			return err
		case backoff.Wait(ctx) != nil: // of one datagram, or of the system: the socket lives
			return nil
		}
	}
}
