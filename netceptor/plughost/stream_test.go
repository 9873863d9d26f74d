package plughost

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/wire"
)

// proxies is a line of two nodes with a proxy plug each, joined by links of
// backend plugs: what is tested crosses both hosts twice.
type proxies struct {
	a, b *rig
	near *plugtest.FakePlug // at a
	far  *plugtest.FakePlug // at b, has bound "svc"
}

func newProxies(t *testing.T) *proxies {
	t.Helper()
	p := &proxies{a: newRig(t, "alpha", Config{}), b: newRig(t, "beta", Config{})}
	linkHosts(t, p.a, p.b)
	p.near, p.far = p.a.attach("proxy", tcpServer()), p.b.attach("proxy", tcpServer())
	if _, err := p.far.Bind(t.Context(), wire.Bind{Bind: "b1", Service: "svc"}); err != nil {
		t.Fatal(err)
	}
	p.a.eventually("a route", func() bool { return p.a.node.Status().RoutingTable["beta"] != "" })
	return p
}

// linkHosts lets backend plugs make a link between two hosts' nodes, and
// returns them.
func linkHosts(t *testing.T, a, b *rig) (pa, pb *plugtest.FakePlug) {
	t.Helper()
	a.SetItems([]Item{{Kind: "tcp-peer", Params: map[string]any{"address": "x:1", "cost": 2}}})
	b.SetItems([]Item{{Kind: "tcp-listener", Params: map[string]any{"port": 1, "cost": 2}}})
	pa, pb = a.attach("backend", tcpPeer()), b.attach("backend", tcpListener())
	ca, oa, err := pa.Link(t.Context(), wire.Link{Item: "tcp-peer address=x:1", Dir: "out", Local: "l", Remote: "r", Medium: "tcp"})
	if err != nil {
		t.Fatal(err)
	}
	cb, ob, err := pb.Link(t.Context(), wire.Link{Item: "tcp-listener port=1", Dir: "in", Medium: "tcp"})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(oa.Object, "link-") || !strings.HasPrefix(ob.Object, "link-") {
		t.Errorf("objects %q, %q", oa.Object, ob.Object)
	}
	done := make(chan struct{}, 2)
	relay := func(dst, src net.Conn) {
		_, _ = io.Copy(dst, src) // ends with the plug
		_ = dst.Close()
		done <- struct{}{}
	}
	go relay(ca, cb)
	go relay(cb, ca)
	t.Cleanup(func() {
		_ = ca.Close()
		_ = cb.Close()
		<-done
		<-done
	})
	return pa, pb
}

// open opens a stream from the near plug to the far one.
func (p *proxies) open(t *testing.T) (near, far *recordconn.Conn) {
	t.Helper()
	type result struct {
		c   *recordconn.Conn
		err error
	}
	dialled := make(chan result, 1)
	go func() {
		c, err := p.near.Dial(t.Context(), wire.Dial{Node: "beta", Service: "svc"})
		dialled <- result{c, err}
	}()
	a := p.far.NextAccept()
	if a.Bind != "b1" || a.Remote.Node != "alpha" {
		t.Errorf("ACCEPT %+v", a)
	}
	far, err := p.far.Attach(t.Context(), a.Object)
	if err != nil {
		t.Fatal(err)
	}
	r := <-dialled
	if r.err != nil {
		t.Fatal(r.err)
	}
	t.Cleanup(func() {
		_ = r.c.Close()
		_ = far.Close()
	})
	return r.c, far
}

