package backendws

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/viaproxy"
	"github.com/project-receptor/receptor/plug/wire"
)

var (
	largest  = strings.Repeat("x", maxMessage)
	tooLarge = largest + "x"
)

func TestKinds(t *testing.T) {
	t.Parallel()
	if _, err := New().Hello(""); err != nil {
		t.Error(err)
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		kind string
		raw  map[string]any
		tls  any
		want string
	}{
		"path":        {kindListener, map[string]any{"port": 1, "path": "mesh"}, nil, `parameter path: expected a path that begins with /, got "mesh"`},
		"scheme":      {kindPeer, map[string]any{"address": "http://h:1"}, nil, `parameter address: expected ws://host:port/path or wss://host:port/path, got "http://h:1"`},
		"host":        {kindPeer, map[string]any{"address": "ws:///x"}, nil, `parameter address: expected ws://host:port/path or wss://host:port/path, got "ws:///x"`},
		"header":      {kindPeer, map[string]any{"address": "ws://h", "extraheader": "secret"}, nil, "parameter extraheader: expected name:value"},
		"our header":  {kindPeer, map[string]any{"address": "ws://h", "extraheader": "Upgrade: x"}, nil, "parameter extraheader: Upgrade is WebSocket's own"},
		"proxy":       {kindPeer, map[string]any{"address": "ws://h", "proxy": "ftp://u:secret@h"}, nil, "parameter proxy: expected a proxy of scheme http or socks5, got ftp://u:xxxxx@h"},
		"tls not wss": {kindPeer, map[string]any{"address": "ws://h"}, map[string]any{"name": "c"}, "parameter tls: the address has to begin with wss://, as there is no TLS else: ws://h"},
		"an old core": {kindPeer, map[string]any{"address": "wss://h"}, "c", "parameter tls: this core is too old to speak TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, s := plugtest.Attached(t, New())
			r := s.Configure(item(t, s, tc.kind, tc.raw, tc.tls))
			if len(r.Errors) != 1 || r.Errors[0].Msg != tc.want {
				t.Errorf("got %+v, want %s", r.Errors, tc.want)
			}
		})
	}
}

// Messages of every size go both ways, one for one, whatever their type and how
// many there are at once.
func TestListenerCarriesMessages(t *testing.T) {
	t.Parallel()
	core, addr := listening(t, map[string]any{}, nil)
	ws := dialWS(t, "ws://"+addr+"/any/path", nil)
	d := core.Link()
	if b := d.LinkBody(); b.Dir != "in" || b.Medium != "ws" || b.Remote != ws.LocalAddr().String() || b.Secured || b.Names != nil {
		t.Errorf("LINK %+v", b)
	}
	link := d.OpenLink("l")
	exchange(t, link, ws)
	if err := link.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("after the end by the core: %v", err)
	}
}

func exchange(t *testing.T, link net.Conn, ws *websocket.Conn) {
	t.Helper()
	sendWS(t, ws, websocket.TextMessage, "a text")
	sendWS(t, ws, websocket.BinaryMessage, "")
	sendWS(t, ws, websocket.BinaryMessage, largest)
	sendWS(t, ws, websocket.BinaryMessage, "last")
	wantFrames(t, link, "a text", "", largest, "last")
	msgs := []string{"one", "two", largest, "three", "", "last"}
	go func() { _ = write(link, frames(msgs)) }() // more than sockets hold
	wantMessages(t, ws, msgs...)
	// Of many fragments one message is made.
	w, err := ws.NextWriter(websocket.BinaryMessage)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for range 5 {
			_, _ = w.Write(bytes.Repeat([]byte("f"), 5000))
		}
		_ = w.Close()
	}()
	wantFrames(t, link, strings.Repeat("f", 25000))
	// A ping is answered though nothing else is said.
	ponged := make(chan string, 1)
	ws.SetPongHandler(func(data string) error { ponged <- data; return nil })
	if err := ws.WriteControl(websocket.PingMessage, []byte("p"), time.Now().Add(plugtest.Patience)); err != nil {
		t.Fatal(err)
	}
	heard := make(chan struct{})
	go func() { // to the message below
		defer close(heard)
		if _, msg, err := ws.ReadMessage(); err != nil || string(msg) != "after the pong" {
			t.Errorf("got %q, %v", msg, err)
		}
	}()
	if got := <-ponged; got != "p" {
		t.Errorf("pong %q", got)
	}
	sendFrames(t, link, "after the pong")
	<-heard
}

func TestPeerCarriesMessages(t *testing.T) {
	t.Parallel()
	addr, accepted := server(t)
	core, s := plugtest.Attached(t, New())
	it := s.Item(kindPeer, map[string]any{"address": "ws://" + addr + "/mesh"})
	s.Configure(it)
	for range 2 { // it dials again
		ws := <-accepted
		d := core.Link()
		if b := d.LinkBody(); b.Dir != "out" || b.Medium != "ws" || b.Remote != addr || b.Secured {
			t.Errorf("LINK %+v", b)
		}
		link := d.OpenLink("l")
		exchange(t, link, ws)
		if st := s.WaitItem(it.Item, wire.StateUp); st.Addr != "ws://"+addr+"/mesh" {
			t.Errorf("status %+v", st)
		}
		if err := ws.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, link); err != nil {
			t.Errorf("the core's end: %v", err)
		}
	}
}

