package forward

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
)

// meteredConn hands out what it is told to, and tells how large the buffers are
// that it is given.
type meteredConn struct {
	net.Conn
	in    chan []byte
	sizes chan int
}

func (c *meteredConn) Read(b []byte) (int, error) {
	c.sizes <- len(b)
	next, ok := <-c.in
	if !ok {
		return 0, io.EOF
	}
	return copy(b, next), nil
}

func (c *meteredConn) Write(b []byte) (int, error) { return len(b), nil }

// A link that has been busy and is quiet now holds no more than one that was
// never busy, and works on.
func TestQuietLinkGivesMemoryBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn := &meteredConn{in: make(chan []byte), sizes: make(chan int)}
		l := NewLink(conn)
		written := make(chan error)
		go func() { written <- l.Write() }()
		messages := 0
		read := make(chan error)
		go func() {
			read <- l.Read(func([]byte) *Link {
				messages++
				return nil
			})
		}()
		held := func() int {
			synctest.Wait()
			l.mu.Lock()
			defer l.mu.Unlock()
			return cap(l.lanes.control) + cap(l.lanes.data) + cap(l.spare.control) + cap(l.spare.data)
		}
		small := frame(nil, make([]byte, 100))

		size := <-conn.sizes
		for size < maxBuffer { // reads that fill the buffer let it grow
			conn.in <- bytes.Repeat(frame(nil, make([]byte, 126)), size/128)
			size = <-conn.sizes
		}
		for range 3 {
			l.Run(make([]byte, LinkQueue), 1)
			l.Control(make([]byte, 60<<10))
			synctest.Wait()
		}
		if n := held(); n < LinkQueue {
			t.Fatalf("the queue holds %d bytes only: what is tested here?", n)
		}

		l.Rest() // it was busy until just now
		conn.in <- small
		if size = <-conn.sizes; size != maxBuffer {
			t.Errorf("the buffer of a busy link shrinks to %d", size)
		}
		if n := held(); n < LinkQueue {
			t.Errorf("the queue of a busy link shrinks to %d", n)
		}
		l.Rest()
		conn.in <- small
		if size = <-conn.sizes; size != minBuffer {
			t.Errorf("the buffer of a quiet link has %d bytes", size)
		}
		if n := held(); n > 4*keepBuffer {
			t.Errorf("the queue of a quiet link holds %d bytes", n)
		}

		before := messages
		l.Run(small, 1)
		conn.in <- small
		<-conn.sizes
		synctest.Wait()
		if messages != before+1 || l.bytesOut.Load() != 3*(LinkQueue+60<<10+2)+uint64(len(small)) {
			t.Errorf("after the rest: %d messages, %d bytes out", messages-before, l.bytesOut.Load())
		}
		l.Close()
		close(conn.in)
		if err := <-written; err != nil {
			t.Error(err)
		}
		if err := <-read; !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	})
}
