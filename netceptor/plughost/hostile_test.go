package plughost

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
)

func rand8() string { return rand.Text()[:8] }

// healthy is a plug that must not suffer, whatever another does: it serves a
// service, and dials it.
type healthy struct {
	t    *testing.T
	plug *plugtest.FakePlug
}

func newHealthy(t *testing.T, r *rig) *healthy {
	t.Helper()
	h := &healthy{t, r.attach("healthy", wire.Kind{Kind: "healthy", Role: wire.RoleStream})}
	if _, err := h.plug.Bind(t.Context(), wire.Bind{Bind: "h", Service: "healthy"}); err != nil {
		t.Fatal(err)
	}
	return h
}

// works carries a stream through the mesh and back.
func (h *healthy) works() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), plugtest.Patience)
	defer cancel()
	dialled := make(chan error, 1)
	var near *recordconn.Conn
	go func() {
		var err error
		near, err = h.plug.Dial(ctx, wire.Dial{Node: "alpha", Service: "healthy"})
		dialled <- err
	}()
	far, err := h.plug.Attach(ctx, h.plug.NextAccept().Object)
	if err != nil {
		h.t.Fatalf("healthy plug: %v", err)
	}
	if err := <-dialled; err != nil {
		h.t.Fatalf("healthy plug: %v", err)
	}
	patient(h.t, near, far)
	write(h.t, near, []byte("x"))
	readFull(h.t, far, 1)
	end(h.t, near)
	end(h.t, far)
	readAll(h.t, near)
	readAll(h.t, far)
	if err := near.Close(); err != nil {
		h.t.Error(err)
	}
	if err := far.Close(); err != nil {
		h.t.Error(err)
	}
}

func TestFlood(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	h := newHealthy(t, r)
	hello, err := json.Marshal(plugtest.Hello("flood", tcpServer()))
	if err != nil {
		t.Fatal(err)
	}
	c := plugtest.Raw(t, r.dial, wire.Preamble{Major: wire.Major, Kind: wire.ConnSession}.Append(nil),
		plugtest.Frame(wire.TypeHello, 0, 1, string(hello)))
	patient(t, c)
	go func() {
		status := bytes.Repeat(plugtest.Frame(wire.TypeStatus, 0, 0, "{}"), 100)
		for {
			if _, err := c.Write(status); err != nil {
				return // closed, as it must be
			}
		}
	}()
	if answer, err := io.ReadAll(c); isTimeout(err) || !bytes.Contains(answer, []byte(`"code":"limit"`)) {
		t.Errorf("answer %q, %v", answer, err)
	}
	r.eventually("the flood to be counted", func() bool { return r.Counters()["floods"] > 0 })
	r.eventually("the plug to be gone", func() bool { return len(r.Plugs()) == 1 })
	h.works()
}

