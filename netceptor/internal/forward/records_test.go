package forward

import (
	"errors"
	"net"
	"testing"
)

// counting is a connection that counts its writes, and fails after some.
type counting struct {
	net.Conn
	writes [][]byte
	fail   error
}

func (c *counting) Write(p []byte) (int, error) {
	if c.fail != nil {
		return 0, c.fail
	}
	c.writes = append(c.writes, append([]byte(nil), p...))
	return len(p), nil
}

func TestGather(t *testing.T) {
	t.Parallel()
	c := &counting{}
	g := &Gather{Conn: c}
	write := func(n int) {
		t.Helper()
		if w, err := g.Write(make([]byte, n)); w != n || err != nil {
			t.Fatalf("write of %d: %d, %v", n, w, err)
		}
	}
	sizes := func() (s []int) {
		for _, w := range c.writes {
			s = append(s, len(w))
		}
		c.writes = nil
		return s
	}
	write(1) // not held: at once
	if got := sizes(); len(got) != 1 || got[0] != 1 {
		t.Errorf("not held: %v", got)
	}
	g.hold()
	for range 5 {
		write(16<<10 + tlsOverhead)
	}
	write(24)
	if err := g.release(); err != nil {
		t.Fatal(err)
	}
	if got := sizes(); len(got) != 2 || got[0] != 4*(16<<10+tlsOverhead) || got[1] != 16<<10+tlsOverhead+24 {
		t.Errorf("held: %v", got)
	}
	g.hold()
	if err := g.release(); err != nil || len(sizes()) != 0 {
		t.Errorf("nothing held: %v", err)
	}
	g.hold()
	write(5)
	write(gatherSize + 1)
	write(6)
	if err := g.release(); err != nil {
		t.Fatal(err)
	}
	if got := sizes(); len(got) != 3 || got[0] != 5 || got[1] != gatherSize+1 || got[2] != 6 {
		t.Errorf("more than is held: %v", got)
	}
	c.fail = errors.New("broken")
	g.hold()
	write(5)
	if err := g.release(); !errors.Is(err, c.fail) {
		t.Errorf("release: %v", err)
	}
	g.hold()
	if _, err := g.Write([]byte{1}); !errors.Is(err, c.fail) {
		t.Errorf("after a failure: %v", err)
	}
	if err := g.release(); !errors.Is(err, c.fail) {
		t.Errorf("after a failure: %v", err)
	}
}
