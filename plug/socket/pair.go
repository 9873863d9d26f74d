package socket

import (
	"fmt"
	"net"
)

// Pair returns the two ends of a connection within this process, for a core and
// a plug that share it: Unix sockets where the system has pairs of them, so that
// descriptors can be passed, else net.Pipe. The caller owns both.
func Pair() (core, plug net.Conn, err error) {
	core, plug, err = pair()
	if err != nil {
		return nil, nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	return core, plug, nil
}
