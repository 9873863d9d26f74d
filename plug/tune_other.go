//go:build !linux

package plug

import "net"

// TuneLink has nothing to do here: sockets send without delay already, as Go's do.
func TuneLink(net.Conn) error { return nil }