// patient gives a stream a deadline, so that a test that hangs says where.
func patient(t *testing.T, conns ...net.Conn) {
	t.Helper()
	for _, c := range conns {
		if err := c.SetDeadline(time.Now().Add(plugtest.Patience)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStreamEnds(t *testing.T) {
	t.Parallel()
	p := newProxies(t)
	big := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MiB
	for _, tc := range []struct {
		name string
		run  func(t *testing.T, near, far *recordconn.Conn)
	}{
		{"clean end", func(t *testing.T, near, far *recordconn.Conn) {
			go func() {
				write(t, near, big)
				end(t, near)
			}()
			if got := readAll(t, far); !bytes.Equal(got, big) {
				t.Errorf("%d bytes arrived of %d", len(got), len(big))
			}
			end(t, far)
			if got := readAll(t, near); len(got) != 0 {
				t.Errorf("got %q", got)
			}
		}},
		{"answer after the near half-close", func(t *testing.T, near, far *recordconn.Conn) {
			write(t, near, []byte("question"))
			end(t, near)
			if got := readAll(t, far); string(got) != "question" {
				t.Errorf("got %q", got)
			}
			go func() {
				write(t, far, big)
				end(t, far)
			}()
			if got := readAll(t, near); !bytes.Equal(got, big) {
				t.Errorf("%d bytes arrived of %d", len(got), len(big))
			}
		}},
		{"answer after the far half-close", func(t *testing.T, near, far *recordconn.Conn) {
			write(t, near, []byte("."))
			readFull(t, far, 1)
			end(t, far)
			if got := readAll(t, near); len(got) != 0 {
				t.Errorf("got %q", got)
			}
			go func() {
				write(t, near, big)
				end(t, near)
			}()
			if got := readAll(t, far); !bytes.Equal(got, big) {
				t.Errorf("%d bytes arrived of %d", len(got), len(big))
			}
		}},
		{"near abort", func(t *testing.T, near, far *recordconn.Conn) {
			write(t, near, []byte("half"))
			readFull(t, far, 4)
			reset(t, near)
			wantReset(t, far)
		}},
		{"far abort", func(t *testing.T, near, far *recordconn.Conn) {
			write(t, near, []byte("half"))
			readFull(t, far, 4)
			reset(t, far)
			wantReset(t, near)
		}},
		{"abort after the own half-close", func(t *testing.T, near, far *recordconn.Conn) {
			write(t, near, []byte("question"))
			end(t, near)
			readAll(t, far)
			reset(t, near)
			for { // the far side notices when it writes
				if _, err := far.Write(big); err != nil {
					break
				}
			}
		}},
		{"connection cut", func(t *testing.T, near, far *recordconn.Conn) {
			write(t, near, []byte("half"))
			readFull(t, far, 4)
			if err := near.Close(); err != nil { // without END
				t.Fatal(err)
			}
			wantReset(t, far)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			near, far := p.open(t)
			patient(t, near, far)
			tc.run(t, near, far)
		})
	}
	// Whatever happened: nothing is left.
	for _, r := range []*rig{p.a, p.b} {
		r.eventually("all streams to be over", func() bool {
			return r.Plugs()[1].Objects == 0
		})
	}
}

func TestPlugKilled(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"near", "far"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			p := newProxies(t)
			near, far := p.open(t)
			other := p.a.attach("healthy", wire.Kind{Kind: "healthy", Role: wire.RoleStream})
			patient(t, near, far)
			write(t, near, []byte("half"))
			readFull(t, far, 4)
			if who == "near" {
				p.near.Kill()
				wantReset(t, far)
			} else {
				p.far.Kill()
				wantReset(t, near)
			}
			if err := other.Call(t.Context(), wire.TypePing, nil, nil); err != nil {
				t.Errorf("another plug suffers: %v", err)
			}
		})
	}
}

