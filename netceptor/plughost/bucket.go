package plughost

import (
	"sync"
	"time"
)

// bucket is a token bucket of framesBurst tokens that fills by framesPerSecond.
// The zero value is full.
type bucket struct {
	mu    sync.Mutex
	spent float64
	last  time.Time
}

// take takes tokens; false: there are not enough.
func (b *bucket) take(now time.Time, tokens float64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent = max(0, b.spent-framesPerSecond*now.Sub(b.last).Seconds())
	b.last = now
	if b.spent+tokens > framesBurst {
		return false
	}
	b.spent += tokens
	return true
}
