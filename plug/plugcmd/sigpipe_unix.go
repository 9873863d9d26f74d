//go:build unix

package plugcmd

import (
	"os/signal"
	"syscall"
)

// ignorePipes lets a plug go on when whoever reads its log has gone: links and
// streams are worth more than the lines.
func ignorePipes() { signal.Ignore(syscall.SIGPIPE) }
