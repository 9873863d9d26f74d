package plug

import (
	"net"
	"syscall"
)

// notSentLowat bounds what waits in a socket for its first transmission: there,
// frames that matter stand behind bulk, and the core cannot drop what is late.
const notSentLowat = 128 << 10

// tcpNotSentLowat is TCP_NOTSENT_LOWAT, which package syscall lacks.
const tcpNotSentLowat = 25

// TuneLink prepares the socket of a link: what waits in it for its first
// transmission is bounded. It sends without delay already, as those of Go do.
func TuneLink(sock net.Conn) error {
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
