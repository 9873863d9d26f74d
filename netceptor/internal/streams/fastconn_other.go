//go:build !linux && !darwin && !freebsd

package streams

import "errors"

// newFastConn says that quic-go has no fast path on this system.
func newFastConn(Endpoint, sendFunc) (packetConn, error) {
	return nil, errors.New("not on this system")
}
