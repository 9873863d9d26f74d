// Package host makes network interfaces of this host: TUN devices with addresses and
// routes. It needs the capability CAP_NET_ADMIN, and works on Linux only.
//
// An Interface goes, with its addresses and routes, when it is closed and when the
// process ends, however that is: nothing is left behind.
package host

import (
	"net/netip"
)

// Config says what an interface is to be.
type Config struct {
	Name      string // empty: the first free of tun0, tun1, ...
	MTU       int
	Addresses []Address

	// MaxSuper bounds the super-packets that the device gives: IP packets of many
	// segments, with headers.
	MaxSuper int
}

// Address is one of an interface.
type Address struct {
	Prefix netip.Prefix // the address, and how much of it is the network's
	Peer   netip.Addr   // of the other end; invalid: there is none
}
