//go:build !unix

package plug

import (
	"os"
	"syscall"
)

// duplicate returns nil: this system passes no descriptors.
func duplicate(syscall.Conn) *os.File { return nil }

// armAccepted leaves it to armReset of each socket.
func armAccepted(string, string, syscall.RawConn) error { return nil }
