package streams

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/quic-go/quic-go"

	"github.com/project-receptor/receptor/netceptor/mtls"
)

// Times of connections.
const (
	// handshakeTimeout is that of existing nodes.
	handshakeTimeout = 15 * time.Second
	// idleTimeout is how long the far side may be silent. The smaller one of both
	// sides counts; existing nodes have 30 s.
	idleTimeout = 60 * time.Second
	// keepAlive is how often a dialler makes itself heard.
	keepAlive = 15 * time.Second
	// poolIdle is how long a shared connection is kept without streams.
	poolIdle = 30 * time.Second
	// cutOffLimit is how long a connection outlives the route to its node: long
	// enough for a lost link to be dialled again, or a way round it to be found, even
	// where both ends took their time; short enough for users to learn of a node that
	// has gone. It is seen up to two poolChecks late.
	cutOffLimit = 20 * time.Second
	// poolCheck is how often both are looked at.
	poolCheck = 5 * time.Second
	// legacyLinger is how long a netceptor connection is kept after its stream:
	// closing it takes from the far side what that has not read yet.
	legacyLinger = 15 * time.Second
)

// Flow control. Credit is not memory: a window grows only while its stream is read.
const (
	// streamsPerConn is how many streams share a connection. They share its run
	// loop and its congestion window, so more than a few dozen gain nothing.
	streamsPerConn = 32
	// incomingStreams is what a dialler may have open as the accepting side counts,
	// where a stream lasts until it is over on that side too.
	incomingStreams = 2 * streamsPerConn

	initialStreamWindow = 256 << 10
	maxStreamWindow     = 4 << 20
)

// connWindow is a connection's window, so large that streams which nobody reads
// never hold up others. quic-go renews a window when a quarter of it has been
// read, so all streams together may hold no more than three quarters.
func connWindow(maxStream uint64) uint64 { return incomingStreams * maxStream * 3 / 2 }

// maxConns bounds the connections of a node. Each takes some 40 KB.
const maxConns = 32768

// maxLegacyNodes bounds the nodes that are remembered as legacy. Over it all are
// forgotten, which costs one dial each to learn again.
const maxLegacyNodes = 4096

// legacyPacketSize is the largest packet that existing nodes send, and with no
// path MTU discovery the largest that is sent to them.
const legacyPacketSize = 1200

// Carrier is the streams of one node. Its methods may be called concurrently.
type Carrier struct {
	conf      Config
	log       hclog.Logger
	dialFrom  Endpoint
	serverTLS *tls.Config
	clientTLS *tls.Config

	ctx    context.Context // ends with Close; of all the goroutines here
	cancel context.CancelFunc
	wg     sync.WaitGroup

	initialWindow, maxWindow uint64 // of streams; tests have others

	admission admission

	main *transport // set by Start: dials; accepts for all services if it is fast
	fast bool

	mu       sync.RWMutex
	started  bool
	closed   bool
	services map[[8]byte]*service
	conns    map[*conn]struct{}
	pools    map[peer]*pool
	attempts map[*attempt]struct{}
	legacy   map[uint64]struct{} // nodes that speak only netceptor
}

// service is a local service, as long as it is bound or has connections.
type service struct {
	listener  *Listener  // nil when it is not bound
	transport *transport // nil unless basic
	conns     int        // accepted
}

// New prepares a carrier; Start brings it to life.
func New(conf Config) (*Carrier, error) {
	if conf.Send == nil {
		return nil, errors.New("streams: Config.Send is missing")
	}
	cert, err := newCertificate()
	if err != nil {
		return nil, err
	}
	c := &Carrier{
		conf:          conf,
		log:           conf.Logger,
		dialFrom:      MakeEndpoint(conf.Self, randomService()),
		clientTLS:     clientTLS(),
		initialWindow: initialStreamWindow,
		maxWindow:     maxStreamWindow,
		services:      make(map[[8]byte]*service),
		conns:         make(map[*conn]struct{}),
		pools:         make(map[peer]*pool),
		attempts:      make(map[*attempt]struct{}),
		legacy:        make(map[uint64]struct{}),
	}
	c.serverTLS = serverTLS(cert)
	c.serverTLS.GetConfigForClient = c.serverConfig
	if c.log == nil {
		c.log = hclog.NewNullLogger()
	}
	return c, nil
}

// randomService makes an ephemeral service name as existing nodes do.
func randomService() (s [8]byte) {
	copy(s[:], rand.Text()) // upper case letters and digits: 40 bits
	return s
}

// DialService is the ephemeral service that this node dials from.
func (c *Carrier) DialService() [8]byte { return c.dialFrom.Service() }

// Start starts the carrier's goroutines.
func (c *Carrier) Start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.started || c.closed {
		return errors.New("streams: started before")
	}
	if err := c.openMain(); err != nil {
		return err
	}
	c.started = true
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.wg.Go(func() { c.serve(c.main) })
	c.wg.Go(c.tend)
	return nil
}

