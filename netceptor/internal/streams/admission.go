package streams

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/quic-go/quic-go"
)

// Limits of what others can make us hold by dialling. Each connection takes some
// 40 KB from its first packet on.
const (
	// maxHandshakes bounds the handshakes in progress, of all nodes and of one. It is
	// ten times what a busy node has; each may take handshakeTimeout. Above it a
	// dialler is refused at once.
	maxHandshakes     = 1024
	maxNodeHandshakes = 512

	// retryAbove is the number of them above which a dialler has to show first that
	// it can receive at its address. It costs one round trip, and the other way
	// round it costs us nothing.
	retryAbove = maxHandshakes / 2

	// maxNodeConns bounds the connections that one node has open to us. Existing
	// nodes use one for each stream. Above it a dialler is refused at once.
	maxNodeConns = 8192
)

// admission bounds the connections that others open. The zero value is ready.
type admission struct {
	mu         sync.Mutex
	handshakes int
	nodes      map[uint64]*nodeConns

	retries, handshakesRefused, connsRefused uint64
}

// nodeConns is what one node has open to us.
type nodeConns struct{ handshakes, conns int }

var (
	errHandshakes = errors.New("too many handshakes in progress")
	errNodeConns  = errors.New("too many connections of this node")
)

// visit is a connection, from its first packet on.
type visit struct {
	admission *admission
	node      uint64
	met       bool // the handshake is over; guarded by admission.mu
}

// visitKey is where a connection's context has its visit.
type visitKey struct{}

// verify is quic-go's question whether a dialler has to show its address.
func (a *admission) verify(net.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.handshakes <= retryAbove {
		return false
	}
	a.retries++
	return true
}

// enter is quic-go's question whether a connection may be; ctx ends with it.
func (a *admission) enter(ctx context.Context, client *quic.ClientInfo) (context.Context, error) {
	v := &visit{admission: a, node: endpointOf(client.RemoteAddr).Node()}
	if err := v.begin(); err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, v.end)
	return context.WithValue(ctx, visitKey{}, v), nil
}

func (v *visit) begin() error {
	a := v.admission
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.nodes[v.node]
	if n == nil {
		n = &nodeConns{}
	}
	switch {
	case n.conns >= maxNodeConns:
		a.connsRefused++
		return errNodeConns
	case a.handshakes >= maxHandshakes || n.handshakes >= maxNodeHandshakes:
		a.handshakesRefused++
		return errHandshakes
	}
	if a.nodes == nil {
		a.nodes = make(map[uint64]*nodeConns)
	}
	a.nodes[v.node] = n
	n.conns++
	n.handshakes++
	a.handshakes++
	return nil
}

// meet notes that the handshake of a connection is over.
func (a *admission) meet(q *quic.Conn) {
	if v, ok := q.Context().Value(visitKey{}).(*visit); ok {
		a.mu.Lock()
		defer a.mu.Unlock()
		v.meet()
	}
}

// meet is called with admission.mu held.
func (v *visit) meet() {
	if !v.met {
		v.met = true
		v.admission.handshakes--
		v.admission.nodes[v.node].handshakes--
	}
}

func (v *visit) end() {
	a := v.admission
	a.mu.Lock()
	defer a.mu.Unlock()
	v.meet()
	n := a.nodes[v.node]
	if n.conns--; n.conns == 0 {
		delete(a.nodes, v.node)
	}
}

// Counters are how many connections of others were refused, and how many had to
// show their address, by the names that status has for them.
func (c *Carrier) Counters() map[string]uint64 {
	a := &c.admission
	a.mu.Lock()
	defer a.mu.Unlock()
	return map[string]uint64{
		"stream_retries":             a.retries,
		"stream_handshakes_refused":  a.handshakesRefused,
		"stream_connections_refused": a.connsRefused,
	}
}
