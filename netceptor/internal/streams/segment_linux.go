package streams

import "golang.org/x/sys/unix"

// isSegmentSize tells of the control message that says how to cut a batch.
func isSegmentSize(h *unix.Cmsghdr) bool {
	return h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_SEGMENT
}
