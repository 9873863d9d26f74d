//go:build !unix

package plug

import "net"

// peek cannot look at what has come of a connection without reading it.
func peek(net.Conn, Opening, bool) Verdict { return MayBeLink }
