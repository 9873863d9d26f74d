package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/mtls"
)

// Mesh is what the commands of this package need of a node. ForNode makes one;
// controltest has a fake.
type Mesh interface {
	NodeID() string
	Status() netceptor.Status
	Ping(ctx context.Context, node string, hops uint8) (netceptor.PingResult, error)
	// Dial opens a stream by the TLS profile of that name; empty: none.
	Dial(ctx context.Context, node, service, tlsClient string) (Stream, error)
	Explain(node, service string) netceptor.Explanation
}

// Stream is a stream through the mesh: Close ends both directions in order,
// CloseWrite one, Reset aborts both.
type Stream interface {
	net.Conn
	CloseWrite() error
	Reset() error
}

// ErrTLSClient is the error of a Dial by a TLS profile that is not there.
var ErrTLSClient = errors.New("unknown TLS config")

// ForNode makes a Mesh of a node and its TLS profiles, which may be nil.
func ForNode(n *netceptor.Node, tls *mtls.Set) Mesh { return nodeMesh{n, tls} }

type nodeMesh struct {
	*netceptor.Node
	tls *mtls.Set
}

// Dial implements Mesh.
func (m nodeMesh) Dial(ctx context.Context, node, service, tlsClient string) (Stream, error) {
	profile, err := m.tls.Client(tlsClient)
	if err != nil {
		return nil, fmt.Errorf("%w %s", ErrTLSClient, tlsClient)
	}
	c, err := m.DialWith(ctx, node, service, netceptor.DialOptions{TLS: profile})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// NodeCommands returns the commands of a node: ping, traceroute, status, connect
// and explain, of which connect may name the TLS profiles. What extra returns, if set, joins the status of our own form under its
// keys; it is called from any conversation, and must not block.
func NodeCommands(n *netceptor.Node, tls *mtls.Set, extra func() map[string]any) []Command {
	return MeshCommands(ForNode(n, tls), extra)
}

// MeshCommands is NodeCommands for any Mesh. The uptime in status counts from
// this call.
func MeshCommands(m Mesh, extra func() map[string]any) []Command {
	s := statusCommand{mesh: m, extra: extra, started: time.Now()}
	p := pingCommand{mesh: m}
	t := tracerouteCommand{mesh: m}
	c := connectCommand{mesh: m}
	e := explainCommand{mesh: m}
	return []Command{
		{Name: "ping", Plain: p.plain, Own: p.own},
		{Name: "traceroute", Plain: t.plain, Own: t.own},
		{Name: "status", Plain: s.plain, Own: s.own},
		{Name: "connect", Plain: c.plain, Own: c.own},
		{Name: "explain", Plain: e.plain, Own: e.own},
	}
}
