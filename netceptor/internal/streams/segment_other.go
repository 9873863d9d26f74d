//go:build darwin || freebsd

package streams

import "golang.org/x/sys/unix"

// isSegmentSize is false: quic-go sends batches only on Linux.
func isSegmentSize(*unix.Cmsghdr) bool { return false }
