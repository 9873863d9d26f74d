// Package socket is about the Unix sockets of a node: where they are, how they
// are made so that nobody else can squat on them, and who is at the other end.
//
// A path is as trustworthy as the directories above it. So a socket is made
// only where nobody but its owner and root could replace it, and both ends
// check whom they got: the core by its policy, whoever dials by the owner of
// the socket's directory.
package socket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// PlugName and ControlName are the file names in a node's runtime directory.
const (
	PlugName    = "plug.sock"
	ControlName = "control.sock"
)

// ErrLocked is returned by Listen and Lock when another process holds what they want.
var ErrLocked = errors.New("in use by another process")

// Lock takes the lock that is the file path, which it makes if it is not there, until
// Close or the end of the process. It does not wait: ErrLocked.
func Lock(path string) (io.Closer, error) {
	l, err := acquire(path)
	if err != nil {
		return nil, err
	}
	return l, nil
}

var safeName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,39}$`)

// NodeDir is the directory name of a node: the ID itself where that is a safe
// file name, else h- and 16 hexadecimal digits of hash(id).
func NodeDir(node string, hash uint64) string {
	if safeName.MatchString(node) {
		return node
	}
	return fmt.Sprintf("h-%016x", hash)
}

// Dir is the runtime directory of a node, by its name of NodeDir:
// /run/receptor/<node> for root or under systemd's RUNTIME_DIRECTORY, else
// $XDG_RUNTIME_DIR/receptor/<node>, else receptor-<uid>/<node> below the
// temporary directory.
func Dir(node string) string {
	if d := systemdDir(); d != "" {
		if filepath.Base(d) == node { // RuntimeDirectory=receptor/<node>
			return d
		}
		return filepath.Join(d, node)
	}
	if os.Getuid() == 0 {
		return filepath.Join(systemRoot(), node)
	}
	if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" {
		return filepath.Join(d, "receptor", node)
	}
	return filepath.Join(tempRoot(), node)
}

// systemdDir is the first of RUNTIME_DIRECTORY, which systemd sets for a unit
// with RuntimeDirectory=.
func systemdDir() string {
	first, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":")
	return first
}

func systemRoot() string {
	if runtime.GOOS == "linux" {
		return "/run/receptor"
	}
	return "/var/run/receptor"
}

func tempRoot() string {
	if uid := os.Getuid(); uid >= 0 {
		return filepath.Join(os.TempDir(), "receptor-"+strconv.Itoa(uid))
	}
	return filepath.Join(os.TempDir(), "receptor") // no uids: the directory is the user's own
}

// Find lists the sockets called name (PlugName or ControlName) of the nodes
// running here that the caller could see, sorted by path. Where it sees more
// than one, those that nobody serves any more are left out.
func Find(name string) []string {
	roots := []string{systemRoot()}
	if d := systemdDir(); d != "" {
		roots = append(roots, d, filepath.Dir(d))
	}
	if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" {
		roots = append(roots, filepath.Join(d, "receptor"))
	}
	if d := tempRoot(); checkOwner(d) == nil {
		roots = append(roots, d)
	}
	return find(roots, name)
}

func find(roots []string, name string) []string {
	var found []string
	for _, root := range roots {
		nodes, err := os.ReadDir(root)
		if err != nil {
			continue // not there, or not for us to see
		}
		for _, node := range nodes {
			path := filepath.Join(root, node.Name(), name)
			if i, err := os.Lstat(path); err == nil && isSocket(i) {
				found = append(found, path)
			}
		}
	}
	slices.Sort(found)
	found = slices.Compact(found)
	if len(found) > 1 {
		found = slices.DeleteFunc(found, abandoned)
	}
	return found
}

// abandoned says whether nobody serves the socket any more.
func abandoned(path string) bool {
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = c.Close() // only looked whether it is there
	}
	return isRefused(err)
}

// Options are the rights of a socket that Listen makes.
type Options struct {
	Mode  os.FileMode // of the socket; 0: 0660
	Group int         // owning group; -1: unchanged
}

// Listen makes a Unix socket at path: it makes the parent directory if needed
// (0750), refuses one that others can write, takes a lock on path+".lock" so
// that two cores never share one, replaces a stale socket and nothing else, and
// removes socket and lock when the listener is closed. ErrLocked means that a
// process is there. The rights are set before anybody can connect.
func Listen(path string, o Options) (net.Listener, error) {
	if o.Mode == 0 {
		o.Mode = 0o660
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	if err := checkLength(path); err != nil {
		return nil, err
	}
	if err := makeParent(filepath.Dir(path), o.Group); err != nil {
		return nil, fmt.Errorf("make socket %s: %w", path, err)
	}
	lock, err := acquire(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("make socket %s: %w", path, err)
	}
	l, err := replace(path, o)
	if err != nil {
		return nil, fmt.Errorf("make socket %s: %w", path, errors.Join(err, lock.Close()))
	}
	return &listener{UnixListener: l, path: path, lock: lock}, nil
}

// ListenShared makes a Unix socket for applications, at a path in a directory that
// is there, whoever may write to it. It replaces a socket that nobody serves any
// more, and nothing else: a live one, a file, a directory or a link stays, and is
// the error. The rights are set before anybody can connect. Closing the listener
// leaves the path, since others may hold duplicates of the socket.
func ListenShared(path string, o Options) (*net.UnixListener, error) {
	if err := checkLength(path); err != nil {
		return nil, err
	}
	if i, err := os.Lstat(path); err == nil && isSocket(i) && !abandoned(path) {
		return nil, fmt.Errorf("make socket %s: %w", path, ErrLocked)
	}
	l, err := replace(path, o)
	if err != nil {
		return nil, fmt.Errorf("make socket %s: %w", path, err)
	}
	return l, nil
}

// IsSocket tells whether there is a socket at path, served or not.
func IsSocket(path string) bool {
	i, err := os.Lstat(path)
	return err == nil && isSocket(i)
}

// replace listens at path, where a stale socket may lie.
func replace(path string, o Options) (*net.UnixListener, error) {
	switch i, err := os.Lstat(path); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, err
	case !isSocket(i):
		return nil, errors.New("something that is not a socket is there; it is not touched")
	default:
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove stale socket: %w", err)
		}
	}
	return listen(path, o)
}

// Dial connects to a plug or control socket. It refuses a socket that is
// served by somebody other than root, the caller's user, and the owner of the
// directory that it is in.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	if err := checkLength(path); err != nil {
		return nil, err
	}
	c, err := dial(ctx, path)
	if err != nil {
		return nil, err
	}
	if err := checkServer(c, path); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// DialShared connects to a socket of an application, whoever serves it.
func DialShared(ctx context.Context, path string) (net.Conn, error) {
	if err := checkLength(path); err != nil {
		return nil, err
	}
	return dial(ctx, path)
}

// dial connects, and waits where the server's backlog is full, which Unix
// sockets tell at once.
func dial(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	for {
		c, err := d.DialContext(ctx, "unix", path)
		if !isFull(err) {
			return c, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func checkServer(c net.Conn, path string) error {
	cred, err := PeerCred(c)
	if err != nil || !cred.Known {
		return err
	}
	if cred.UID == 0 || int(cred.UID) == os.Getuid() {
		return nil
	}
	owner, err := dirOwner(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("check the owner of %s: %w", path, err)
	}
	if cred.UID != owner {
		return fmt.Errorf("socket %s is served by uid %d, but its directory is uid %d's: not trusted", path, cred.UID, owner)
	}
	return nil
}

// checkLength refuses a path that the system's socket address cannot hold.
func checkLength(path string) error {
	limit := 107
	if runtime.GOOS != "linux" && runtime.GOOS != "windows" {
		limit = 103
	}
	if len(path) > limit {
		return fmt.Errorf("socket path of %d bytes is too long, the system takes %d: %s", len(path), limit, path)
	}
	return nil
}
