package streams

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/quic-go/quic-go"
)

// dialTries bounds how often a dial begins anew because a shared connection
// turned out to be dead, or its node restarted.
const dialTries = 4

// fullPause is how long a connection is passed over whose far side had no room
// for a stream that this side counted as free.
const fullPause = time.Second

var (
	errRestarted = errors.New("the node has restarted")
	errFull      = errors.New("the connection has no room for another stream")
)

// peer is what streams can share a connection to.
type peer struct {
	endpoint Endpoint
	identity identity
}

// identity is who we are to the far side and whom we take it for. It is empty
// until there are TLS profiles: then their names belong here, since a stream
// must never run over a connection that was made under another one.
type identity struct{}

// pool is the shared connections to a peer. Carrier.mu guards it.
type pool struct {
	conns   []*conn
	dialing *attempt
}

// attempt is a connection being dialled, for one or more that wait for it.
type attempt struct {
	to     peer
	ctx    context.Context
	cancel context.CancelCauseFunc

	waiters int // guarded by Carrier.mu; at 0 the attempt is given up

	done chan struct{} // closed when conn and err are set
	conn *conn         // if it is of netceptor, the one who takes it sets nil (Carrier.mu)
	err  error
}

// Dial opens a stream. It returns when the far side has accepted it, or a legacy
// node has accepted the connection. ErrServiceUnknown, ErrRefused and the
// context's error are told apart.
func (c *Carrier) Dial(ctx context.Context, dst Endpoint) (*Stream, error) {
	if dst.mapped() {
		return nil, ErrServiceUnknown
	}
	to := peer{endpoint: dst, identity: identity{}}
	for tries := 0; ; {
		cn, fresh, err := c.reserve(ctx, to)
		if err == nil {
			var s *Stream
			if s, err = cn.openStream(ctx); err == nil {
				return s, nil
			}
			cn.release()
		}
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, errFull) && !fresh:
			continue // it is passed over for now, and in the end there is one with room
		case errors.Is(err, errFull), errors.Is(err, errRestarted):
		case cn != nil && !fresh && isConnLost(err):
			cn.retire() // it had been dead before, only nobody knew
		default:
			return nil, err
		}
		if tries++; tries == dialTries {
			return nil, err
		}
	}
}

// reserve finds or makes a connection with a place for a stream. fresh tells
// that it was made for this dial.
func (c *Carrier) reserve(ctx context.Context, to peer) (cn *conn, fresh bool, err error) {
	for {
		c.mu.Lock()
		if c.closed || !c.started {
			c.mu.Unlock()
			return nil, false, net.ErrClosed
		}
		if _, ok := c.legacy[to.endpoint.Node()]; ok {
			a := c.newAttempt(to)
			c.mu.Unlock()
			if cn, err := c.await(ctx, a); cn != nil || err != nil {
				return cn, true, err
			}
			continue // it is not legacy any more
		}
		p := c.pools[to]
		if p == nil {
			p = &pool{}
			c.pools[to] = p
		}
		now := time.Now()
		for _, cn := range p.conns {
			if cn.take(now) {
				c.mu.Unlock()
				return cn, fresh, nil
			}
		}
		if p.dialing == nil {
			p.dialing = c.newAttempt(to)
		} else {
			p.dialing.waiters++
		}
		a := p.dialing
		c.mu.Unlock()
		cn, err := c.await(ctx, a)
		if cn != nil || err != nil {
			return cn, true, err
		}
		fresh = true
	}
}

// newAttempt starts dialling, for one who waits; c.mu is held.
func (c *Carrier) newAttempt(to peer) *attempt {
	a := &attempt{to: to, waiters: 1, done: make(chan struct{})}
	a.ctx, a.cancel = context.WithCancelCause(c.ctx)
	c.attempts[a] = struct{}{}
	c.wg.Go(func() { c.connect(a) })
	return a
}

