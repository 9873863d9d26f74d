package plug

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// A node that takes nothing more, as one that has lost its power, does not hold
// its link for ever; one that is slow keeps it.
func TestStallWriter(t *testing.T) {
	t.Parallel()
	t.Run("nothing is taken", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			defer func() { _, _ = near.Close(), far.Close() }()
			begun := time.Now()
			n, err := StallWriter{near}.Write(make([]byte, 1000))
			if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) != linkStall {
				t.Errorf("wrote %d, %v, after %v", n, err, time.Since(begun))
			}
		})
	})
	t.Run("little is taken", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			defer func() { _, _ = near.Close(), far.Close() }()
			go func() {
				for range 1000 {
					time.Sleep(time.Second)
					_, _ = io.ReadFull(far, make([]byte, 1))
				}
			}()
			n, err := StallWriter{near}.Write(make([]byte, 1000))
			if n != 1000 || err != nil {
				t.Errorf("wrote %d, %v", n, err)
			}
		})
	})
}
