package workceptor

import (
	"context"
	"errors"
	"io"
)

// Mesh is the other nodes, for units that they are to run. Its methods may be called
// concurrently.
type Mesh interface {
	// Dial opens a conversation with the control service of a node, by the TLS profile
	// of that name; empty: none. The connection is reset by Reset where it has that.
	// What another try at once would not mend is ErrUnwilling.
	Dial(ctx context.Context, node, tlsClient string) (io.ReadWriteCloser, error)
	// Check tells why a Dial could not be: ErrUnknownNode if only because there is no
	// way to the node now.
	Check(node, tlsClient string) error
	// Ours tells whether a node speaks our own form of the conversation.
	Ours(node string) bool
	// Await returns when there is a way to the node, or none, as wanted, or with an
	// error when ctx is done.
	Await(ctx context.Context, node string, reachable bool) error
}

// ErrUnknownNode says that there is no way to a node, and that nobody wanted to wait.
var ErrUnknownNode = errors.New("no way to node")

// ErrUnwilling says that a node is there, and that there is no talking to it: it has no
// control service, a firewall is in the way, or one side does not trust the other.
var ErrUnwilling = errors.New("cannot talk to its control service")
