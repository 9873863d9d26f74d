package proxytcp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
)

// serving starts an inbound proxy, on a free port of loopback.
func serving(t *testing.T) (core *plugtest.FakeCore, s *plugtest.CoreSession, it wire.ConfigItem, addr string) {
	t.Helper()
	core, s = plugtest.Attached(t, New())
	it = s.Item("tcp-inbound-proxy", map[string]any{"port": 0, "remotenode": "far", "remoteservice": "web"})
	return core, s, it, s.StartItem(it)
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(plugtest.Patience)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// exchange checks a question, its end, the answer after it, and its end.
func exchange(t *testing.T, asking, answering interface {
	io.ReadWriter
	CloseWrite() error
},
) {
	t.Helper()
	for _, d := range []struct {
		from, to interface {
			io.ReadWriter
			CloseWrite() error
		}
		text string
	}{{asking, answering, "question"}, {answering, asking, "answer"}} {
		if _, err := io.WriteString(d.from, d.text); err != nil {
			t.Fatal(err)
		}
		if err := d.from.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(d.to); err != nil || string(got) != d.text {
			t.Fatalf("got %q, %v; want %q", got, err, d.text)
		}
	}
}

func wantReset(t *testing.T, r io.Reader) {
	t.Helper()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("got %v, want a reset", err)
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	if _, err := New().Hello(""); err != nil {
		t.Error(err)
	}
	for name, tc := range map[string]struct {
		kind string
		raw  map[string]any
		want string
	}{
		"a server":   {"tcp-server", map[string]any{"port": "1234", "remotenode": "n", "remoteservice": "s"}, "tcp-server port=1234"},
		"an inbound": {"tcp-inbound-proxy", map[string]any{"port": "1234", "remotenode": "n", "remoteservice": "s"}, "tcp-server port=1234 bindaddr=localhost"},
		"a client":   {"tcp-client", map[string]any{"service": "s", "address": "a:1"}, "tcp-client service=s"},
		"an outound": {"tcp-outbound-proxy", map[string]any{"service": "s", "address": "a:1"}, "tcp-client service=s"},
		"a mistake":  {"tcp-client", map[string]any{"service": "ninechars", "address": "a:1"}, `tcp-client: parameter service: expected a service name of 1 to 8 bytes, got "ninechars"`},
	} {
		it, err := plugtest.ItemOf(New().Kinds, tc.kind, tc.raw)
		got := it.Item
		if err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
	}
}

func TestServer(t *testing.T) {
	t.Parallel()
	core, _, it, addr := serving(t)
	if host, port, err := net.SplitHostPort(addr); err != nil || !net.ParseIP(host).IsLoopback() || port == "0" {
		t.Fatalf("address %q, %v", addr, err)
	}

	// One that gets no answer holds up no other.
	dial(t, addr)
	waiting := core.DialRequest()
	app := dial(t, addr)
	d := core.DialRequest()
	if b := d.DialBody(); b.Node != "far" || b.Service != "web" || b.Item != it.Item {
		t.Errorf("DIAL %+v", b)
	}
	exchange(t, app, d.OpenStream("s1"))
	waiting.Refuse(wire.NewError(wire.CodeTimeout, "too late"))
}

// What goes wrong is seen by the application and in the state, until the next success.
func TestServerCannotOpenStream(t *testing.T) {
	t.Parallel()
	core, s, it, addr := serving(t)
	app := dial(t, addr)
	core.DialRequest().Refuse(wire.NewError(wire.CodeUnreachable, "no route to node far"))
	wantReset(t, app)
	if st := s.WaitItem(it.Item, wire.StateDegraded); st.Err != "dial far/web: unreachable: no route to node far" || st.Addr != addr {
		t.Errorf("status %+v", st)
	}
	app = dial(t, addr)
	mesh := core.DialRequest().OpenStream("s1")
	s.WaitItem(it.Item, wire.StateUp)
	exchange(t, mesh, app)
}

// A core that dies resets its streams; the port stays, and connections wait.
func TestServerOutlivesCore(t *testing.T) {
	t.Parallel()
	core, _, it, addr := serving(t)
	app := dial(t, addr)
	core.DialRequest().OpenStream("s1")
	core.Kill()
	wantReset(t, app)
	core.Start()
	s := core.Session() // no core for the items before it tells its configuration
	app = dial(t, addr)
	s.Configure(it)
	exchange(t, app, core.DialRequest().OpenStream("s2"))
}

func TestServerPortInUse(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	_, s := plugtest.Attached(t, New())
	it := s.Item(kindServer, map[string]any{"port": l.Addr().(*net.TCPAddr).Port, "bindaddr": "127.0.0.1", "remotenode": "far", "remoteservice": "web"})
	s.Configure(it)
	if st := s.WaitItem(it.Item, wire.StateFailed); !strings.Contains(st.Err, l.Addr().String()+": bind: address already in use") {
		t.Errorf("status %+v", st)
	}
}

func TestClient(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	core, s := plugtest.Attached(t, New())
	it := s.Item("tcp-outbound-proxy", map[string]any{"service": "web", "address": l.Addr().String()})
	s.Configure(it)
	b := s.WaitBind("web")
	if !b.Advertise || fmt.Sprint(b.Tags) != fmt.Sprintf("map[address:%s type:TCP Proxy]", l.Addr()) {
		t.Errorf("BIND %+v", b)
	}
	s.WaitItem(it.Item, wire.StateUp)

	from := wire.RemoteAddr{Node: "far", Service: "x"}
	if err := s.Accept(t.Context(), b.Bind, "s1", from); err != nil {
		t.Fatal(err)
	}
	mesh := core.Attach().OpenStream("s1")
	app, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, mesh, app.(*net.TCPConn))

	// The application resets: so does the stream.
	if err := s.Accept(t.Context(), b.Bind, "s2", from); err != nil {
		t.Fatal(err)
	}
	mesh = core.Attach().OpenStream("s2")
	if app, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(app.(*net.TCPConn).SetLinger(0), app.Close()); err != nil {
		t.Fatal(err)
	}
	wantReset(t, mesh)

	// It has gone: the other side and the state learn why.
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	err = s.Accept(t.Context(), b.Bind, "s3", from)
	var told *wire.Error
	if !errors.As(err, &told) || told.Code != wire.CodeRefused || !strings.Contains(told.Msg, "connection refused") {
		t.Errorf("got %v", err)
	}
	if st := s.WaitItem(it.Item, wire.StateDegraded); !strings.Contains(st.Err, "connection refused") {
		t.Errorf("status %+v", st)
	}
}
