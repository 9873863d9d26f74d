package plug

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff makes the pauses between attempts: at random up to a bound that
// starts at Min and doubles up to Max, so that many who failed together do not
// come back together. It is for one goroutine at a time.
type Backoff struct {
	Min, Max time.Duration

	// Full spreads the pauses over all of the bound, from nothing on, where many
	// lose the same peer at once. Without it none is less than half the bound.
	Full bool

	bound time.Duration
}

// Next returns how long to pause before the next attempt.
func (b *Backoff) Next() time.Duration {
	b.bound = min(max(2*b.bound, b.Min), b.Max)
	if b.Full {
		return rand.N(b.bound + 1)
	}
	return b.bound/2 + rand.N(b.bound/2+1)
}

// Reset starts again from Min.
func (b *Backoff) Reset() { b.bound = 0 }

// Wait pauses, and returns the context's error if that is done before.
func (b *Backoff) Wait(ctx context.Context) error { return pause(ctx, b.Next()) }

// pause sleeps for d, or returns the context's error if that is done before.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
