package workceptor

import (
	"context"
	"errors"
	"io"
)

// Mesh is the other nodes, for units that they are to run: WorkMesh of package
// netceptor/control is one. Its methods may be called concurrently.
type Mesh interface {
	// Dial opens a conversation with the control service of a node, by the TLS profile
	// of that name; empty: none. The connection is reset by Reset where it has that.
	// An error that another try at once would not mend says so by a method
	// Unwilling() bool: the node is there, and there is no talking to it, as it has no
	// control service, a firewall is in the way, or one side does not trust the other.
	Dial(ctx context.Context, node, tlsClient string) (io.ReadWriteCloser, error)
	// Profile tells whether there is a TLS profile of that name.
	Profile(tlsClient string) bool
	// Reach tells whether there is a way to a node now, and whether it speaks our own
	// form of the conversation.
	Reach(node string) (reached, ours bool)
	// Await returns when there is a way to the node, or none, as wanted, or with an
	// error when ctx is done.
	Await(ctx context.Context, node string, reachable bool) error
}

// Errors of a Request for another node, for errors.Is.
var (
	// ErrUnknownNode says that there is no way to it, and that nobody wanted to wait.
	ErrUnknownNode = errors.New("no way to node")
	// ErrUnknownTLS says that there is no TLS profile of that name. (The text is that
	// of legacy nodes.)
	ErrUnknownTLS = errors.New("unknown TLS config")
)

// unwilling tells whether err is such that another try at once would not mend it.
func unwilling(err error) bool {
	var e interface{ Unwilling() bool }
	return errors.As(err, &e) && e.Unwilling()
}
