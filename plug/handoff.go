package plug

import (
	"context"
	"errors"
	"net"
	"os"

	"github.com/project-receptor/receptor/plug/wire"
)

// A socket is handed over by its descriptor: the core gets a duplicate, and this
// process closes its own as soon as the core has answered, without a shutdown,
// which would be one for both. Until then it is kept, untouched, to be relayed
// should the core not want it.

// handOver sends a request that opens an object, with a duplicate of sock; sock
// itself stays open. handed is false if the bytes of sock have to be relayed: it
// is not one that a core takes, or this core cannot take it now.
func (core *attachment) handOver(ctx context.Context, sock net.Conn, t wire.Type, body any) (o wire.Opened, handed bool, err error) {
	file := core.duplicate(sock, t)
	if file == nil {
		return o, false, nil
	}
	// Longer than the core takes for DIAL: it says itself when that is over.
	ctx, cancel := context.WithTimeout(ctx, wire.DialTimeout+wire.RequestTimeout)
	defer cancel()
	_, err = core.session.CallFiles(ctx, t, body, &o, []*os.File{file})
	_ = file.Close() // a duplicate: nothing is lost by it
	var refused *wire.Error
	if errors.As(err, &refused) && (refused.Code == wire.CodeUnsupported || refused.Code == wire.CodeLimit) {
		return o, false, nil
	}
	return o, true, err
}

// duplicate returns a descriptor of sock for the core, or nil if sock is to be
// relayed: for a stream it is a TCP or Unix socket, for a link a TCP socket.
func (core *attachment) duplicate(sock net.Conn, t wire.Type) *os.File {
	if !core.handoff {
		return nil
	}
	switch c := sock.(type) {
	case *net.TCPConn:
		if multipath, err := c.MultipathTCP(); multipath || err != nil {
			return nil // a socket of another kind, to the core
		}
		return duplicate(c)
	case *net.UnixConn:
		if t != wire.TypeLink && c.LocalAddr().Network() == "unix" {
			return duplicate(c)
		}
	}
	return nil
}
