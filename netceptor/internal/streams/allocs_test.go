package streams

import (
	"io"
	"testing"
)

// allocsPerWrite bounds what quic-go takes for a write of 8 packets, at both ends
// together: it is 22 with v0.65.0, and 38 under the race detector. Ours are none.
const allocsPerWrite = 60

// TestStreamAllocs: what goes over a stream takes no memory of ours.
func TestStreamAllocs(t *testing.T) {
	p := newMesh(t, false).pair()
	d, a := p.open(t)
	data := make([]byte, 10_000)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := d.Write(data); err != nil {
			t.Fatal(err)
		}
		for got := 0; got < len(data); {
			n, err := a.Pass(io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
	}); n > allocsPerWrite {
		t.Errorf("%v allocations a round, want at most %d", n, allocsPerWrite)
	}
	_, _ = d.Close(), a.Close()
}