func TestManyStreams(t *testing.T) {
	t.Parallel()
	p := newProxies(t)
	const streams = 100
	echoed := make(chan error, streams)
	go func() {
		for range streams {
			a := p.far.NextAccept()
			go func() {
				c, err := p.far.Attach(t.Context(), a.Object)
				if err == nil {
					_, err = io.Copy(c, c)
					err = errors.Join(err, c.CloseWrite(), c.Wait())
				}
				echoed <- err
			}()
		}
	}()
	done := make(chan error, streams)
	for range streams {
		go func() {
			c, err := p.near.Dial(t.Context(), wire.Dial{Node: "beta", Service: "svc"})
			if err != nil {
				done <- err
				return
			}
			_, err = c.Write([]byte("hello"))
			err = errors.Join(err, c.CloseWrite())
			got, rerr := io.ReadAll(c)
			if string(got) != "hello" {
				err = errors.Join(err, errors.New("not what was sent"))
			}
			done <- errors.Join(err, rerr, c.Close())
		}()
	}
	for range streams {
		if err := errors.Join(<-done, <-echoed); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLink(t *testing.T) {
	t.Parallel()
	a, b := newRig(t, "alpha", Config{}), newRig(t, "beta", Config{})
	pa, _ := linkHosts(t, a, b)
	a.eventually("a link", func() bool {
		ls := a.node.Status().Links
		return len(ls) == 1 && ls[0].State == "established"
	})
	l := a.node.Status().Links[0]
	if l.Cost != 2 || l.Item != "tcp-peer address=x:1" || l.Dir != "out" || l.Medium != "tcp" || l.Local != "l" || l.Remote != "r" {
		t.Errorf("link %+v", l)
	}
	if n := a.Plugs()[0].Objects; n != 1 {
		t.Errorf("%d objects", n)
	}
	pa.Kill()
	for _, r := range []*rig{a, b} {
		r.eventually("the link to end", func() bool { return len(r.node.Status().Links) == 0 })
	}
}

func TestLinkRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{Policy: Policy{Rules: []Rule{{Roles: map[string]RoleRule{wire.RoleLink: {Max: 1}, wire.RoleStream: {}}}}}})
	r.SetItems([]Item{listenerItem(1), {Kind: "tcp-server", Params: map[string]any{"port": 2}}, {Kind: "tcp-peer", Params: map[string]any{"address": "y:1"}}})
	p := r.attach("backend", tcpListener(), tcpServer())
	r.attach("other", tcpPeer())
	for _, tc := range []struct {
		name string
		req  wire.Link
		code string
		text string
	}{
		{"no such item", wire.Link{Item: "tcp-listener port=9", Dir: "in"}, wire.CodeDenied, "has no item"},
		{"item of another plug", wire.Link{Item: "tcp-peer address=y:1", Dir: "out"}, wire.CodeDenied, "has no item"},
		{"item of another role", wire.Link{Item: "tcp-server port=2", Dir: "in"}, wire.CodeDenied, "has no item"},
		{"wrong direction", wire.Link{Item: "tcp-listener port=1", Dir: "out"}, wire.CodeInvalid, "dir"},
		{"no direction", wire.Link{Item: "tcp-listener port=1"}, wire.CodeInvalid, "dir"},
		{"wrong secret", wire.Link{Item: "tcp-listener port=1", Dir: "in", Session: "x"}, wire.CodeDenied, "secret"},
	} {
		_, _, err := p.Link(t.Context(), tc.req)
		wantError(t, err, tc.code, tc.text)
	}
	good := wire.Link{Item: "tcp-listener port=1", Dir: "in"}
	c, _, err := p.Link(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = p.Link(t.Context(), good)
	wantError(t, err, wire.CodeLimit, "at most 1")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	r.eventually("the place to be free", func() bool { return r.Plugs()[0].Objects == 0 })
	c, _, err = p.Link(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDialRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{Policy: Policy{Rules: []Rule{{Roles: map[string]RoleRule{
		wire.RoleStream: {Dial: []string{"alpha/*", "*/ssh"}, Bind: []string{"web*"}, Max: 3},
	}}}}})
	p := r.attach("proxy", tcpServer())
	if _, err := p.Bind(t.Context(), wire.Bind{Bind: "b", Service: "websvc"}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		req  wire.Dial
		code string
		text string
	}{
		{"policy", wire.Dial{Node: "beta", Service: "web"}, wire.CodeDenied, `service "web" on node "beta"`},
		{"no route", wire.Dial{Node: "beta", Service: "ssh"}, wire.CodeUnreachable, `node "beta"`},
		{"no service", wire.Dial{Node: "alpha", Service: "nobody"}, wire.CodeNotFound, `"nobody"`},
		{"long service", wire.Dial{Node: "alpha", Service: "ninebytes"}, wire.CodeInvalid, "longer than 8"},
		{"nothing", wire.Dial{}, wire.CodeInvalid, "needs a node"},
		{"no item", wire.Dial{Item: "tcp-server port=1", Node: "alpha", Service: "x"}, wire.CodeDenied, "has no item"},
	} {
		_, err := p.Dial(t.Context(), tc.req)
		wantError(t, err, tc.code, tc.text)
	}

	refused := plugtest.AttachPlug(t, r.dial, plugtest.PlugOptions{
		Hello:    plugtest.Hello("refuser", wire.Kind{Kind: "refuser", Role: wire.RoleStream}),
		OnAccept: func(context.Context, wire.Accept) error { return wire.NewError(wire.CodeRefused, "target down") },
	})
	if _, err := refused.Bind(t.Context(), wire.Bind{Bind: "b2", Service: "webdown"}); err != nil {
		t.Fatal(err)
	}
	_, err := p.Dial(t.Context(), wire.Dial{Node: "alpha", Service: "webdown"})
	wantError(t, err, wire.CodeRefused, `service "webdown" on node "alpha"`)

	// Nobody takes it: the plug says yes, and does not come for it.
	_, err = p.Dial(t.Context(), wire.Dial{Node: "alpha", Service: "websvc", TimeoutMS: 50})
	wantError(t, err, wire.CodeTimeout, `service "websvc" on node "alpha"`)
	r.eventually("the places to be free", func() bool { return r.Plugs()[0].Objects == 0 })
}

// A plug that closes its data connection takes its DIAL back.
func TestDialWithdrawn(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	p := r.attach("proxy", tcpServer())
	if _, err := p.Bind(t.Context(), wire.Bind{Bind: "b", Service: "svc"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	dialled := make(chan error, 1)
	go func() {
		_, err := p.Dial(ctx, wire.Dial{Node: "alpha", Service: "svc"})
		dialled <- err
	}()
	a := p.NextAccept()
	cancel()
	if err := <-dialled; err == nil {
		t.Fatal("dialled")
	}
	r.eventually("the place to be free", func() bool { return r.Plugs()[0].Objects == 0 })
	if c, err := p.Attach(t.Context(), a.Object); err == nil { // its end may not be known yet
		patient(t, c)
		wantReset(t, c)
	}
}

func TestTimeoutOf(t *testing.T) {
	t.Parallel()
	for ms, want := range map[int64]time.Duration{
		-1: wire.DialTimeout, 0: wire.DialTimeout, 1: time.Millisecond, 1 << 62: maxDialTimeout,
	} {
		if got := timeoutOf(wire.Dial{TimeoutMS: ms}); got != want {
			t.Errorf("%d: got %v, want %v", ms, got, want)
		}
	}
}

func TestErrorsOfTheMesh(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err  error
		code string
	}{
		{netceptor.ErrNoRoute, wire.CodeUnreachable},
		{netceptor.ErrServiceUnknown, wire.CodeNotFound},
		{netceptor.ErrRefused, wire.CodeRefused},
		{netceptor.ErrTooLong, wire.CodeInvalid},
		{context.Canceled, wire.CodeCanceled},
		{context.DeadlineExceeded, wire.CodeTimeout},
		{os.ErrDeadlineExceeded, wire.CodeTimeout},
		{net.ErrClosed, wire.CodeGone},
		{errors.New("else"), wire.CodeUnreachable},
	} {
		e := dialError(&net.OpError{Op: "dial", Err: tc.err}, "beta", "svc")
		if e.Code != tc.code || e.Class == "" || !strings.Contains(e.Msg, `"beta"`) || !strings.Contains(e.Msg, `"svc"`) {
			t.Errorf("%v: %+v, want code %s", tc.err, e, tc.code)
		}
	}
	for err, code := range map[error]string{
		netceptor.ErrInUse: wire.CodeExists, netceptor.ErrTooLong: wire.CodeInvalid,
		net.ErrClosed: wire.CodeGone, errors.New("else"): wire.CodeInternal,
	} {
		if e := bindError(err, "svc"); e.Code != code || !strings.Contains(e.Msg, `"svc"`) {
			t.Errorf("%v: %+v, want code %s", err, e, code)
		}
	}
	for err, code := range map[error]string{
		netceptor.ErrReset: wire.CodeCanceled, os.ErrDeadlineExceeded: wire.CodeTimeout, errors.New("else"): wire.CodeGone,
	} {
		if got := streamEnd(err); got.Code != code {
			t.Errorf("%v: %+v, want code %s", err, got, code)
		}
	}
}

func write(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Errorf("write: %v", err)
	}
}

func end(t *testing.T, c *recordconn.Conn) {
	t.Helper()
	if err := c.CloseWrite(); err != nil {
		t.Errorf("end: %v", err)
	}
}

func reset(t *testing.T, c *recordconn.Conn) {
	t.Helper()
	if err := c.Reset(wire.Reset{Code: wire.CodeCanceled}); err != nil {
		t.Errorf("reset: %v", err)
	}
}

func readAll(t *testing.T, c net.Conn) []byte {
	t.Helper()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("read: %v", err)
	}
	return b
}

