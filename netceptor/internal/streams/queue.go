package streams

import (
	"encoding/binary"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// maxPacket is the largest QUIC packet that is taken. quic-go's own buffers end
// at 1452 bytes: what is larger could only be cut, and then not be decrypted.
const maxPacket = 1452

// maxSent is the largest QUIC packet that is sent: with the headers of the mesh (36
// bytes), UDP and IPv6 it makes 1500 bytes. QUIC finds out what the way takes and does
// not find out again when that changes; so it must not find more over one medium than
// others take.
const maxSent = 1500 - 40 - 8 - 36

// queueSize bounds what waits for quic-go, per packet connection. Its reader
// only moves packets to its connections' own queues, so that this never is the
// longest queue; over it packets are dropped, as over any queue of the mesh.
const queueSize = 1 << 20

// packetHeaderSize is what precedes a packet in the queue: its length 2, ECN 1,
// source 16, destination 16.
const packetHeaderSize = 2 + 1 + 16 + 16

// packetQueue is the receiving half of a packet connection: a ring of bytes.
// Putting a packet copies it, taking it copies it again, and nothing is
// allocated.
type packetQueue struct {
	dropped atomic.Uint64 // packets that found no room

	mu      sync.Mutex
	ready   sync.Cond // a packet, the deadline, or the end
	ring    []byte
	head    int // where the first packet starts
	used    int
	expired bool // the read deadline has passed
	closed  bool
	timer   *time.Timer // of a read deadline that lies ahead
}

func (q *packetQueue) init(size int) {
	q.ready.L = &q.mu
	q.ring = make([]byte, size)
}

// put appends a packet, or drops it when it is too large or there is no room. It
// does not keep b.
func (q *packetQueue) put(src, dst Endpoint, b []byte, ecn uint8) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(b) > maxPacket || q.closed || q.used+packetHeaderSize+len(b) > len(q.ring) {
		q.dropped.Add(1)
		return
	}
	var h [packetHeaderSize]byte
	binary.BigEndian.PutUint16(h[:], uint16(len(b)))
	h[2] = ecn
	copy(h[3:], src[:])
	copy(h[19:], dst[:])
	q.append(h[:])
	q.append(b)
	q.ready.Signal()
}

func (q *packetQueue) append(b []byte) {
	at := (q.head + q.used) % len(q.ring)
	n := copy(q.ring[at:], b)
	copy(q.ring, b[n:])
	q.used += len(b)
}

// wait returns with the queue locked and a packet in it, or with an error and
// the queue unlocked.
func (q *packetQueue) wait() error {
	q.mu.Lock()
	for q.used == 0 && !q.expired && !q.closed {
		q.ready.Wait()
	}
	// A deadline is only set to end the reading: packets do not put it off.
	if q.expired || q.closed {
		defer q.mu.Unlock()
		if q.closed {
			return net.ErrClosed
		}
		return os.ErrDeadlineExceeded
	}
	return nil
}

// take copies the first packet to b, which cuts it if it is too short. The queue
// is locked and not empty.
func (q *packetQueue) take(b []byte) (n int, src, dst Endpoint, ecn uint8) {
	var h [packetHeaderSize]byte
	q.remove(h[:], len(h))
	size := int(binary.BigEndian.Uint16(h[:]))
	n = q.remove(b, size)
	return n, Endpoint(h[3:19]), Endpoint(h[19:35]), h[2]
}

// remove drops size bytes from the front, those that fit in b copied there.
func (q *packetQueue) remove(b []byte, size int) int {
	b = b[:min(len(b), size)]
	n := copy(b, q.ring[q.head:])
	copy(b[n:], q.ring)
	q.head = (q.head + size) % len(q.ring)
	q.used -= size
	return len(b)
}

// SetReadDeadline is as of net.PacketConn. quic-go uses one in the past to wake
// its reader.
func (q *packetQueue) SetReadDeadline(t time.Time) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.timer != nil {
		q.timer.Stop()
		q.timer = nil
	}
	q.expired = false
	if t.IsZero() {
		return nil
	}
	if d := time.Until(t); d > 0 {
		var own *time.Timer
		own = time.AfterFunc(d, func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			if q.timer == own {
				q.expired = true
				q.ready.Broadcast()
			}
		})
		q.timer = own
		return nil
	}
	q.expired = true
	q.ready.Broadcast()
	return nil
}

// SetDeadline is SetReadDeadline: writing never blocks.
func (q *packetQueue) SetDeadline(t time.Time) error { return q.SetReadDeadline(t) }

// SetWriteDeadline does nothing: writing never blocks.
func (q *packetQueue) SetWriteDeadline(time.Time) error { return nil }

// Close ends reading for good.
func (q *packetQueue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.timer != nil {
		q.timer.Stop()
		q.timer = nil
	}
	q.closed = true
	q.ready.Broadcast()
	return nil
}
