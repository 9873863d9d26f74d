package adopted

import "golang.org/x/sys/unix"

// Flushed reports whether all that was written has arrived at the other side's
// system: a reset takes nothing away of it.
func (c *Conn) Flushed() bool {
	flushed := true // a closed socket has nothing to lose
	_ = c.raw.Control(func(fd uintptr) {
		left, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		flushed = err != nil || left == 0
	})
	return flushed
}
