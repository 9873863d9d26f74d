package control

import (
	"context"
	"net"
	"time"

	"github.com/project-receptor/receptor/netceptor"
)

// Mesh is what the commands of this package need of a node. ForNode makes one;
// controltest has a fake.
type Mesh interface {
	NodeID() string
	Status() netceptor.Status
	Ping(ctx context.Context, node string, hops uint8) (netceptor.PingResult, error)
	Dial(ctx context.Context, node, service string) (Stream, error)
	Explain(node, service string) netceptor.Explanation
}

// Stream is a stream through the mesh: Close ends both directions in order,
// CloseWrite one, Reset aborts both.
type Stream interface {
	net.Conn
	CloseWrite() error
	Reset() error
}

// ForNode makes a Mesh of a node.
func ForNode(n *netceptor.Node) Mesh { return nodeMesh{n} }

type nodeMesh struct{ *netceptor.Node }

// Dial implements Mesh. It exists since a nil *netceptor.Conn is not a nil Stream.
func (m nodeMesh) Dial(ctx context.Context, node, service string) (Stream, error) {
	c, err := m.Node.Dial(ctx, node, service)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// NodeCommands returns the commands of a node: ping, traceroute, status, connect
// and explain. What extra returns, if set, joins the status of our own form under its
// keys; it is called from any conversation, and must not block.
func NodeCommands(n *netceptor.Node, extra func() map[string]any) []Command {
	return MeshCommands(ForNode(n), extra)
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
