//go:build unix

package socket

import (
	"errors"
	"net"
	"os"
	"syscall"
)

func pair() (a, b net.Conn, err error) {
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	a, aErr := connOf(fds[0])
	b, bErr := connOf(fds[1])
	if err := errors.Join(aErr, bErr); err != nil {
		for _, c := range []net.Conn{a, b} {
			if c != nil {
				err = errors.Join(err, c.Close())
			}
		}
		return nil, nil, err
	}
	return a, b, nil
}

// connOf makes a connection of a descriptor, which it owns.
func connOf(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "pair")
	c, err := net.FileConn(f) // takes a duplicate
	if cerr := f.Close(); err == nil && cerr != nil {
		return nil, errors.Join(cerr, c.Close())
	}
	return c, err
}
