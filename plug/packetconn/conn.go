package packetconn

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/project-receptor/receptor/plug/wire"
)

const (
	// readSize has room for the largest record and as much again, so that it is
	// rare that what is left of a record has to be moved.
	readSize = 2 * (wire.RecordSize + wire.MaxRecord)

	// queueSize bounds the datagrams that wait to be written, with their headers:
	// some milliseconds of a busy service, and no more, as late ones are worth little.
	queueSize = 256 << 10

	// controlSize bounds what waits together with PEER and GONE, which are never
	// dropped: who lets as much gather has stopped reading.
	controlSize = 2 << 20
)

// errStopped is why a connection ends whose other side does not read.
var errStopped = errors.New("the other side has stopped reading")

// Conn is a data connection of a packet service. Read is for one goroutine, Write is
// run by one; the rest may be called by any.
type Conn struct {
	conn net.Conn

	in         []byte
	head, tail int // of what is in it and was not given out

	kick    chan struct{} // there is something to write; capacity 1
	dropped atomic.Uint64

	mu    sync.Mutex
	queue []byte
	room  chan struct{} // closed when the queue is taken; nil: nobody waits for that
	err   error         // why nothing more is sent
}

// New makes a Conn of a connection, which it owns.
func New(c net.Conn) *Conn {
	return &Conn{conn: c, in: make([]byte, readSize), kick: make(chan struct{}, 1)}
}

// Read waits for records and gives each one out that is there, in order; the payload is
// valid until each returns. It returns the error of each, or of the connection, or
// what is wrong with a record.
func (c *Conn) Read(each func(h wire.RecordHeader, payload []byte) error) error {
	if c.head == c.tail {
		c.head, c.tail = 0, 0
	} else if c.tail == len(c.in) {
		c.tail = copy(c.in, c.in[c.head:c.tail])
		c.head = 0
	}
	n, err := c.conn.Read(c.in[c.tail:])
	c.tail += n
	if n == 0 && err != nil {
		return err
	}
	for {
		h, used, err := wire.ParseRecordHeader(c.in[c.head:c.tail])
		if errors.Is(err, wire.ErrShort) {
			return nil
		}
		if err == nil {
			err = h.CheckPacket()
		}
		if err != nil {
			return err
		}
		end := c.head + used + int(h.Length)
		if end > c.tail {
			return nil
		}
		payload := c.in[c.head+used : end]
		c.head = end
		if err := each(h, payload); err != nil {
			return err
		}
	}
}

// Send queues a datagram of a flow, which it copies. False: it was dropped, as too
// much waits already, and counted; or the connection has ended.
func (c *Conn) Send(flow uint32, flags uint8, b []byte) bool { return c.SendWait(flow, flags, b, 0) }

// SendWait is Send that waits for room, at most that long. Whoever can be held, and
// holds in turn who sends to it, does better than one that loses.
func (c *Conn) SendWait(flow uint32, flags uint8, b []byte, wait time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if wait > 0 && c.full(len(b)) {
		c.await(len(b), wait)
	}
	if c.err != nil {
		return false
	}
	if c.full(len(b)) || len(b) > wire.MaxRecord {
		c.dropped.Add(1)
		return false
	}
	c.put(wire.RecordHeader{Length: uint16(len(b)), Type: wire.RecordData, Flags: flags, Peer: flow}, b)
	return true
}

// full tells whether there is no room for a datagram of n bytes. The caller holds mu.
func (c *Conn) full(n int) bool {
	return c.err == nil && len(c.queue)+wire.RecordSize+n > queueSize
}

// await waits for room, the connection's end, or that long. The caller holds mu, which
// is released meanwhile.
func (c *Conn) await(n int, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for expired := false; !expired && c.full(n); {
		if c.room == nil {
			c.room = make(chan struct{})
		}
		room := c.room
		c.mu.Unlock()
		select {
		case <-room:
		case <-timer.C:
			expired = true
		}
		c.mu.Lock()
	}
}

// wake lets those go on who wait for room. The caller holds mu.
func (c *Conn) wake() {
	if c.room != nil {
		close(c.room)
		c.room = nil
	}
}

// Control queues PEER or GONE of a flow.
func (c *Conn) Control(t wire.RecordType, flow uint32, b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := wire.RecordHeader{Length: uint16(min(len(b), wire.MaxRecord)), Type: t, Peer: flow}
	switch err := h.CheckPacket(); {
	case c.err != nil:
		return c.err
	case err != nil || len(b) > wire.MaxRecord:
		return fmt.Errorf("record of %d bytes: %w", len(b), err)
	case len(c.queue) > controlSize:
		c.fail(errStopped)
		return errStopped
	}
	c.put(h, b)
	return nil
}

// put appends a record to the queue. The caller holds mu.
func (c *Conn) put(h wire.RecordHeader, b []byte) {
	c.queue = append(h.Append(c.queue), b...)
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// Write writes what is queued until the connection ends, and says why it has.
func (c *Conn) Write() error {
	var spare []byte
	for range c.kick {
		c.mu.Lock()
		b, err := c.queue, c.err
		c.queue = spare[:0]
		c.wake()
		c.mu.Unlock()
		if err != nil {
			return err
		}
		spare = b
		if len(b) == 0 {
			continue // it went with what was written before
		}
		if _, err := c.conn.Write(b); err != nil {
			c.end(err)
			return err
		}
	}
	return nil // never: kick is not closed
}

// Dropped is how many datagrams were not sent as too much waited.
func (c *Conn) Dropped() uint64 { return c.dropped.Load() }

// Close ends the connection. Read and Write return.
func (c *Conn) Close() error {
	c.end(net.ErrClosed)
	return nil
}

func (c *Conn) end(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail(why)
}

// fail ends the connection, once. The caller holds mu.
func (c *Conn) fail(why error) {
	if c.err != nil {
		return
	}
	c.err, c.queue = why, nil
	c.wake()
	_ = c.conn.Close() // nothing is owed
	select {
	case c.kick <- struct{}{}:
	default:
	}
}
