package streams

import (
	"io"
	"testing"
)

func TestEcho(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		p := newPair(t, basic)
		d, a := p.open(t)
		go func() {
			_, _ = io.Copy(a, a)
			_ = a.CloseWrite()
		}()
		const size = 4 << 20
		go func() {
			_, _ = io.Copy(d, &pattern{size: size})
			_ = d.CloseWrite()
		}()
		if err := verify(d, size); err != nil {
			t.Fatal(err)
		}
		_, _ = d.Close(), a.Close()
		if basic != (p.m.batches.Load() == 0) {
			t.Errorf("%d batches with basic=%v", p.m.batches.Load(), basic)
		}
		t.Logf("largest send %d bytes, %d batches", p.m.largest.Load(), p.m.batches.Load())
	})
}
