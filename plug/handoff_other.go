//go:build !unix

package plug

import (
	"os"
	"syscall"
)

// duplicate returns nil: this system passes no descriptors.
func duplicate(syscall.Conn) *os.File { return nil }
