package session

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/project-receptor/receptor/plug/wire"
)

// ErrClosed is matched by what Call and Notify return once the session has
// ended. Such errors match net.ErrClosed too.
var ErrClosed = errors.New("plug: session closed")

// ErrUnsupported is what a Handler returns for a message that it does not
// know: a request is answered so, a notification is counted.
var ErrUnsupported error = wire.NewError(wire.CodeUnsupported, "unknown message")

// ProtocolError says how the other side broke the protocol. It has been told
// so by ERROR with code invalid.
type ProtocolError struct{ Reason string }

// Error implements error.
func (e *ProtocolError) Error() string { return "plug: protocol error: " + e.Reason }

func protocolErrorf(format string, args ...any) *ProtocolError {
	return &ProtocolError{Reason: fmt.Sprintf(format, args...)}
}

// closedError is ErrClosed with the reason of the end. It does not unwrap to
// that reason, which may be a *wire.Error and must not look like an answer.
type closedError struct{ reason error }

func (e *closedError) Error() string {
	if e.reason == nil {
		return ErrClosed.Error()
	}
	return ErrClosed.Error() + ": " + e.reason.Error()
}

func (e *closedError) Is(target error) bool { return target == ErrClosed || target == net.ErrClosed }

// asWireError is err as it is told to the other side.
func asWireError(err error) *wire.Error {
	var e *wire.Error
	if errors.As(err, &e) {
		return e
	}
	return wire.NewError(wire.CodeInternal, "%v", err)
}

// isTimeout reports whether err is that of a passed deadline.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// isRemote reports whether err is what the other side said.
func isRemote(err error) bool {
	var e *wire.Error
	return errors.As(err, &e)
}
