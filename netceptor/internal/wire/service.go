package wire

import (
	"bytes"
	"fmt"
)

// The reserved datagram services.
const (
	ServicePing    = "ping"
	ServiceUnreach = "unreach"
)

// Service is a service name as on the wire: up to 8 bytes, padded with NUL.
type Service [8]byte

// ParseService checks the length of a name and pads it.
func ParseService(name string) (Service, error) {
	var s Service
	if len(name) > len(s) {
		return Service{}, fmt.Errorf("service name %.256q is longer than %d bytes", name, len(s))
	}
	copy(s[:], name)
	return s, nil
}

// String is the name without trailing NULs.
func (s Service) String() string { return string(bytes.TrimRight(s[:], "\x00")) }
