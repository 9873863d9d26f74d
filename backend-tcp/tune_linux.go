package backendtcp

import (
	"net"
	"syscall"
)

// notSentLowat bounds what waits in a socket for its first transmission: there,
// frames that matter stand behind bulk, and the core cannot drop what is late.
const notSentLowat = 128 << 10

// tcpNotSentLowat is TCP_NOTSENT_LOWAT, which package syscall lacks.
const tcpNotSentLowat = 25

// tune prepares a link's socket. It sends without delay already, as Go's do.
func tune(sock net.Conn) error {
	c, ok := sock.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	if err := raw.Control(func(fd uintptr) {
		set = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, notSentLowat)
	}); err != nil {
		return err
	}
	return set
}
