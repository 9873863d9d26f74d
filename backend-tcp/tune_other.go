//go:build !linux

package backendtcp

import "net"

// tune has nothing to do here: sockets send without delay already, as Go's do.
func tune(net.Conn) error { return nil }
