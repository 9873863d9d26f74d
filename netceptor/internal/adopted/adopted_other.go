//go:build !unix || aix

package adopted

import (
	"errors"
	"io"
	"net"
	"os"
)

// Conn is an adopted socket. There is none where descriptors cannot be passed.
type Conn struct{ net.Conn }

// New refuses: this system passes no descriptors. It closes f.
func New(f *os.File, _ ...Family) (*Conn, error) {
	return nil, errors.Join(errors.ErrUnsupported, f.Close())
}

// WriteTo implements io.WriterTo.
func (*Conn) WriteTo(io.Writer) (int64, error) { return 0, errors.ErrUnsupported }

// Pass is one step of WriteTo.
func (*Conn) Pass(io.Writer) (int, error) { return 0, errors.ErrUnsupported }

// CloseWrite ends the writing direction.
func (*Conn) CloseWrite() error { return errors.ErrUnsupported }

// ArmReset makes a reset of every end of the socket but a clean one.
func (*Conn) ArmReset() error { return errors.ErrUnsupported }

// DisarmReset makes Close an ordinary end again.
func (*Conn) DisarmReset() error { return errors.ErrUnsupported }

// Reset aborts both directions and closes the socket.
func (*Conn) Reset() error { return errors.ErrUnsupported }

// Wait blocks until the connection has been aborted.
func (*Conn) Wait() error { return errors.ErrUnsupported }

// Kept is a socket that is held for its owner. There is none where descriptors
// cannot be passed.
type Kept struct{}

// Keep refuses: this system passes no descriptors. It closes f.
func Keep(f *os.File) (*Kept, error) {
	return nil, errors.Join(errors.ErrUnsupported, f.Close())
}

// File returns another duplicate, which is the caller's.
func (*Kept) File() (*os.File, error) { return nil, errors.ErrUnsupported }

// Close gives up the socket. It is called once.
func (*Kept) Close() error { return nil }
