package integration

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// What only WebSocket has.
func TestAttacksOverWebSocket(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	dial := func(t *testing.T) *websocket.Conn {
		t.Helper()
		for {
			ws, resp, err := websocket.DefaultDialer.DialContext(s.ctx, "ws://"+s.ws+"/mesh", nil)
			if err == nil {
				resp.Body.Close()
				return ws
			}
			if lab.Pause(s.ctx, lab.PollEvery) != nil { // it may not be there yet, or have been crowded out
				t.Fatal(err)
			}
		}
	}
	// until waits for the end of a connection, which does not come from here.
	until := func(t *testing.T, c net.Conn) {
		t.Helper()
		deadline, _ := s.ctx.Deadline()
		must(t, c.SetReadDeadline(deadline))
		if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Error("the victim has not closed the connection")
		}
		c.Close()
	}
	for _, a := range []struct {
		name   string
		attack func(t *testing.T, ws *websocket.Conn)
		rise   map[string]uint64
	}{
		{"empty messages, of both types", func(t *testing.T, ws *websocket.Conn) {
			for i := range 10 {
				must(t, ws.WriteMessage(websocket.TextMessage+i%2, nil))
			}
		}, map[string]uint64{"empty_frame": 10}},
		{"a text", func(t *testing.T, ws *websocket.Conn) {
			must(t, ws.WriteMessage(websocket.TextMessage, []byte("\x01{")))
		}, map[string]uint64{"malformed_update": 1}},
		{"a message of many fragments, some of them empty", func(t *testing.T, ws *websocket.Conn) {
			c := ws.NetConn()
			for i := range 1000 {
				head := byte(0)
				if i == 0 {
					head = websocket.BinaryMessage
				}
				body := []byte{1}[:i%2]
				_, err := c.Write(append([]byte{head, 0x80 | byte(len(body)), 0, 0, 0, 0}, body...))
				must(t, err)
			}
			_, err := io.WriteString(c, "\x80\x80\x00\x00\x00\x00")
			must(t, err)
		}, map[string]uint64{"malformed_update": 1}},
		{"a message that is too long", func(t *testing.T, ws *websocket.Conn) {
			_ = ws.WriteMessage(websocket.BinaryMessage, make([]byte, 65536))
			until(t, ws.NetConn())
		}, nil},
		{"a message that says to be of 2^63 bytes", func(t *testing.T, ws *websocket.Conn) {
			_, err := io.WriteString(ws.NetConn(), "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00")
			must(t, err)
			until(t, ws.NetConn())
		}, nil},
		{"frames that are not masked, of reserved types, and half of one", func(t *testing.T, ws *websocket.Conn) {
			for _, bytes := range []string{"\x82\x01x", "\x8f\x80\x00\x00\x00\x00", "\xf2\x80\x00\x00\x00\x00", "\x09\x80\x00\x00\x00\x00"} {
				bad := dial(t)
				_, err := io.WriteString(bad.NetConn(), bytes)
				must(t, err)
				until(t, bad.NetConn())
			}
			_, err := io.WriteString(ws.NetConn(), "\x82\xfe\x01")
			must(t, err)
		}, nil},
		{"a flood of pings, none of whose answers is read", func(_ *testing.T, ws *websocket.Conn) {
			for range 10000 {
				if ws.WriteControl(websocket.PingMessage, make([]byte, 125), time.Now().Add(time.Second)) != nil {
					break
				}
			}
		}, nil},
	} {
		t.Run(a.name, func(t *testing.T) {
			before := s.status(t)
			ws := dial(t)
			defer ws.Close()
			a.attack(t, ws)
			s.expectRise(t, before, a.rise)
			s.expectUnhurt(t)
		})
	}

	t.Run("slow openers crowd out nobody", func(t *testing.T) {
		var all []net.Conn
		for i := range 600 { // more than twice as many as may be there
			c, err := new(net.Dialer).DialContext(s.ctx, "tcp", s.ws)
			must(t, err)
			_, err = io.WriteString(c, "GET /mesh HTTP/1.1\r\nHost: x\r\n"[:1+i%20])
			must(t, err)
			all = append(all, c)
		}
		ws := dial(t)
		ws.Close()
		s.expectUnhurt(t)
		for _, c := range all { // the last ones have ten seconds
			until(t, c)
		}
	})
	s.expectUnhurt(t)
	for _, p := range []string{"/", "/mesh/", "/other"} {
		if ws, resp, err := websocket.DefaultDialer.DialContext(s.ctx, "ws://"+s.ws+p, nil); err == nil {
			ws.Close()
			t.Errorf("there is a link at %s", p)
		} else if resp != nil {
			resp.Body.Close()
		}
	}
}
