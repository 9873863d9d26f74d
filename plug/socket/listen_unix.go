//go:build unix

package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

func isSocket(i fs.FileInfo) bool { return i.Mode().Type() == os.ModeSocket }

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

func isFull(err error) bool { return errors.Is(err, syscall.EAGAIN) }

// backlog is as many connections as may wait; the kernel's own limit is below
// it. Each stream is a connection, and hundreds may come at once.
const backlog = 4096

// listen binds, sets the rights and only then listens, so that nobody connects
// under rights that the umask happened to leave.
func listen(path string, o Options) (*net.UnixListener, error) {
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer func() { _ = f.Close() }() // FileListener takes a duplicate
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	l, err := open(f, fd, path, o)
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return l, nil
}

func open(f *os.File, fd int, path string, o Options) (*net.UnixListener, error) {
	if o.Group >= 0 {
		if err := os.Lchown(path, -1, o.Group); err != nil {
			return nil, fmt.Errorf("give to group %d: %w", o.Group, err)
		}
	}
	if err := os.Chmod(path, o.Mode); err != nil {
		return nil, fmt.Errorf("set rights: %w", err)
	}
	if err := syscall.Listen(fd, backlog); err != nil {
		return nil, os.NewSyscallError("listen", err)
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l.(*net.UnixListener), nil
}

// makeParent makes dir if it is not there, and refuses it where somebody else
// could replace what is in it.
func makeParent(dir string, group int) error {
	made, err := makeDir(dir, 0o750)
	if err != nil {
		return err
	}
	// Plugs of the group have to get through a directory that only they need.
	if group >= 0 && (made || closedAndOurs(dir)) {
		if err := os.Chown(dir, -1, group); err != nil {
			return fmt.Errorf("give directory %s to group %d: %w", dir, group, err)
		}
	}
	return checkParent(dir)
}

// makeDir makes dir, and those above it that are missing.
func makeDir(dir string, mode os.FileMode) (made bool, err error) {
	if _, err := os.Stat(dir); err == nil {
		return false, nil
	}
	above := filepath.Dir(dir)
	if above == dir {
		return false, fmt.Errorf("no directory %s", dir)
	}
	if _, err := makeDir(above, 0o755); err != nil {
		return false, err
	}
	if i, err := os.Stat(above); err == nil && i.Mode()&0o002 != 0 {
		mode = 0o700 // among strangers, as in the temporary directory
	}
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, os.ErrExist) {
		return false, err
	}
	// The umask may have taken rights that the group needs.
	return true, os.Chmod(dir, mode)
}

// checkParent refuses a directory in which somebody else could put another
// socket in the place of ours, be it by writing there or further up.
func checkParent(dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	i, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !i.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	if p := i.Mode().Perm(); p&0o022 != 0 {
		return fmt.Errorf("directory %s has mode %04o: others could put a socket of theirs there; use a directory that only its owner can write", dir, p)
	}
	if err := checkOwner(dir); err != nil {
		return err
	}
	for child := dir; ; {
		above := filepath.Dir(child)
		if above == child {
			return nil
		}
		i, err := os.Stat(above)
		if err != nil {
			return err
		}
		switch {
		case i.Mode()&0o002 == 0:
		case i.Mode()&os.ModeSticky == 0:
			return fmt.Errorf("directory %s can be written by everybody: others could replace %s", above, child)
		default:
			if err := checkOwner(child); err != nil {
				return err
			}
		}
		child = above
	}
}

// checkOwner refuses a directory that is neither ours nor root's, or that is
// only a link.
func checkOwner(dir string) error {
	i, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !i.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	if uid := i.Sys().(*syscall.Stat_t).Uid; uid != 0 && int(uid) != os.Getuid() {
		return fmt.Errorf("directory %s is uid %d's, neither ours nor root's", dir, uid)
	}
	return nil
}

func closedAndOurs(dir string) bool {
	i, err := os.Stat(dir)
	return err == nil && i.Mode().Perm()&0o007 == 0 && int(i.Sys().(*syscall.Stat_t).Uid) == os.Getuid()
}

func dirOwner(dir string) (uint32, error) {
	i, err := os.Stat(dir)
	if err != nil {
		return 0, err
	}
	return i.Sys().(*syscall.Stat_t).Uid, nil
}
