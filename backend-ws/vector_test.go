package backendws

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
)

// recorded is what was said between existing nodes: u3 has dialled u1.
type recorded struct {
	Sender, Hex string
}

func (r recorded) bytes(t *testing.T) []byte {
	t.Helper()
	b, err := hex.DecodeString(r.Hex)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func record(t *testing.T) []recorded {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors/10-websocket-and-udp-init.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct{ WebSocket []recorded }
	if err := json.Unmarshal(text, &v); err != nil || len(v.WebSocket) < 5 {
		t.Fatalf("%d messages, %v", len(v.WebSocket), err)
	}
	return v.WebSocket
}

// A listener answers an existing node's bytes as an existing node did.
func TestRecordedDialler(t *testing.T) {
	t.Parallel()
	v := record(t)
	core, addr := listening(t, map[string]any{"path": "/mesh"}, nil)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(plugtest.Patience)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	if _, err := c.Write(v[0].bytes(t)); err != nil {
		t.Fatal(err)
	}
	want := v[1].bytes(t)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("answered %q, %v; an existing node %q", got, err, want)
	}
	link := core.Link().OpenLink("l")
	// What u1 said, as the core has it, and what u3 said.
	said := v[2].bytes(t)
	sendFrames(t, link, string(said[4:])) // after two bytes of header and two of length
	got = make([]byte, len(said))
	if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, said) {
		t.Fatalf("sent %q, %v; an existing node %q", got, err, said)
	}
	masked := v[3].bytes(t)
	if _, err := c.Write(masked); err != nil {
		t.Fatal(err)
	}
	key, body := masked[4:8], bytes.Clone(masked[8:])
	for i := range body {
		body[i] ^= key[i%4]
	}
	wantFrames(t, link, string(body))
}

// A peer asks as an existing node did.
func TestRecordedListener(t *testing.T) {
	t.Parallel()
	asked, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(record(t)[0].bytes(t))))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, s := plugtest.Attached(t, New())
	s.Configure(s.Item(kindPeer, map[string]any{
		"address": "ws://" + l.Addr().String() + asked.URL.Path, "extraheader": "X-Thing:some value",
	}))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	got, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		t.Fatal(err)
	}
	asked.Header["Origin"] = []string{"http://" + l.Addr().String()}
	asked.Header["Sec-Websocket-Key"] = got.Header["Sec-Websocket-Key"] // random
	if !maps.EqualFunc(asked.Header, got.Header, slices.Equal) || got.Host != l.Addr().String() || got.RequestURI != asked.RequestURI {
		t.Errorf("asked %s of %s with %v; an existing node with %v", got.RequestURI, got.Host, got.Header, asked.Header)
	}
}
