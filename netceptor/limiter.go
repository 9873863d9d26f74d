package netceptor

import (
	"sync"
	"time"
)

// The rate of what a node answers without having been asked by its own users: pings
// and notices. It keeps a node from being used to flood another.
const (
	answersPerSource = 10 // per second
	answersTotal     = 1000
	answersBurst     = 5 // seconds' worth of them at once, per source

	// answerSources bounds the memory of sources; those that have been silent are
	// forgotten, and while there are that many busy ones, new ones get no answer.
	answerSources = 4096
)

// limiter decides whether an answer may be given: one token bucket for each
// source and one for all. The zero value is ready.
type limiter struct {
	mu      sync.Mutex
	total   bucket
	sources map[uint64]*bucket
	forgot  time.Time // when forget last went through them
}

// allow takes a token for an answer to source.
func (l *limiter) allow(now time.Time, source uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.sources[source]
	if b == nil {
		if len(l.sources) >= answerSources && !l.forget(now) {
			return false
		}
		if l.sources == nil {
			l.sources = make(map[uint64]*bucket)
		}
		b = &bucket{}
		l.sources[source] = b
	}
	return b.take(now, answersPerSource, answersBurst*answersPerSource) && l.total.take(now, answersTotal, answersTotal)
}

// forget drops the sources whose buckets are full again; false: there was none,
// or it was looked for within the last second.
func (l *limiter) forget(now time.Time) bool {
	if now.Sub(l.forgot) < time.Second {
		return false
	}
	l.forgot = now
	before := len(l.sources)
	for source, b := range l.sources {
		if now.Sub(b.last) > answersBurst*time.Second {
			delete(l.sources, source)
		}
	}
	return len(l.sources) < before
}

// bucket holds tokens that grow with time. The zero value is full.
type bucket struct {
	tokens float64
	last   time.Time
}

// take takes a token, if there is one.
func (b *bucket) take(now time.Time, rate, burst float64) bool {
	if b.last.IsZero() {
		b.tokens = burst
	} else {
		b.tokens = min(burst, b.tokens+rate*now.Sub(b.last).Seconds())
	}
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
