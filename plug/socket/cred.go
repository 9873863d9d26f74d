package socket

import (
	"fmt"
	"net"
	"syscall"
)

// Cred is who is at the other end of a Unix connection.
type Cred struct {
	UID, GID uint32
	Groups   []uint32 // supplementary, where the system tells
	PID      int      // for people only: it may have been given to another process
	Known    bool     // false where the system cannot tell; trust is the directory's rights then
}

// PeerCred asks the system who is at the other end of c, as of when it
// connected. A connection that is not a socket, such as net.Pipe within one
// process, has nobody to ask: Known is false.
func PeerCred(c net.Conn) (Cred, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return Cred{}, nil
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return Cred{}, fmt.Errorf("ask for the peer's credentials: %w", err)
	}
	var cred Cred
	var asked error
	if err := rc.Control(func(fd uintptr) { cred, asked = peerCred(fd) }); err != nil {
		return Cred{}, fmt.Errorf("ask for the peer's credentials: %w", err)
	}
	if asked != nil {
		return Cred{}, fmt.Errorf("ask for the peer's credentials: %w", asked)
	}
	return cred, nil
}