// openMain makes the transport that dials, the fast one if that can be.
func (c *Carrier) openMain() error {
	if !c.conf.Basic {
		err := c.openFast()
		if err == nil {
			return nil
		}
		c.log.Warn("streams use the slow packet connection", "error", err)
	}
	t, err := c.newTransport(newBasicConn(c.dialFrom, c.conf.Send))
	c.main = t
	return err
}

func (c *Carrier) openFast() error {
	pc, err := newFastConn(c.dialFrom, c.conf.Send)
	if err != nil {
		return err
	}
	t, err := c.newTransport(pc)
	if err != nil {
		return err
	}
	c.main, c.fast = t, true
	return nil
}

// Close ends all streams, as resets for their far sides, and waits.
func (c *Carrier) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		c.wg.Wait()
		return nil
	}
	c.closed = true
	started := c.started
	var listeners []*Listener
	for _, s := range c.services {
		if s.listener != nil {
			listeners = append(listeners, s.listener)
		}
	}
	conns := make([]*conn, 0, len(c.conns))
	for cn := range c.conns {
		conns = append(conns, cn)
	}
	c.mu.Unlock()
	if !started {
		return nil
	}
	for _, l := range listeners {
		_ = l.Close() // nil
	}
	var closing sync.WaitGroup
	for _, cn := range conns {
		closing.Go(func() { cn.close(connGoingAway, "the node stops") })
	}
	closing.Wait()
	c.cancel()
	c.main.close()
	c.wg.Wait()
	return nil
}

func (c *Carrier) isClosed() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.closed
}

// spawn runs f in a goroutine that Close waits for, unless Close has begun.
func (c *Carrier) spawn(f func()) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed || !c.started {
		return false
	}
	c.wg.Go(f)
	return true
}

// tend retires the shared connections that nobody uses, and ends those whose node
// has gone.
func (c *Carrier) tend() {
	t := time.NewTicker(poolCheck)
	defer t.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case now := <-t.C:
			c.retireIdle(now.Add(-poolIdle))
			if c.conf.Reached != nil {
				c.endCutOff(now, c.conf.Reached)
			}
		}
	}
}

// Deliver takes a message that arrived for a service of this node that is no
// datagram service. It copies the payload and never blocks. It returns false if the
// sender is to be told that there is no such service: it is not bound and the
// message is no packet of QUIC or would open a connection, or nothing is left there
// that the packet could belong to. In the last case it is processed all the same,
// since quic-go answers it with a stateless reset. That ends the connection at the
// far side at once and cannot be forged, while the notice is what existing nodes
// understand.
func (c *Carrier) Deliver(src, dst Endpoint, payload []byte, ecn uint8) bool {
	kind := kindOf(payload)
	c.mu.RLock()
	defer c.mu.RUnlock()
	if !c.started || c.closed {
		return false
	}
	if dst == c.dialFrom {
		if kind == kindOpening {
			return false
		}
		if kind == kindOther && !src.mapped() {
			c.main.conn.put(src, dst, payload, ecn)
		}
		return true
	}
	s := c.services[dst.Service()]
	if kind != kindOther && (s == nil || s.listener == nil) {
		return false
	}
	if kind == kindJunk || src.mapped() {
		return s != nil // dropped: quic-go would make nothing of it
	}
	t := c.main
	if s != nil && s.transport != nil {
		t = s.transport
	}
	t.conn.put(src, dst, payload, ecn)
	return s != nil
}

// Unreachable tells of a notice about a packet from one of our services: why is
// ErrServiceUnknown or another reason. Notices are not authenticated, so they end
// only what cannot be told otherwise: dials that wait for a first answer, and
// netceptor connections whose dialler is gone.
func (c *Carrier) Unreachable(src, dst Endpoint, why error) {
	unknown := errors.Is(why, ErrServiceUnknown)
	c.mu.RLock()
	var gone []*conn
	for a := range c.attempts {
		if a.to.endpoint == dst && src == c.dialFrom {
			a.cancel(why)
		}
	}
	for cn := range c.conns {
		switch {
		case cn.local != src || cn.remote != dst:
		case unknown && cn.legacy && !cn.dialled:
			gone = append(gone, cn)
		case !unknown && cn.dialled: // a service that is gone resets the connection, which cannot be forged
			cn.unreachable(why)
		}
	}
	c.mu.RUnlock()
	for _, cn := range gone {
		cn.abort("the dialler is gone")
	}
}

// Restarted tells that a node is a new process: streams with the old one end
// as resets at once, and dials begin anew.
func (c *Carrier) Restarted(node uint64) {
	c.mu.Lock()
	delete(c.legacy, node)
	var gone []*conn
	for a := range c.attempts {
		if a.to.endpoint.Node() == node {
			a.cancel(errRestarted)
		}
	}
	for cn := range c.conns {
		if cn.remote.Node() == node {
			gone = append(gone, cn)
		}
	}
	c.mu.Unlock()
	for _, cn := range gone {
		cn.abort("the node has restarted")
	}
}

