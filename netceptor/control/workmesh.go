package control

import (
	"context"
	"io"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/mtls"
)

// workService is where other nodes are asked to run units, as with legacy nodes.
const workService = "control"

// WorkMesh is a node as its units of work see it: the other nodes, which it asks to
// run some at their service "control". It is the Mesh of package workceptor.
type WorkMesh struct {
	Node *netceptor.Node
	TLS  *mtls.Set // profiles for the way there; nil: none
}

// Dial opens a conversation with a node by the TLS profile of that name; empty: none.
func (m WorkMesh) Dial(ctx context.Context, node, tlsClient string) (io.ReadWriteCloser, error) {
	return ForNode(m.Node, m.TLS).Dial(ctx, node, workService, tlsClient)
}

// Profile tells whether there is a TLS profile of that name.
func (m WorkMesh) Profile(tlsClient string) bool {
	_, err := m.TLS.Client(tlsClient)
	return err == nil
}

// Reach tells whether there is a way to a node now, and whether it is one of ours.
func (m WorkMesh) Reach(node string) (reached, ours bool) {
	e := m.Node.Explain(node, workService)
	return len(e.Path) > 0, e.Ours
}

// Await returns when there is a way to the node, or none, as wanted, or with an error
// when ctx is done.
func (m WorkMesh) Await(ctx context.Context, node string, reachable bool) error {
	return m.Node.WaitFor(ctx, func(s netceptor.Status) bool {
		_, is := s.RoutingTable[node]
		return is == reachable
	})
}
