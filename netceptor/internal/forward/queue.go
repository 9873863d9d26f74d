package forward

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

const (
	// LinkQueue bounds the data that waits for a link's writer. It keeps a link of
	// 1 Gbit/s busy for 2 ms and is 0.2 s of one of 10 Mbit/s. Past it data is
	// dropped, which is what tells the senders to slow down. The bound is soft by
	// one run of frames, at most a read buffer. It holds for local senders and for
	// transit apart: those wait for room, which transit cannot, and would leave none.
	LinkQueue = 256 << 10

	// keepBuffer is what a quiet link keeps of each of its buffers, see Rest.
	keepBuffer = 16 << 10

	// controlQueue bounds the routing updates and advertisements that wait. It is
	// met only on a link that has taken nothing for long, which the idle check
	// ends; what is dropped is repeated by its originator.
	controlQueue = 4 << 20
)

// Queue holds frames until its one consumer takes them, in two lanes: control
// first, data after it. It is made by NewQueue. All methods may be called from any
// goroutine; all copy what they are given.
type Queue struct {
	limit int

	mu      sync.Mutex
	filled  sync.Cond // there is something to take, or the queue is closed
	lanes   lanes
	spare   lanes         // the consumer's, while it waits
	large   bool          // more than keepBuffer was taken at once since the last rest
	transit int           // bytes in lanes.data that Run put there
	room    chan struct{} // closed when data was taken; nil while nobody waits
	queued  uint64        // frames that went in
	dropped uint64        // frames that did not
	closed  bool
}

// lanes are encoded frames.
type lanes struct{ control, data []byte }

// NewQueue makes a queue whose data lane is bounded by limit bytes, once for what
// Run brings and once for all.
func NewQueue(limit int) *Queue {
	q := &Queue{}
	q.init(limit)
	return q
}

func (q *Queue) init(limit int) {
	q.limit = limit
	q.filled.L = &q.mu
}

// Control queues one message in the control lane. It never waits. It returns
// false if the message was dropped.
func (q *Queue) Control(msg []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(msg) == 0 || len(msg) > wire.MaxMessage || len(q.lanes.control)+len(msg) > controlQueue {
		q.dropped++
		return false
	}
	q.lanes.control = binary.LittleEndian.AppendUint16(q.lanes.control, uint16(len(msg)))
	q.lanes.control = append(q.lanes.control, msg...)
	q.queued++
	q.filled.Signal()
	return true
}

// Run queues n whole frames in transit, with their lengths, in the data lane. It
// never waits.
func (q *Queue) Run(frames []byte, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.transit >= q.limit {
		q.dropped += uint64(n)
		return
	}
	q.lanes.data = append(q.lanes.data, frames...)
	q.transit += len(frames)
	q.queued += uint64(n)
	q.filled.Signal()
}

// Send queues b in the data lane, cut into messages of segment bytes behind the
// same header; the last may be short. A segment of 0 is all of b. If there is no
// room it waits, at most that long: a local sender that is held for a moment does
// better than one that loses. It returns false if b was dropped.
func (q *Queue) Send(header, b []byte, segment int, wait time.Duration) bool {
	if segment <= 0 || segment > len(b) {
		segment = max(len(b), 1)
	}
	messages := max((len(b)+segment-1)/segment, 1)

	q.mu.Lock()
	defer q.mu.Unlock()
	if wait > 0 && q.full() {
		q.await(wait)
	}
	if q.closed || q.full() || len(header)+segment > wire.MaxMessage {
		q.dropped += uint64(messages)
		return false
	}
	data := q.lanes.data
	for range messages {
		part := b[:min(segment, len(b))]
		b = b[len(part):]
		data = binary.LittleEndian.AppendUint16(data, uint16(len(header)+len(part)))
		data = append(data, header...)
		data = append(data, part...)
	}
	q.lanes.data = data
	q.queued += uint64(messages)
	q.filled.Signal()
	return true
}

// full tells whether a sender would have to wait. The caller holds mu.
func (q *Queue) full() bool { return !q.closed && len(q.lanes.data) >= q.limit }

// await waits until there is room, the queue is closed, or that long. The caller
// holds mu, which is released meanwhile.
func (q *Queue) await(wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for expired := false; !expired && q.full(); {
		if q.room == nil {
			q.room = make(chan struct{})
		}
		room := q.room
		q.mu.Unlock()
		select {
		case <-room:
		case <-timer.C:
			expired = true
		}
		q.mu.Lock()
	}
}

// take waits until there are frames and swaps them with b, whose buffers the
// queue fills next. It returns false when the queue is closed and empty.
func (q *Queue) take(b *lanes) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.lanes.control) == 0 && len(q.lanes.data) == 0 {
		if q.closed {
			return false
		}
		q.spare, *b = *b, lanes{}
		q.filled.Wait()
		*b, q.spare = q.spare, lanes{}
	}
	q.large = q.large || len(q.lanes.control) > keepBuffer || len(q.lanes.data) > keepBuffer
	b.control, b.data = b.control[:0], b.data[:0]
	*b, q.lanes = q.lanes, *b
	q.transit = 0
	q.wake()
	return true
}

// rest gives large buffers back that have not been needed since the last rest.
func (q *Queue) rest() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.large && len(q.lanes.control) == 0 && len(q.lanes.data) == 0 {
		for _, b := range [...]*[]byte{&q.lanes.control, &q.lanes.data, &q.spare.control, &q.spare.data} {
			if cap(*b) > keepBuffer {
				*b = nil
			}
		}
	}
	q.large = false
}

// wake lets those who wait for room look again. The caller holds mu.
func (q *Queue) wake() {
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
}

// Consume calls each for every message in turn, control first, until the queue is
// closed and empty. It is for a queue that no link writes out; each must not
// retain msg.
func (q *Queue) Consume(each func(msg []byte)) {
	var b lanes
	for q.take(&b) {
		for _, lane := range [...][]byte{b.control, b.data} {
			for len(lane) > 0 {
				size := frameSize(lane)
				each(lane[wire.LengthSize:size:size])
				lane = lane[size:]
			}
		}
	}
}

// Close lets nothing more in and wakes everyone who waits. What is queued can
// still be taken.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.filled.Broadcast()
	q.wake()
}

// Counts returns how many frames were queued and dropped so far.
func (q *Queue) Counts() (queued, dropped uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.queued, q.dropped
}

// frameSize is the size of the frame at the front of b with its length; 0 if b
// is too short to tell.
func frameSize(b []byte) int {
	if len(b) < wire.LengthSize {
		return 0
	}
	return wire.LengthSize + int(binary.LittleEndian.Uint16(b))
}
