//go:build !unix

package plug

import "syscall"

// armAccepted leaves it to armReset of each socket.
func armAccepted(string, string, syscall.RawConn) error { return nil }
