//go:build !linux

package host

import (
	"fmt"
	"io"
	"net/netip"
	"runtime"
)

// Interface is one that is up: there is none on this system.
type Interface struct{ io.ReadWriteCloser }

// Open makes an interface.
func Open(Config) (*Interface, error) {
	return nil, fmt.Errorf("network interfaces are made on Linux only, not on %s", runtime.GOOS)
}

// Name is the interface's.
func (*Interface) Name() string { return "" }

// Offload tells whether the device takes super-packets, of TCP or of UDP, too.
func (*Interface) Offload() (tcp, udp bool) { return false, false }

// SetRoutes makes want the networks that are routed through the interface.
func (*Interface) SetRoutes([]netip.Prefix) error { return nil }
