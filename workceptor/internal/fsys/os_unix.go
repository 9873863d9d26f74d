//go:build linux || darwin

package fsys

import (
	"errors"
	"os"
	"syscall"
)

func syncDir(d *os.File) error { return d.Sync() }

// space is that of the file system that d is on, as a process without privileges
// may use it.
func space(d *os.File) (free, total uint64, err error) {
	c, err := d.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var st syscall.Statfs_t
	var statErr error
	if err := errors.Join(c.Control(func(fd uintptr) { statErr = syscall.Fstatfs(int(fd), &st) }), statErr); err != nil {
		return 0, 0, os.NewSyscallError("fstatfs", err)
	}
	block := uint64(st.Bsize)
	return st.Bavail * block, st.Blocks * block, nil
}
