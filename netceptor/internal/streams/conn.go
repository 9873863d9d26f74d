package streams

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/project-receptor/receptor/netceptor/mtls"
)

// conn is a QUIC connection: of receptor-mux/1 with many streams, or of
// netceptor with one.
type conn struct {
	c       *Carrier
	q       *quic.Conn
	local   Endpoint
	remote  Endpoint
	peer    peer // of a dialled connection
	dialled bool
	legacy  bool // netceptor

	server *mtls.Server // of an accepted connection: the profile it was made by; nil: none
	proven mtls.Peer    // whom the certificate of the far side names
	until  time.Time    // when that ends, of an accepted connection; zero: never

	cutOff time.Time // since when there has been no route to the far side; zero: there is. Carrier.mu guards it

	useless chan struct{}          // closed when nobody has a use for it any more
	cause   atomic.Pointer[string] // why we ended it, if it is not for its streams' users to know as their own doing

	mu        sync.Mutex
	open      int       // streams that are not over on this side
	idleSince time.Time // when open became 0
	fullUntil time.Time // the far side has no room for streams until about then
	retired   bool      // takes no new streams
	checked   uint64    // the generation of server's files that let the far side in
	ended     bool      // useless is closed
	opening   map[*opener]struct{}
	hint      error     // what was last said of our packets
	hintTime  time.Time // when
}

// opener is somebody who waits for the far side to accept a stream.
type opener struct{ cancel context.CancelCauseFunc }

func newConn(c *Carrier, q *quic.Conn, local, remote Endpoint, dialled bool) *conn {
	return &conn{
		c: c, q: q, local: local, remote: remote, dialled: dialled,
		legacy:    q.ConnectionState().TLS.NegotiatedProtocol == protoLegacy,
		useless:   make(chan struct{}),
		idleSince: time.Now(),
	}
}

// take reserves a place for a stream that this side opens.
func (cn *conn) take(now time.Time) bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.retired || cn.open >= streamsPerConn || now.Before(cn.fullUntil) || cn.q.Context().Err() != nil {
		return false
	}
	cn.open++
	return true
}

// add counts a stream that the far side opened.
func (cn *conn) add() {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.open++
}

// release takes a stream back that is over on this side.
func (cn *conn) release() {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.open--
	cn.idleSince = time.Now()
	cn.endIfUseless()
}

// retire takes no more streams; an accepted connection ends with its last one.
func (cn *conn) retire() {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.retired = true
	cn.endIfUseless()
}

// retireOnce retires a dialled connection and tells whether it was not before.
func (cn *conn) retireOnce() bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	was := cn.retired
	cn.retired = true
	return !was
}

// endIfUseless ends a connection of netceptor after its stream, and an accepted
// one of receptor-mux/1 when the dialler has asked for it. cn.mu is held.
func (cn *conn) endIfUseless() {
	if cn.open > 0 || cn.ended || (!cn.legacy && (cn.dialled || !cn.retired)) {
		return
	}
	cn.ended = true
	close(cn.useless)
}

// retireIfIdle retires a dialled connection that has had no stream since before.
func (cn *conn) retireIfIdle(before time.Time) bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.retired || cn.open > 0 || cn.idleSince.After(before) {
		return false
	}
	cn.retired = true
	return true
}

func (cn *conn) full(until time.Time) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.fullUntil = until
}

// wait lets a dial that waits for its answer hear of notices, until the context
// is cancelled with nil.
func (cn *conn) wait(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	o := &opener{cancel}
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.opening == nil {
		cn.opening = make(map[*opener]struct{})
	}
	cn.opening[o] = struct{}{}
	return ctx, func() {
		cancel(nil)
		cn.mu.Lock()
		defer cn.mu.Unlock()
		delete(cn.opening, o)
	}
}

// unreachable ends the dials that wait for an answer. Open streams are not ended by
// what nobody vouches for; should they end since nothing is heard of the far side,
// it was probably for this reason.
func (cn *conn) unreachable(why error) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.hint, cn.hintTime = why, time.Now()
	for o := range cn.opening {
		o.cancel(why)
	}
}

// silence describes the end of a connection that was no longer heard of.
func (cn *conn) silence(err error) error {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cause := err.Error()
	if cn.hint != nil && time.Since(cn.hintTime) < 2*idleTimeout {
		cause += ": " + cn.hint.Error()
	}
	return &lostError{cause: cause, timeout: true, conn: true}
}

// watch waits for the end of the connection, or ends it when it is useless.
func (cn *conn) watch() {
	select {
	case <-cn.q.Context().Done():
		return
	case <-cn.useless:
	}
	if cn.legacy {
		// What was written last may still be under way, or unread over there.
		t := time.NewTimer(legacyLinger)
		defer t.Stop()
		select {
		case <-cn.q.Context().Done():
			return
		case <-t.C:
		}
	}
	cn.close(connNormal, normalClose)
}

// abort ends the connection from our side, as a reset for the users of its
// streams. It does not wait.
func (cn *conn) abort(why string) {
	cn.cause.CompareAndSwap(nil, &why)
	cn.c.spawn(func() { cn.close(connReset, why) })
}

func (cn *conn) close(code quic.ApplicationErrorCode, why string) {
	_ = cn.q.CloseWithError(code, why) // always nil
}

// lostBy is the error for a user of a stream that err has ended.
func (cn *conn) lostBy(err error) error {
	if why := cn.cause.Load(); why != nil {
		return &lostError{cause: *why, conn: true}
	}
	var s *quic.StreamError
	if errors.As(err, &s) && !s.Remote {
		return net.ErrClosed
	}
	if cn.c.isClosed() {
		return net.ErrClosed
	}
	if isTimeout(err) {
		return cn.silence(err)
	}
	return lost(err)
}

func (cn *conn) resetCode() quic.StreamErrorCode {
	if cn.legacy {
		return codeLegacyStop
	}
	return codeReset
}

func (cn *conn) stopCode() quic.StreamErrorCode {
	if cn.legacy {
		return codeLegacyStop
	}
	return codeDone
}
