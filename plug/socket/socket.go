// Package socket is about the Unix sockets of a node: where they are, how they
// are made so that nobody else can squat on them, and who is at the other end.
package socket

import (
	"context"
	"errors"
	"net"
	"os"
)

var errStub = errors.New("not built yet")

// PlugName and ControlName are the file names in a node's runtime directory.
const (
	PlugName    = "plug.sock"
	ControlName = "control.sock"
)

// Dir is the runtime directory of a node: /run/receptor/<node> for root or
// under systemd's RUNTIME_DIRECTORY, else $XDG_RUNTIME_DIR/receptor/<node>,
// else receptor-<uid>/<node> below the temporary directory.
func Dir(node string) string { return "" }

// NodeDir is the directory name of a node: the ID itself where that is a safe
// file name, else h- and 16 hexadecimal digits of hash(id).
func NodeDir(node string, hash uint64) string { return "" }

// Find lists the sockets called name (PlugName or ControlName) of the nodes
// running here that the caller could see, sorted by path.
func Find(name string) []string { return nil }

// Options are the rights of a socket that Listen makes.
type Options struct {
	Mode  os.FileMode // of the socket; 0: 0660
	Group int         // owning group; -1: unchanged
}

// Listen makes a Unix socket at path: it makes the parent directory if needed
// (0750), refuses one that others can write, takes a lock on path+".lock" so
// that two cores never share one, replaces a stale socket and nothing else, and
// removes socket and lock when the listener is closed. ErrLocked means that a
// process is there.
func Listen(path string, o Options) (net.Listener, error) { return nil, errStub }

// ErrLocked is returned by Listen when another process holds the socket.
var ErrLocked = errors.New("socket is in use by another process")

// Cred is who is at the other end of a Unix connection.
type Cred struct {
	UID, GID uint32
	Groups   []uint32 // supplementary, where the system tells
	PID      int
	Known    bool // false where the system cannot tell; trust is the directory's rights then
}

// PeerCred asks the system who is at the other end of c.
func PeerCred(c net.Conn) (Cred, error) { return Cred{}, errStub }

// Dial connects to a plug or control socket.
func Dial(ctx context.Context, path string) (net.Conn, error) { return nil, errStub }
