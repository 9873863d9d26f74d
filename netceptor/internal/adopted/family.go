package adopted

import (
	"errors"
	"sync"
)

// Family is what kind of addresses a socket has.
type Family uint8

// The families that can be adopted.
const (
	Internet Family = iota // TCP over IPv4 or IPv6
	Unix
)

// String returns the name of the family.
func (f Family) String() string {
	if f == Unix {
		return "unix"
	}
	return "internet"
}

// ErrNotConnected is that of a socket that is not connected: never, or no more.
var ErrNotConnected = errors.New("it is not connected")

// buffer is what one read takes at most. Larger ones only leave the cache.
type buffer [64 << 10]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}
