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

// take takes a token; false: there is none.
func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent = max(0, b.spent-framesPerSecond*now.Sub(b.last).Seconds())
	b.last = now
	if b.spent+1 > framesBurst {
		return false
	}
	b.spent++
	return true
}
