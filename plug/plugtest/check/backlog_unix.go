//go:build unix

package check

import (
	"errors"
	"net"
	"syscall"
)

// shortBacklog makes the backlog of a listener as short as the system can.
func shortBacklog(l *net.TCPListener) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = syscall.Listen(int(fd), 0) })
	return errors.Join(err, inner)
}
