package proxyudp

import (
	"context"
	"sync/atomic"
	"time"
)

// idle tells when something was used last, from any goroutine.
type idle struct{ at atomic.Int64 }

func (i *idle) touch() { i.at.Store(time.Now().UnixNano()) }

// since tells whether nothing has touched it for d.
func (i *idle) since(d time.Duration) bool {
	return time.Since(time.Unix(0, i.at.Load())) >= d
}

// sweepParts is how often in an idle time it is looked for what is idle.
const sweepParts = 4

// sweep calls clean again and again until ctx is done: often enough for what is to be
// kept for d.
func sweep(ctx context.Context, d time.Duration, clean func()) {
	tick := time.NewTicker(max(d/sweepParts, time.Second))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			clean()
		}
	}
}
