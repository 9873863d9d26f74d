package control

import (
	"context"
	"errors"
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
	conn, err := ForNode(m.Node, m.TLS).Dial(ctx, node, workService, tlsClient)
	if err == nil {
		return conn, nil
	}
	for _, lasting := range []error{netceptor.ErrServiceUnknown, netceptor.ErrUntrusted, netceptor.ErrBlocked, ErrTLSClient} {
		if errors.Is(err, lasting) {
			return nil, &unwillingError{err}
		}
	}
	return nil, err
}

// unwillingError says that a node is there, and that there is no talking to it.
type unwillingError struct{ error }

// Unwilling tells package workceptor that another try at once would not mend it.
func (*unwillingError) Unwilling() bool { return true }

// Error implements error.
func (e *unwillingError) Error() string {
	return "cannot talk to its control service: " + e.error.Error()
}

// Unwrap returns the error of the dial.
func (e *unwillingError) Unwrap() error { return e.error }

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
