package streams

import (
	"context"
	"net"
	"sync"
	"sync/atomic"

	"github.com/quic-go/quic-go"

	"github.com/project-receptor/receptor/netceptor/mtls"
)

// maxBacklog bounds the streams that wait to be accepted at a service. The
// diallers of more are told that it is busy.
const maxBacklog = 512

// Listener is a bound stream service.
type Listener struct {
	c       *Carrier
	service [8]byte
	server  *mtls.Server // nil: diallers need not prove who they are
	waiting chan *Incoming
	done    chan struct{} // closed by Close

	mu     sync.Mutex // so that nothing is put into waiting after Close has emptied it
	closed bool
}

// Next waits for the next stream. It returns net.ErrClosed after Close.
func (l *Listener) Next(ctx context.Context) (*Incoming, error) {
	select {
	case in := <-l.waiting:
		return in, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Close unbinds the service and refuses the streams that wait; accepted streams
// live on.
func (l *Listener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	close(l.done)
	l.mu.Unlock()
	l.c.unbind(l)
	for {
		select {
		case in := <-l.waiting:
			in.refuse(codeServiceUnknown, "Listener Closed")
		default:
			return nil
		}
	}
}

// offer queues a stream, or refuses it.
func (l *Listener) offer(in *Incoming) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		in.refuse(codeServiceUnknown, "Listener Closed")
		return
	}
	select {
	case l.waiting <- in:
	default:
		in.refuse(codeBusy, "too many streams wait")
	}
}

// Incoming is a stream that waits to be accepted. Whoever has one must Accept
// or Refuse it.
type Incoming struct {
	conn    *conn
	str     *quic.Stream
	settled atomic.Bool
}

// Remote is the dialling endpoint.
func (in *Incoming) Remote() Endpoint { return in.conn.remote }

// Accept takes the stream. It does not block. It fails with ErrReset when the
// dialler has given up.
func (in *Incoming) Accept() (*Stream, error) {
	if in.settled.Swap(true) {
		return nil, net.ErrClosed
	}
	if in.str.Context().Err() != nil {
		err := in.conn.lostBy(context.Cause(in.str.Context()))
		in.drop(codeReset)
		return nil, err
	}
	if !in.conn.legacy {
		if _, err := in.str.Write([]byte{openByte}); err != nil {
			in.drop(codeReset)
			return nil, in.conn.lostBy(err)
		}
	}
	return newStream(in.conn, in.str), nil
}

// Refuse turns it away: the dialler gets ErrRefused. Existing nodes know no
// refusal: their dialler sees its stream cut off.
func (in *Incoming) Refuse() { in.refuse(codeRefused, "refused") }

func (in *Incoming) refuse(code quic.StreamErrorCode, why string) {
	if in.settled.Swap(true) {
		return
	}
	if in.conn.legacy {
		in.conn.c.spawn(func() { in.conn.close(connLegacyErr, why) })
	}
	in.drop(code)
}

func (in *Incoming) drop(code quic.StreamErrorCode) {
	in.str.CancelWrite(code)
	in.str.CancelRead(code)
	in.conn.release()
}
