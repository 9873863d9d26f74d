package plug

import (
	"io"
	"net"
	"testing"
	"time"
)

// What is no link does not get past the sieve of a listener that is pressed, and what
// may be one does as ever.
func TestSieve(t *testing.T) {
	t.Parallel()
	d, counted := newTestDoor()
	d.came.level, d.came.at = linksPressed, time.Now().Add(time.Hour) // pressed, and stays so
	l := listenHere(t)
	s := d.sift(l)
	if s == l {
		t.Fatal("there is no sieve")
	}
	dial := func(text string) net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		write(t, c, text)
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	liars := []net.Conn{dial("lie"), dial("lie")}
	ends := dial("")
	_ = ends.Close()
	speaker, silent := dial("link"), dial("")
	got := map[string]net.Conn{}
	for range 2 {
		c, err := s.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got[c.RemoteAddr().String()] = c
	}
	for _, c := range []net.Conn{speaker, silent} {
		if got[c.LocalAddr().String()] == nil {
			t.Errorf("%v was not accepted", c.LocalAddr())
		}
	}
	if c, ok := got[speaker.LocalAddr().String()].(*net.TCPConn); ok {
		b := make([]byte, 4)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "link" {
			t.Errorf("read %q, %v", b, err)
		}
	} else {
		t.Error("it is no TCP connection")
	}
	for _, c := range liars {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("what is no link is answered")
		}
	}
	if n := counted.of(countNoHello); n != 3 {
		t.Errorf("%d were counted, want 3", n)
	}

	// One that comes later wakes it, and the end does.
	next := make(chan error, 1)
	accept := func() {
		c, err := s.Accept()
		if err == nil {
			err = c.Close()
		}
		next <- err
	}
	go accept()
	dial("link")
	if err := <-next; err != nil {
		t.Error(err)
	}
	go accept()
	_ = s.Close()
	if err := <-next; err == nil {
		t.Error("accepted after the end")
	}
}
