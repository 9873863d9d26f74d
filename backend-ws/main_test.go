package backendws

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
)

// item is one as a core sends it; tls is the profile that it names, or nil.
func item(t *testing.T, s *plugtest.CoreSession, kind string, raw map[string]any, tls any) wire.ConfigItem {
	t.Helper()
	it := s.Item(kind, raw)
	if tls == nil {
		return it
	}
	var params map[string]any
	if err := json.Unmarshal(it.Params, &params); err != nil {
		t.Fatal(err)
	}
	params["tls"] = tls
	return plugtest.NewItem(t, it.Item, it.Kind, params)
}

// listening is a ws-listener of the plug: its address.
func listening(t *testing.T, raw map[string]any, tls any) (*plugtest.FakeCore, string) {
	t.Helper()
	core, s := plugtest.Attached(t, New())
	raw["port"], raw["bindaddr"] = 0, "127.0.0.1"
	return core, s.StartItem(item(t, s, kindListener, raw, tls))
}

func dialWS(t *testing.T, url string, h http.Header) *websocket.Conn {
	t.Helper()
	ws, resp, err := websocket.DefaultDialer.Dial(url, h)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return own(t, ws)
}

func own(t *testing.T, ws *websocket.Conn) *websocket.Conn {
	t.Helper()
	t.Cleanup(func() { _ = ws.Close() })
	if err := ws.SetReadDeadline(time.Now().Add(plugtest.Patience)); err != nil {
		t.Fatal(err)
	}
	return ws
}

// server is another node that listens, as existing ones do.
func server(t *testing.T) (addr string, accepted <-chan *websocket.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := make(chan *websocket.Conn, 10)
	s := &http.Server{ReadHeaderTimeout: plugtest.Patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var up websocket.Upgrader
		if ws, err := up.Upgrade(w, r, nil); err == nil {
			c <- own(t, ws)
		}
	})}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return l.Addr().String(), c
}

func frame(msg string) string {
	return string(binary.LittleEndian.AppendUint16(nil, uint16(len(msg)))) + msg
}

// wantFrames reads from the core's end of a link.
func wantFrames(t *testing.T, core net.Conn, msgs ...string) {
	t.Helper()
	want := frames(msgs)
	got := make([]byte, len(want))
	if n, err := io.ReadFull(core, got); err != nil || string(got) != want {
		t.Fatalf("the core got %d bytes %.80q, %v; want %.80q", n, got[:n], err, want)
	}
}

// wantMessages reads from the other node's end.
func wantMessages(t *testing.T, ws *websocket.Conn, msgs ...string) {
	t.Helper()
	for _, want := range msgs {
		kind, got, err := ws.ReadMessage()
		if err != nil || kind != websocket.BinaryMessage || string(got) != want {
			t.Fatalf("the other node got type %d, %d bytes %.80q, %v; want %d bytes %.80q", kind, len(got), got, err, len(want), want)
		}
	}
}

func sendWS(t *testing.T, ws *websocket.Conn, kind int, msg string) {
	t.Helper()
	if err := ws.WriteMessage(kind, []byte(msg)); err != nil {
		t.Fatal(err)
	}
}

func sendFrames(t *testing.T, core net.Conn, msgs ...string) {
	t.Helper()
	if _, err := io.WriteString(core, frames(msgs)); err != nil {
		t.Fatal(err)
	}
}

func frames(msgs []string) (all string) {
	for _, m := range msgs {
		all += frame(m)
	}
	return all
}