// await waits for an attempt. It returns a netceptor connection to one of those
// who wait, with its place taken, and nil to all others: they look again.
func (c *Carrier) await(ctx context.Context, a *attempt) (*conn, error) {
	select {
	case <-a.done:
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		a.waiters--
		if a.waiters == 0 {
			a.cancel(context.Canceled)
			c.forget(a)
			c.abandon(a)
		}
		return nil, context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	a.waiters--
	cn := a.conn
	if cn == nil || !cn.legacy {
		return nil, a.err
	}
	a.conn = nil
	return cn, nil
}

// abandon closes the netceptor connection of an attempt that nobody waits for
// any more, if there is one; c.mu is held.
func (c *Carrier) abandon(a *attempt) {
	if cn := a.conn; cn != nil && cn.legacy && !c.closed { // Close ends them all
		a.conn = nil
		c.wg.Go(func() { cn.close(connNormal, normalClose) })
	}
}

// forget makes the next dial start another attempt; c.mu is held.
func (c *Carrier) forget(a *attempt) {
	delete(c.attempts, a)
	p := c.pools[a.to]
	if p == nil || p.dialing != a {
		return
	}
	p.dialing = nil
	if len(p.conns) == 0 {
		delete(c.pools, a.to)
	}
}

// connect makes the connection of an attempt.
func (c *Carrier) connect(a *attempt) {
	defer a.cancel(nil)
	cn, err := c.handshake(a)
	c.mu.Lock()
	switch {
	case err != nil:
		a.err = err
	case cn.legacy:
		c.rememberLegacy(a.to.endpoint.Node())
		a.conn = cn
		if a.waiters == 0 {
			c.abandon(a)
		}
	default:
		delete(c.legacy, a.to.endpoint.Node())
		p := c.pools[a.to]
		if p == nil {
			p = &pool{}
			c.pools[a.to] = p
		}
		p.conns = append(p.conns, cn)
	}
	c.forget(a)
	c.mu.Unlock()
	close(a.done)
}

// rememberLegacy notes that a node speaks only netceptor; c.mu is held.
func (c *Carrier) rememberLegacy(node uint64) {
	if len(c.legacy) >= maxLegacyNodes {
		clear(c.legacy)
	}
	c.legacy[node] = struct{}{}
}

// handshake dials QUIC.
func (c *Carrier) handshake(a *attempt) (*conn, error) {
	ctx, cancel := context.WithTimeout(a.ctx, handshakeTimeout)
	defer cancel()
	to := a.to.endpoint
	q, err := c.main.quic.Dial(ctx, to.addr(), c.clientTLS, c.clientQUIC(to.Node()))
	if err != nil {
		cause := context.Cause(a.ctx)
		switch {
		case c.isClosed():
			return nil, net.ErrClosed
		case cause != nil:
			return nil, cause
		case ctx.Err() != nil:
			return nil, &dialError{cause: "timeout: no answer", timeout: true}
		}
		return nil, &dialError{cause: err.Error(), timeout: isTimeout(err)}
	}
	cn := newConn(c, q, c.dialFrom, to, true)
	cn.peer = a.to
	if cn.legacy {
		cn.open = 1
	}
	if !c.register(cn) {
		cn.close(connGoingAway, "the node stops")
		return nil, net.ErrClosed
	}
	return cn, nil
}

// openStream opens a stream in the place that was taken for it. It does not give
// the place back when it fails.
func (cn *conn) openStream(ctx context.Context) (*Stream, error) {
	str, err := cn.q.OpenStream()
	if err != nil {
		var limit *quic.StreamLimitReachedError
		if errors.As(err, &limit) {
			cn.full(time.Now().Add(fullPause))
			return nil, errFull
		}
		return nil, cn.lostBy(err)
	}
	s := newStream(cn, str)
	first := opening(openByte)
	if cn.legacy {
		first = first[:1]
	}
	if _, err := str.Write(first); err != nil {
		return nil, cn.lostBy(err)
	}
	if cn.legacy {
		return s, nil
	}
	giveUp := func() {
		str.CancelWrite(codeReset)
		str.CancelRead(codeReset)
	}
	ctx, done := cn.wait(ctx)
	defer done()
	stop := context.AfterFunc(ctx, giveUp)
	var answer [1]byte
	_, err = io.ReadFull(str, answer[:])
	if !stop() {
		return nil, context.Cause(ctx)
	}
	if err == nil && answer[0] == openByte {
		return s, nil
	}
	giveUp()
	if err == nil {
		return nil, &dialError{cause: fmt.Sprintf("the far side answered %d", answer[0])}
	}
	if refused := refusal(err); refused != nil {
		return nil, refused
	}
	return nil, cn.lostBy(err)
}

// unpool takes a connection out of its pool; c.mu is held.
func (c *Carrier) unpool(cn *conn) {
	p := c.pools[cn.peer]
	if p == nil {
		return
	}
	p.conns = slices.DeleteFunc(p.conns, func(x *conn) bool { return x == cn })
	if len(p.conns) == 0 && p.dialing == nil {
		delete(c.pools, cn.peer)
	}
}

// retireIdle takes the connections out of their pools that have had no stream
// since before, and asks their far sides to close them. Only those know when
// their users have read everything.
func (c *Carrier) retireIdle(before time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pools {
		for _, cn := range slices.Clone(p.conns) {
			if cn.retireIfIdle(before) {
				c.unpool(cn)
				c.wg.Go(cn.askToClose)
			}
		}
	}
}

// askToClose sends the request to close. If the far side has no room for it now,
// its streams end there later or never: then the connection stays until either
// node ends.
func (cn *conn) askToClose() {
	str, err := cn.q.OpenStreamSync(cn.c.ctx)
	if err != nil {
		return // the connection or the carrier has ended
	}
	str.CancelRead(codeDone)
	if _, err := str.Write(opening(retireByte)); err == nil {
		_ = str.Close() // the connection has ended if it fails
	}
}
