// Package recordconn carries one stream as records over a data connection:
// DATA, END (a clean end of one direction) and RESET (both directions, with a
// reason). End of file without END is a reset, so an abort is never an end.
package recordconn

import (
	"net"

	"github.com/project-receptor/receptor/plug/wire"
)

// Conn is a stream over records. It satisfies net.Conn; half-close is kept.
type Conn struct {
	net.Conn
}

// New makes a stream of a data connection whose first exchange is over. It
// owns c from now on.
func New(c net.Conn) *Conn { return nil }

// CloseWrite sends END: nothing more will be written, reading goes on.
func (c *Conn) CloseWrite() error { return nil }

// Reset aborts both directions; the other side's Read and Write fail with a
// *ResetError.
func (c *Conn) Reset(r wire.Reset) error { return nil }

// ResetError is what Read and Write return after the other side has aborted,
// or vanished without an END (Code gone).
type ResetError struct{ wire.Reset }

// Error implements error.
func (e *ResetError) Error() string { return "" }