// endCutOff ends the connections to whose node there has been no route for long.
// Their streams end as resets, instead of waiting for the idle time-out.
func (c *Carrier) endCutOff(now time.Time, reached func(node uint64) bool) {
	var gone []*conn
	c.mu.Lock()
	for cn := range c.conns {
		switch {
		case reached(cn.remote.Node()):
			cn.cutOff = time.Time{}
		case cn.cutOff.IsZero():
			cn.cutOff = now
		case now.Sub(cn.cutOff) >= cutOffLimit:
			gone = append(gone, cn)
		}
	}
	c.mu.Unlock()
	for _, cn := range gone {
		cn.abort("there is no route to the node any more")
	}
}

// Listen binds a stream service.
func (c *Carrier) Listen(name [8]byte) (*Listener, error) { return c.ListenTLS(name, nil) }

// ListenTLS is Listen with a TLS profile; nil: diallers need not prove who they are.
func (c *Carrier) ListenTLS(name [8]byte, server *mtls.Server) (*Listener, error) {
	at := MakeEndpoint(c.conf.Self, name)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch s := c.services[name]; {
	case c.closed || !c.started:
		return nil, net.ErrClosed
	case at == c.dialFrom, s != nil && s.listener != nil:
		return nil, ErrInUse
	case at.mapped():
		return nil, errors.New("this service name cannot be used on this node")
	case s == nil:
		s = &service{}
		if !c.fast {
			t, err := c.newTransport(newBasicConn(at, c.conf.Send))
			if err != nil {
				return nil, fmt.Errorf("binding the service: %w", err)
			}
			s.transport = t
			c.wg.Go(func() { c.serve(t) })
		}
		c.services[name] = s
	}
	l := &Listener{
		c: c, service: name, server: server,
		waiting: make(chan *Incoming, maxBacklog),
		done:    make(chan struct{}),
	}
	c.services[name].listener = l
	return l, nil
}

func (c *Carrier) listenerOf(name [8]byte) *Listener {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if s := c.services[name]; s != nil {
		return s.listener
	}
	return nil
}

func (c *Carrier) unbind(l *Listener) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.services[l.service]
	s.listener = nil
	c.drop(l.service, s)
}

// drop forgets a service that is neither bound nor has connections; c.mu is held.
func (c *Carrier) drop(name [8]byte, s *service) {
	if s.listener != nil || s.conns > 0 {
		return
	}
	delete(c.services, name)
	if s.transport != nil {
		c.wg.Go(s.transport.close)
	}
}

// register keeps a connection until it ends. It returns false when the carrier
// is closed or has too many.
func (c *Carrier) register(cn *conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.conns) >= maxConns {
		return false
	}
	c.conns[cn] = struct{}{}
	if !cn.dialled {
		name := cn.local.Service()
		s := c.services[name]
		if s == nil { // unbound since the handshake began: its streams are refused
			s = &service{}
			c.services[name] = s
		}
		s.conns++
	}
	c.wg.Go(func() {
		cn.watch()
		c.unregister(cn)
	})
	return true
}

func (c *Carrier) unregister(cn *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, cn)
	if cn.dialled {
		c.unpool(cn)
		return
	}
	s := c.services[cn.local.Service()]
	s.conns--
	c.drop(cn.local.Service(), s)
}

// clientQUIC is for dialling a node.
func (c *Carrier) clientQUIC(node uint64) *quic.Config {
	q := c.quicConfig(node)
	q.KeepAlivePeriod = keepAlive
	q.MaxIncomingStreams = -1
	return q
}

// serverQUIC is for accepting.
func (c *Carrier) serverQUIC() *quic.Config {
	return &quic.Config{
		GetConfigForClient: func(i *quic.ClientInfo) (*quic.Config, error) {
			q := c.quicConfig(endpointOf(i.RemoteAddr).Node())
			q.MaxIncomingStreams = incomingStreams
			return q, nil
		},
	}
}

func (c *Carrier) quicConfig(node uint64) *quic.Config {
	q := &quic.Config{
		HandshakeIdleTimeout:           handshakeTimeout,
		MaxIdleTimeout:                 idleTimeout,
		InitialStreamReceiveWindow:     c.initialWindow,
		MaxStreamReceiveWindow:         c.maxWindow,
		InitialConnectionReceiveWindow: connWindow(c.maxWindow),
		MaxConnectionReceiveWindow:     connWindow(c.maxWindow),
		MaxIncomingUniStreams:          -1,
	}
	if !c.fast || c.conf.Modern == nil || !c.conf.Modern(node) {
		q.InitialPacketSize = legacyPacketSize
		q.DisablePathMTUDiscovery = true
	}
	return q
}