func readFull(t *testing.T, c net.Conn, n int) {
	t.Helper()
	if _, err := io.ReadFull(c, make([]byte, n)); err != nil {
		t.Fatalf("read: %v", err)
	}
}

// wantReset fails the test unless the stream has been aborted: an end, or
// silence, is not it.
func wantReset(t *testing.T, c *recordconn.Conn) {
	t.Helper()
	_, err := io.ReadAll(c)
	var reset *recordconn.ResetError
	if !errors.As(err, &reset) {
		t.Fatalf("got %v, want a reset", err)
	}
}

// A remote side that answers early and closes takes no more: the plug gets the
// whole answer all the same, and then learns that its bytes are not wanted.
func TestRemoteClosesEarly(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	p := r.attach("proxy", tcpServer())
	l, err := r.node.Listen("early", netceptor.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	answer := bytes.Repeat([]byte("answer"), 50_000)
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = c.Write(answer)
			err = errors.Join(err, c.Close())
		}
		served <- err
	}()
	c, err := p.Dial(t.Context(), wire.Dial{Node: "alpha", Service: "early"})
	if err != nil {
		t.Fatal(err)
	}
	patient(t, c)
	failed := make(chan error, 1)
	go func() {
		for {
			if _, err := c.Write(make([]byte, 64<<10)); err != nil {
				failed <- err
				return
			}
		}
	}()
	if got := readAll(t, c); !bytes.Equal(got, answer) {
		t.Errorf("%d bytes arrived of %d", len(got), len(answer))
	}
	if err := <-failed; isTimeout(err) {
		t.Error("the plug is not told that its bytes are not wanted")
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	_ = c.Close()
}

// Dials read their item's TLS while configurations come and go: never in between,
// where it is not known yet, and a stream would be dialled without.
func TestDialWhileItemsChange(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	server := Item{Kind: "tcp-server", Params: map[string]any{"port": 1}}
	r.SetItems([]Item{server})
	p := plugtest.AttachPlug(t, r.dial, plugtest.PlugOptions{Hello: plugtest.Hello("tcp", tcpServer())})
	item := p.WaitConfig("the item", func(c wire.Config) bool { return len(c.Items) == 1 }).Items[0].Item
	var changing sync.WaitGroup
	done := make(chan struct{})
	changing.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				r.mu.Lock()
				r.resolve()
				r.mu.Unlock()
			}
		}
	})
	for range 100 {
		_, err := p.Dial(t.Context(), wire.Dial{Item: item, Node: "nowhere", Service: "svc"})
		wantError(t, err, wire.CodeUnreachable, "nowhere")
	}
	close(done)
	changing.Wait()
}