func TestPeerSaysWhatItGot(t *testing.T) {
	t.Parallel()
	addr, _ := server(t)
	_, s := plugtest.Attached(t, New())
	it := s.Item(kindPeer, map[string]any{"address": "ws://" + addr, "extraheader": "Origin: http://elsewhere"})
	s.Configure(it)
	want := "ws://" + addr + " has answered 403 Forbidden: does a reverse proxy change the header Host, so that it differs from Origin?"
	if st := s.WaitItem(it.Item, wire.StateDegraded); st.Err != want {
		t.Errorf("got %s, want %s", st.Err, want)
	}
}

func TestListenerRefuses(t *testing.T) {
	t.Parallel()
	core, addr := listening(t, map[string]any{"path": "/mesh"}, nil)
	for name, tc := range map[string]struct {
		path   string
		header http.Header
		want   int
	}{
		"another origin": {"/mesh", http.Header{"Origin": {"http://elsewhere:80"}}, http.StatusForbidden},
		"below the path": {"/mesh/x", nil, http.StatusNotFound},
		"no path":        {"", nil, http.StatusNotFound},
	} {
		ws, resp, err := websocket.DefaultDialer.Dial("ws://"+addr+tc.path, tc.header)
		if err == nil {
			_ = ws.Close()
		}
		if resp == nil || resp.StatusCode != tc.want {
			t.Errorf("%s: %+v, %v; want status %d", name, resp, err, tc.want)
			continue
		}
		_ = resp.Body.Close()
	}
	for name, request := range map[string]string{
		"no WebSocket": "GET /mesh HTTP/1.1\r\nHost: x\r\n\r\n",
		"too long":     "GET /mesh HTTP/1.1\r\nX: " + strings.Repeat("x", maxRequest) + "\r\n\r\n",
		"no HTTP":      "hello\r\n\r\n",
		"early words":  "GET /mesh HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\nearly",
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(c.SetDeadline(time.Now().Add(plugtest.Patience)), write(c, request)); err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(c) // a reset is an end, too
		if strings.HasPrefix(string(answer), "HTTP/1.1 101") || name == "no WebSocket" && !strings.HasPrefix(string(answer), "HTTP/1.1 400 Bad Request\r\n") {
			t.Errorf("%s: answered %q", name, answer)
		}
		_ = c.Close()
	}
	own := http.Header{"Origin": {"https://" + addr}} // another scheme, the same host
	ws := dialWS(t, "ws://"+addr+"/mesh", own)
	link := core.Link().OpenLink("l")
	sendWS(t, ws, websocket.BinaryMessage, "still here")
	wantFrames(t, link, "still here")
}

func write(c net.Conn, text string) error {
	_, err := io.WriteString(c, text)
	return err
}

// A message that is no message of a link costs the link, and nothing more.
func TestTooLargeMessage(t *testing.T) {
	t.Parallel()
	core, addr := listening(t, map[string]any{}, nil)
	ws := dialWS(t, "ws://"+addr, nil)
	link := core.Link().OpenLink("l")
	sendWS(t, ws, websocket.BinaryMessage, "before")
	_ = ws.WriteMessage(websocket.BinaryMessage, []byte(tooLarge)) // it may be closed in the middle
	wantFrames(t, link, "before")
	if rest, err := io.ReadAll(link); err != nil || len(rest) > 0 {
		t.Errorf("the core got %d bytes more, %v", len(rest), err)
	}
	again := dialWS(t, "ws://"+addr, nil)
	sendWS(t, again, websocket.BinaryMessage, "next")
	wantFrames(t, core.Link().OpenLink("l2"), "next")
}

// The last words of the core arrive, though the other node goes on talking.
func TestLastWords(t *testing.T) {
	t.Parallel()
	core, addr := listening(t, map[string]any{}, nil)
	ws := dialWS(t, "ws://"+addr, nil)
	link := core.Link().OpenLink("l")
	stop := make(chan struct{})
	talking := make(chan struct{})
	go func() {
		defer close(talking)
		for {
			select {
			case <-stop:
				return
			default:
				if ws.WriteMessage(websocket.BinaryMessage, []byte("more")) != nil {
					return
				}
			}
		}
	}()
	wantFrames(t, link, "more")
	sendFrames(t, link, "\x03")
	if err := link.Close(); err != nil {
		t.Fatal(err)
	}
	wantMessages(t, ws, "\x03")
	close(stop)
	<-talking
}

// A link whose item is stopped ends; so does one whose core is killed.
func TestEndsWithItem(t *testing.T) {
	t.Parallel()
	core, s := plugtest.Attached(t, New())
	it := s.Item(kindListener, map[string]any{"port": 0, "bindaddr": "127.0.0.1"})
	addr := s.StartItem(it)
	ws := dialWS(t, "ws://"+addr, nil)
	link := core.Link().OpenLink("l")
	s.Configure()
	if _, _, err := ws.ReadMessage(); err == nil {
		t.Error("the other node heard of no end")
	}
	// (What was on its way to it and not read makes that a reset.)
	if _, err := io.Copy(io.Discard, link); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
}

// A peer that waits for an answer ends at once when it is to.
func TestPeerStopsInTheMiddle(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for _, scheme := range []string{"ws", "wss"} {
		core := plugtest.NewCore(t)
		stop := core.RunPlug(New())
		s := core.Session()
		s.Configure(s.Item(kindPeer, map[string]any{"address": scheme + "://" + l.Addr().String()}))
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		stop()
		if took := time.Since(begun); took > viaproxy.Timeout/2 {
			t.Errorf("%s: it took %v", scheme, took)
		}
		_ = c.Close()
	}
}
