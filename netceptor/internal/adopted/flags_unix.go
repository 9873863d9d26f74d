//go:build unix && !linux && !aix

package adopted

import "syscall"

// sendFlags are those of each write. The Go runtime lets no SIGPIPE of a socket
// end the process, unless that took the place of the standard output.
const sendFlags = syscall.MSG_DONTWAIT