// A plug that says yes to every stream and comes for none holds its own streams
// only, and not more than it may.
func TestNeverAttaches(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	h := newHealthy(t, r)
	p := r.attach("lazy", tcpServer())
	if _, err := p.Bind(t.Context(), wire.Bind{Bind: "b", Service: "lazy"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	const dials = wire.MaxOpensPerItem + 20
	done := make(chan error, dials)
	for range dials {
		go func() {
			_, err := r.node.Dial(ctx, "alpha", "lazy")
			done <- err
		}()
	}
	for range dials - wire.MaxOpensPerItem {
		if e := dialError(<-done, "alpha", "lazy"); e.Code != wire.CodeRefused {
			t.Errorf("got %v", e)
		}
	}
	h.works()
	cancel()
	for range wire.MaxOpensPerItem {
		if err := <-done; err == nil {
			t.Error("dialled a service that takes nothing")
		}
	}
}

// Every prefix of a valid conversation, followed by rubbish or by the end.
func TestPrefixes(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	h := newHealthy(t, r)
	hello, err := json.Marshal(plugtest.Hello("prefix", tcpServer()))
	if err != nil {
		t.Fatal(err)
	}
	conversation := wire.Preamble{Major: wire.Major, Kind: wire.ConnSession}.Append(nil)
	conversation = append(conversation, plugtest.Frame(wire.TypeHello, 0, 1, string(hello))...)
	conversation = append(conversation, plugtest.Frame(wire.TypeStatus, 0, 0, `{"state":"up","items":[]}`)...)
	conversation = append(conversation, plugtest.Frame(wire.TypeBind, 0, 3, `{"bind":"p","service":"prefix"}`)...)
	for _, rubbish := range [][]byte{nil, []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")} {
		for n := range conversation {
			c := plugtest.Raw(t, r.dial, conversation[:n], rubbish)
			if err := c.(*net.UnixConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if err := c.SetDeadline(time.Now().Add(plugtest.Patience)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, c); isTimeout(err) {
				t.Fatalf("prefix %d: the core does not close", n)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			// The name must be free again, or the next is refused before it has said all.
			r.eventually("all but the healthy plug to be gone", func() bool { return len(r.Plugs()) == 1 })
		}
	}
	h.works()
}

// Bytes before the answer, and rubbish instead of records.
func TestRubbishOnDataConnections(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	h := newHealthy(t, r)
	p := r.attach("rubbish", tcpServer())
	if _, err := p.Bind(t.Context(), wire.Bind{Bind: "b", Service: "svc"}); err != nil {
		t.Fatal(err)
	}
	dial, err := json.Marshal(wire.Dial{Session: p.Welcome.Session, Node: "alpha", Service: "svc"})
	if err != nil {
		t.Fatal(err)
	}
	open := wire.Preamble{Major: wire.Major, Kind: wire.ConnData}.Append(nil)
	open = append(open, plugtest.Frame(wire.TypeDial, 0, 1, string(dial))...)

	early := plugtest.Raw(t, r.dial, open, []byte("early"))
	if _, err := io.ReadAll(early); isTimeout(err) {
		t.Fatal(err)
	}
	c := plugtest.Raw(t, r.dial, open)
	var a wire.Accept
	var far *recordconn.Conn
	for far == nil { // the offer of the early one may come first
		a = p.NextAccept()
		if far, err = p.Attach(t.Context(), a.Object); err != nil {
			far = nil
		}
	}
	patient(t, far)
	if _, err := c.Write([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff")); err != nil {
		t.Fatal(err)
	}
	wantReset(t, far)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	h.works()
}

// A plug that does not read holds up nobody: its stream stands, others flow.
func TestPlugThatDoesNotRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	h := newHealthy(t, r)
	near, far := openSelf(t, r.attach("deaf", tcpServer()))
	patient(t, far)
	if err := near.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := near.Write(make([]byte, 64<<10)); err != nil {
			break // far does not read
		}
	}
	h.works()
	if err := near.Close(); err != nil {
		t.Error(err)
	}
	wantReset(t, far)
}

// openSelf opens a stream from a plug to a service of its own.
func openSelf(t *testing.T, p *plugtest.FakePlug) (near, far *recordconn.Conn) {
	t.Helper()
	if _, err := p.Bind(t.Context(), wire.Bind{Bind: "self", Service: "self"}); err != nil {
		t.Fatal(err)
	}
	dialled := make(chan error, 1)
	go func() {
		var err error
		near, err = p.Dial(t.Context(), wire.Dial{Node: "alpha", Service: "self"})
		dialled <- err
	}()
	far, err := p.Attach(t.Context(), p.NextAccept().Object)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-dialled; err != nil {
		t.Fatal(err)
	}
	return near, far
}

// A mistake of ours in serving one plug ends that plug's connection only.
func TestPanic(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	h := newHealthy(t, r)
	p := r.attach("unlucky", tcpServer())
	r.mu.Lock()
	g := r.guestNamed("unlucky")
	g.rule = nil // as no code of ours would
	r.mu.Unlock()
	_, err := p.Bind(t.Context(), wire.Bind{Bind: "b", Service: "svc"})
	if err == nil {
		t.Fatal("bound")
	}
	r.eventually("the plug to be gone", func() bool { return len(r.Plugs()) == 1 })
	if n := r.Counters()["panics"]; n != 1 {
		t.Errorf("%d panics", n)
	}
	h.works()
	r.mu.Lock()
	delete(r.counters, "panics") // this one was wanted
	r.mu.Unlock()
}

// FuzzFirstBytes feeds what a connection begins with to a host.
func FuzzFirstBytes(f *testing.F) {
	session := wire.Preamble{Major: wire.Major, Kind: wire.ConnSession}.Append(nil)
	data := wire.Preamble{Major: wire.Major, Kind: wire.ConnData}.Append(nil)
	hello, err := json.Marshal(plugtest.Hello("fuzz", tcpListener(), tcpServer()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte("RCPTPLUG\x02\x01\x00\x00"))
	f.Add(append(session, plugtest.Frame(wire.TypeHello, 0, 1, string(hello))...))
	f.Add(append(session, plugtest.Frame(wire.TypeHello, 0, 1, `{"name":"x","kinds":[{"kind":"a","role":"link","params":[{"name":"p","type":"int","default":"x"}]}]}`)...))
	f.Add(append(data, plugtest.Frame(wire.TypeLink, 0, 1, `{"session":"","item":"x"}`)...))
	f.Add(append(data, plugtest.Frame(wire.TypeDial, 0, 1, `{"node":"a","service":"b"}`)...))
	f.Add(append(data, plugtest.Frame(wire.TypeAttach, 0, 1, `{"object":"stream-1"}`)...))
	r := newHostOnly(f, "alpha", Config{})
	r.SetItems([]Item{listenerItem(1), {Kind: "a"}})
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, theirs := net.Pipe()
		served := make(chan struct{})
		go func() {
			defer close(served)
			r.ServeConn(t.Context(), theirs, socket.Cred{UID: me().UID, Known: true})
		}()
		go func() { _, _ = io.Copy(io.Discard, ours) }()
		_ = ours.SetDeadline(time.Now().Add(plugtest.Patience))
		if _, err := ours.Write(b); isTimeout(err) { // it may fail: the host may have closed
			t.Error("the host neither reads nor closes")
		}
		_ = ours.Close()
		<-served
		if n := r.Counters()["panics"]; n > 0 {
			t.Fatalf("panic:\n%s", r.log)
		}
		_ = r.Items()
	})
}
