package commandservice

import (
	"io"
	"net"
	"sync"
)

// maxTyped is what a client may have typed, or pasted, ahead of a command that does not read. That it
// has left is seen as long as it is not more.
const maxTyped = 256 << 10

// queue is bytes from a writer, who waits for room, to a reader, who waits for bytes.
type queue struct {
	mu     sync.Mutex
	change sync.Cond
	bytes  []byte
	end    error // what the reader gets after the bytes; nil: not yet
	closed bool
}

func newQueue() *queue {
	q := new(queue)
	q.change.L = &q.mu
	return q
}

// Write implements io.Writer.
func (q *queue) Write(b []byte) (n int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(b) > 0 {
		for len(q.bytes) >= maxTyped && q.end == nil {
			q.change.Wait()
		}
		if q.end != nil {
			return n, net.ErrClosed
		}
		m := min(len(b), maxTyped-len(q.bytes))
		q.bytes = append(q.bytes, b[:m]...)
		b, n = b[m:], n+m
		q.change.Broadcast()
	}
	return n, nil
}

// Read implements io.Reader.
func (q *queue) Read(b []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.bytes) == 0 && q.end == nil {
		q.change.Wait()
	}
	if len(q.bytes) == 0 || q.closed {
		return 0, q.end
	}
	n := copy(b, q.bytes)
	if q.bytes = q.bytes[n:]; len(q.bytes) == 0 {
		q.bytes = nil // what was pasted is not kept
	}
	q.change.Broadcast()
	return n, nil
}

// CloseWrite is the end after the bytes.
func (q *queue) CloseWrite() { q.finish(io.EOF, false) }

// Close is the end at once, for both.
func (q *queue) Close() { q.finish(net.ErrClosed, true) }

func (q *queue) finish(err error, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.end == nil || closed {
		q.end, q.closed = err, q.closed || closed
	}
	q.change.Broadcast()
}
