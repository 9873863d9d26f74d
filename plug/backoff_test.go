package plug

import (
	"testing"
	"time"
)

// Pauses grow to the bound and stay there; with full jitter they are anything up
// to it.
func TestBackoff(t *testing.T) {
	t.Parallel()
	for _, full := range []bool{false, true} {
		var short, long bool // was there a pause in the lower, in the upper half?
		for range 200 {
			b := Backoff{Min: 100 * time.Millisecond, Max: time.Second, Full: full}
			for _, bound := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
				bound *= time.Millisecond
				d := b.Next()
				if d < 0 || d > bound || !full && d < bound/2 {
					t.Fatalf("full %v: a pause of %v where the bound is %v", full, d, bound)
				}
				short, long = short || d < bound/2, long || d > bound/2
			}
			b.Reset()
			if d := b.Next(); d > b.Min {
				t.Fatalf("full %v: a pause of %v after a reset", full, d)
			}
		}
		if short != full || !long {
			t.Errorf("full %v: pauses in the lower half %v, in the upper half %v", full, short, long)
		}
	}
}

// Five hundred that lost the same peer at the same moment: none of their attempts
// come together. Each twentieth of the time in which the n-th attempts may fall
// has some of them, and none many times its share.
func TestBackoffSpreads(t *testing.T) {
	t.Parallel()
	const peers, attempts, parts = 500, 6, 20
	var at [attempts][peers]time.Duration
	var last [attempts]time.Duration // when the n-th attempt comes at the latest
	for i := range peers {
		b := Backoff{Min: 500 * time.Millisecond, Max: 20 * time.Second, Full: true}
		var now time.Duration
		for n := range attempts {
			pause := b.Next()
			if pause <= 0 || pause > b.bound {
				t.Fatalf("pause %v, bound %v", pause, b.bound)
			}
			now += pause
			at[n][i] = now
			last[n] = max(last[n], now)
		}
	}
	for n := range attempts {
		var counts [parts]int
		for _, now := range at[n] {
			counts[min(int(now*parts/last[n]), parts-1)]++
		}
		t.Logf("attempt %d, within %v: %v", n+1, last[n], counts)
		for part, count := range counts {
			if count > 4*peers/parts {
				t.Errorf("attempt %d: %d of %d in one twentieth, the %d-th", n+1, count, peers, part)
			}
		}
		if n == 0 && min(counts[0], counts[parts/2], counts[parts-1]) == 0 {
			t.Errorf("the first attempts leave some of their time out: %v", counts)
		}
	}
}
