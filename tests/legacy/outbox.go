package legacy

import "sync"

// outboxData is how many bytes may wait for a link before data messages have to
// wait themselves.
const outboxData = 1 << 20

// outbox is the queue of messages to be sent on a link.
type outbox struct {
	mu      sync.Mutex
	changed sync.Cond
	queue   [][]byte
	size    int
	closed  bool
}

func newOutbox() *outbox {
	o := new(outbox)
	o.changed.L = &o.mu
	return o
}

// put queues a message, which it retains, and never waits.
func (o *outbox) put(msg []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.queue = append(o.queue, msg)
		o.size += len(msg)
		o.changed.Broadcast()
	}
}

// putData is put once there is room. It tells whether the link still was there.
func (o *outbox) putData(msg []byte) bool {
	o.mu.Lock()
	for o.size > outboxData && !o.closed {
		o.changed.Wait()
	}
	closed := o.closed
	o.mu.Unlock()
	o.put(msg)
	return !closed
}

// take waits for a message; false is the end.
func (o *outbox) take() ([]byte, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.queue) == 0 && !o.closed {
		o.changed.Wait()
	}
	if o.closed {
		return nil, false
	}
	msg := o.queue[0]
	o.queue = o.queue[1:]
	o.size -= len(msg)
	o.changed.Broadcast()
	return msg, true
}

func (o *outbox) close() {
	o.mu.Lock()
	o.closed, o.queue = true, nil
	o.changed.Broadcast()
	o.mu.Unlock()
}
