package recordconn_test

import (
	"io"
	"testing"

	"github.com/project-receptor/receptor/plug/recordconn"
)

// TestRelayAllocs: what is relayed takes no memory, neither as it is written into
// records nor as it is passed on out of them.
func TestRelayAllocs(t *testing.T) {
	x, y := unixPair(t)
	a, b := recordconn.New(x), recordconn.New(y)
	data := make([]byte, 10_000)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := a.Write(data); err != nil {
			t.Fatal(err)
		}
		for got := 0; got < len(data); {
			n, err := b.Pass(io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
	}); n != 0 {
		t.Errorf("%v allocations a round", n)
	}
}
