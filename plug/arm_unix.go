//go:build unix

package plug

import "syscall"

// armAccepted is [armReset] of all that a listener is going to accept: sockets
// inherit it. It is a ListenConfig's Control.
func armAccepted(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		// Where it fails they are armed later, one by one.
		_ = syscall.SetsockoptLinger(int(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	})
}
