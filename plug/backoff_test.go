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
