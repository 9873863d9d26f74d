package netceptor

import (
	"math/bits"
	"sync"
)

// packet is a datagram that arrived.
type packet struct {
	from Addr
	data []byte
	held *[]byte // whose memory data is; nil: it is data's own
}

// Memory for datagrams comes from a pool and goes back: large ones would have garbage
// be collected all the time. Buffers have sizes that double, so that a small datagram
// holds no memory of a large one.
const (
	smallestBits = 11 // of the smallest buffer's size
	bufferSizes  = 6  // up to 64 KiB, more than any datagram
)

var packetBuffers [bufferSizes]sync.Pool // of *[]byte

// bufferSize tells which of the sizes holds n bytes.
func bufferSize(n int) int { return bits.Len(uint(max(n-1, 0)) >> smallestBits) }

// keep copies the data of p, which is somebody else's.
func (p packet) keep() packet {
	size := bufferSize(len(p.data))
	held, _ := packetBuffers[size].Get().(*[]byte)
	if held == nil {
		held = new(make([]byte, 1<<(smallestBits+size)))
	}
	p.held = held
	p.data = (*held)[:copy(*held, p.data)]
	return p
}

// release gives the memory back that keep has taken. The data is not valid any more.
func (p packet) release() {
	if p.held != nil {
		packetBuffers[bufferSize(len(*p.held))].Put(p.held)
	}
}
