package plug

import (
	"context"
	"errors"
	"net"

	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// A socket is handed over by its descriptor, of which the kernel makes the core a
// duplicate; this process closes its own as soon as the core has answered, without
// a shutdown, which would be one for both. Until then it is kept, untouched, to be
// relayed should the core not want it.

// handOver sends a request that opens an object, with sock, which stays open here.
// handed is false if the bytes of sock have to be relayed: it is not one that a
// core takes, or this core cannot take it now.
func (core *attachment) handOver(ctx context.Context, sock net.Conn, t wire.Type, body any) (o wire.Opened, handed bool, err error) {
	d := core.passable(sock, t)
	if d == nil {
		return o, false, nil
	}
	// Longer than the core takes for DIAL: it says itself when that is over.
	ctx, cancel := context.WithTimeout(ctx, wire.DialTimeout+wire.RequestTimeout)
	defer cancel()
	err = core.session.CallSocket(ctx, t, body, &o, d)
	var refused *wire.Error
	if errors.As(err, &refused) && (refused.Code == wire.CodeUnsupported || refused.Code == wire.CodeLimit) {
		return o, false, nil
	}
	return o, true, err
}

// passable returns sock as what the core takes, or nil if it is to be relayed:
// for a stream it is a TCP or Unix socket, for a link a TCP socket.
func (core *attachment) passable(sock net.Conn, t wire.Type) session.Descriptor {
	if !core.handoff {
		return nil
	}
	switch c := sock.(type) {
	case *net.TCPConn:
		if multipath, err := c.MultipathTCP(); multipath || err != nil {
			return nil // a socket of another kind, to the core
		}
		return c
	case *net.UnixConn:
		if t != wire.TypeLink && c.LocalAddr().Network() == "unix" {
			return c
		}
	}
	return nil
}
