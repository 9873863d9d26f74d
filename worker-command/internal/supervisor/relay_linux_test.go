package supervisor

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newTestRelay makes a relay into a file that has something already, and is opened for
// appending, as a unit's are.
func newTestRelay(t *testing.T, path string, copies bool) (r *Relay, w *os.File) {
	t.Helper()
	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, f := range []*os.File{pipe, w, file} {
			f.Close()
		}
	})
	if r, err = NewRelay(pipe, file); err != nil {
		t.Fatal(err)
	}
	if copies {
		r.copies, r.buffer = true, make([]byte, bufferSize)
	}
	return r, w
}

func TestRelay(t *testing.T) {
	t.Parallel()
	for name, copies := range map[string]bool{"spliced": false, "copied": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(path, []byte("before\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			r, w := newTestRelay(t, path, copies)
			data := make([]byte, 3<<20)
			for i := range data {
				data[i] = byte(rand.Uint32()) //nolint:gosec // any bytes
			}
			written := make(chan error, 1)
			go func() {
				_, err := w.Write(data)
				written <- errors.Join(err, r.Finish()) // though the other end stays open
			}()
			var total int64
			if err := r.Run(func(n int64) { total += n }, func(err error) { t.Error(err) }, nil); err != nil {
				t.Fatal(err)
			}
			if err := <-written; err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(got, append([]byte("before\n"), data...)) || total != int64(len(data)) {
				t.Errorf("%d bytes, %d told, %v", len(got), total, err)
			}
			// The end of the pipe is one, too.
			if _, err := w.WriteString("x"); err != nil {
				t.Fatal(err)
			}
			w.Close()
			if err := r.pipe.SetReadDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			if err := r.Run(func(n int64) { total += n }, func(error) {}, nil); err != nil || total != int64(len(data))+1 {
				t.Errorf("%d told, %v", total, err)
			}
		})
	}
}

func TestRelayGivesUpOnAFullDisk(t *testing.T) {
	t.Parallel()
	for name, copies := range map[string]bool{"spliced": false, "copied": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, w := newTestRelay(t, "/dev/full", copies)
			if _, err := w.WriteString("x"); err != nil {
				t.Fatal(err)
			}
			giveUp := make(chan struct{})
			var troubles atomic.Int32
			err := r.Run(func(n int64) { t.Errorf("%d moved", n) }, func(error) {
				if troubles.Add(1) == 1 {
					close(giveUp)
				}
			}, giveUp)
			if !errors.Is(err, unix.ENOSPC) || troubles.Load() != 1 {
				t.Errorf("%v, after %d troubles", err, troubles.Load())
			}
		})
	}
}
