package control

import (
	"context"
	"io"
	"net"
	"sync"
)

// Inside is a listener for conversations that the program holds with itself: it is
// given to Serve, and Dial opens one. Like those on a Unix socket they are local, so
// they may do everything and be silent for as long as they like.
type Inside struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

// NewInside makes a listener.
func NewInside() *Inside {
	return &Inside{conns: make(chan net.Conn), done: make(chan struct{})}
}

// Dial opens a conversation. It waits until Serve has it; after Close it fails with
// net.ErrClosed.
func (l *Inside) Dial(ctx context.Context) (io.ReadWriteCloser, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- insideConn{theirs}:
		return ours, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Accept implements net.Listener.
func (l *Inside) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *Inside) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener.
func (l *Inside) Addr() net.Addr { return insideAddr }

// insideConn is the server's end of a pipe.
type insideConn struct{ net.Conn }

// insideAddr is that of a Unix socket, which is what is local.
var insideAddr = &net.UnixAddr{Name: "@inside", Net: "unix"}

// LocalAddr implements net.Conn.
func (c insideConn) LocalAddr() net.Addr { return insideAddr }
