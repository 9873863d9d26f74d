package legacy

import (
	"sync"
	"time"
)

// deadline is a point in time that can be waited for, and moved.
type deadline struct {
	mu     sync.Mutex
	passed chan struct{} // closed when the time is over; nil until somebody asks
	timer  *time.Timer
}

// over is closed when the deadline that is set now has passed.
func (d *deadline) over() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.channel()
}

// set moves the deadline; a zero t takes it away. Who waits already goes on
// waiting, and ends when a deadline passes that was set before the last one had.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if isClosed(d.channel()) {
		d.passed = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	passed := d.passed
	if wait := time.Until(t); wait <= 0 {
		close(passed)
	} else {
		d.timer = time.AfterFunc(wait, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if !isClosed(passed) {
				close(passed)
			}
		})
	}
}

func (d *deadline) channel() chan struct{} {
	if d.passed == nil {
		d.passed = make(chan struct{})
	}
	return d.passed
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
