package backendws

import (
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/project-receptor/receptor/plug/plugtest"
)

// counter counts the writes to a connection.
type counter struct {
	net.Conn
	writes atomic.Int32
}

func (c *counter) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// loopback is a connection and its other end.
func loopback(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{a, b} {
		t.Cleanup(func() { _ = c.Close() })
		if err := c.SetDeadline(time.Now().Add(plugtest.Patience)); err != nil {
			t.Fatal(err)
		}
	}
	return a, b
}

// What comes together goes on together, each way.
func TestManyMessagesAreOneWrite(t *testing.T) {
	t.Parallel()
	peer, medium := loopback(t)
	core, coreEnd := loopback(t)
	below, above := &counter{Conn: medium}, &counter{Conn: coreEnd}

	// The other node is a link of ours, too: it batches.
	upgraded := make(chan *websocket.Conn, 1)
	go func() {
		ws, err := upgrade(&batch{Conn: below}, "/")
		if err != nil {
			t.Error(err)
		}
		upgraded <- ws
	}()
	d := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return &batch{Conn: peer}, nil }}
	far, resp, err := d.Dial("ws://h/", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	ws := <-upgraded
	over := make(chan error, 1)
	go func() { over <- (&link{ws: ws, batch: ws.NetConn().(*batch), core: above}).run() }()
	below.writes.Store(0)

	const count = 60 // of a kilobyte each: one buffer
	msgs := make([]string, count)
	for i := range msgs {
		msgs[i] = strings.Repeat(string(rune('A'+i)), 1000)
	}
	sendFrames(t, core, msgs...)
	wantMessages(t, far, msgs...)
	if n := below.writes.Load(); n > count/4 {
		t.Errorf("%d messages to the other node were %d writes", count, n)
	}
	batched := far.NetConn().(*batch)
	batched.gathers = true
	for _, m := range msgs {
		sendWS(t, far, websocket.BinaryMessage, m)
	}
	if err := batched.Flush(); err != nil {
		t.Fatal(err)
	}
	wantFrames(t, core, msgs...)
	if n := above.writes.Load(); n > count/4 {
		t.Errorf("%d messages to the core were %d writes", count, n)
	}
	if err := errors.Join(far.Close(), <-over); err == nil || !strings.Contains(err.Error(), "the other node has closed the connection") {
		t.Errorf("the link ended by %v", err)
	}
}
