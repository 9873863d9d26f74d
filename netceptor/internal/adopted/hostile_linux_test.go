package adopted

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// threads is how many the process has.
func threads(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "Threads:")
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A giver that keeps duplicates and clears O_NONBLOCK makes no thread of ours
// wait, neither on idle sockets nor on those that nobody reads.
//
// Not parallel: it counts the threads of the process.
func TestGiverClearsNonblock(t *testing.T) {
	const sockets = 200
	type end struct {
		app net.Conn
		c   *Conn
	}
	ends := make([]end, sockets)
	for i := range ends {
		ends[i].app, ends[i].c = adopt(t, "tcp")
		withFD(t, ends[i].c, func(fd int) {
			if err := syscall.SetNonblock(fd, false); err != nil {
				t.Fatal(err)
			}
		})
	}
	before := threads(t)
	check := func(when string) {
		t.Helper()
		if n := threads(t); n > before+sockets/10 {
			t.Errorf("%s: %d threads, %d before", when, n, before)
		}
	}

	// Echo: each round each side waits for the other, so sockets are idle.
	var echoes sync.WaitGroup
	for _, e := range ends {
		echoes.Go(func() {
			if _, err := e.c.WriteTo(e.c); err != nil {
				t.Errorf("echo: %v", err)
			}
		})
	}
	for round := range 3 {
		for _, e := range ends {
			want := fmt.Sprint("round ", round)
			got := make([]byte, len(want))
			if _, err := io.WriteString(e.app, want); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(e.app, got); err != nil || string(got) != want {
				t.Fatalf("got %q, %v", got, err)
			}
		}
		check("idle")
	}

	// Bulk, which no application reads at first.
	const size = 6 << 20
	var writers sync.WaitGroup
	for _, e := range ends[:50] {
		writers.Go(func() {
			if _, err := e.c.Write(make([]byte, size)); err != nil {
				t.Errorf("bulk: %v", err)
			}
		})
	}
	for _, e := range ends[:50] {
		if _, err := io.ReadFull(e.app, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	check("full")
	for _, e := range ends[:50] {
		if n, err := io.CopyN(io.Discard, e.app, size-1); err != nil {
			t.Fatalf("%d bytes of bulk, %v", n, err)
		}
	}
	writers.Wait()
	check("after bulk")
	for _, e := range ends {
		if err := e.app.Close(); err != nil {
			t.Fatal(err)
		}
	}
	echoes.Wait()
}

// Neither direction takes memory for each read or write.
func TestCopyAllocs(t *testing.T) {
	app, c := adopt(t, "tcp")
	b := make([]byte, 1000)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(app, b); err != nil {
			t.Fatal(err)
		}
		if _, err := app.Write(b); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Pass(io.Discard); err != nil || n == 0 {
			t.Fatal(err)
		}
	}); n >= 1 {
		t.Errorf("%v allocations a round", n)
	}
}
