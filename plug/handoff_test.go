//go:build unix

package plug_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
)

// handoffCore is a core that takes descriptors.
func handoffCore(t *testing.T) *plugtest.FakeCore {
	t.Helper()
	return plugtest.NewCore(t, func(c *plugtest.FakeCore) { c.FDPass = true })
}

// linkPlug carries sock as a link, and tells what CarryLink returned.
func linkPlug(sock net.Conn) (*plug.Plug, <-chan error) {
	result := make(chan error, 1)
	return testPlug(wire.RoleLink, func(ctx context.Context, it *plug.Item) error {
		result <- it.CarryLink(ctx, sock, plug.LinkInfo{Dir: "in", Local: "l", Remote: "r", Medium: "tcp"})
		return nil
	}), result
}

// dialPlug carries sock to far/web, and tells what CarryDial returned.
func dialPlug(sock net.Conn) (*plug.Plug, <-chan error) {
	result := make(chan error, 1)
	return testPlug(wire.RoleStream, func(ctx context.Context, it *plug.Item) error {
		result <- it.CarryDial(ctx, sock, plug.Target{Node: "far", Service: "web"}, plug.DialOptions{})
		return nil
	}), result
}

// A link's socket goes to the core with all that the other node has said, before
// and after; the plug has no part in it until CLOSED.
func TestHandOverLink(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		code string
		fine bool
	}{
		"ends in order": {"", true},
		"breaks":        {wire.CodeGone, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			core := handoffCore(t)
			peer, sock := tcpPair(t)
			data := bytes.Repeat([]byte("0123456789abcde"), 200_000)
			go func() {
				if _, err := peer.Write(data); err != nil { // begins before anybody reads
					t.Error(err)
				}
			}()
			p, result := linkPlug(sock)
			core.RunPlug(p)
			s := core.Session()
			s.Configure(item(t, "a", "1"))
			h := core.HandedLink()
			if b := h.LinkBody(); !reflect.DeepEqual(b, wire.Link{Session: s.Welcome.Session, Item: "a", Dir: "in", Local: "l", Remote: "r", Medium: "tcp"}) {
				t.Errorf("LINK %+v", b)
			}
			link := h.Open("l1")
			got := make([]byte, len(data))
			if _, err := io.ReadFull(link, got); err != nil || !bytes.Equal(got, data) {
				t.Fatalf("read %v", err)
			}
			say(t, link, "and back")
			wantPart(t, peer, "and back")
			select {
			case err := <-result:
				t.Fatalf("CarryLink returned %v, the link lives", err)
			default:
			}
			if err := link.Close(); err != nil {
				t.Fatal(err)
			}
			wantAll(t, peer, "") // no copy holds it open
			s.EndLink("another", "")
			s.EndLink("l1", tc.code)
			if err := plugtest.Receive(t, result, "CarryLink to return"); (err == nil) != tc.fine {
				t.Errorf("CarryLink returned %v", err)
			}
		})
	}
}

// A drained item is done with links that the core carries; they live on.
func TestHandedLinkOutlivesDrain(t *testing.T) {
	t.Parallel()
	core := handoffCore(t)
	peer, sock := tcpPair(t)
	p, result := linkPlug(sock)
	core.RunPlug(p)
	s := core.Session()
	s.Configure(item(t, "a", "1"))
	link := core.HandedLink().Open("l1")
	if err := s.Call(t.Context(), wire.TypeDrain, wire.Drain{}, nil); err != nil {
		t.Fatal(err)
	}
	if err := plugtest.Receive(t, result, "CarryLink to return"); !errors.Is(err, context.Canceled) {
		t.Errorf("CarryLink returned %v", err)
	}
	say(t, link, "still here")
	wantPart(t, peer, "still here")
}

// CLOSED may come before the answer to LINK has been looked at.
func TestClosedAtOnce(t *testing.T) {
	t.Parallel()
	for range 20 {
		core := handoffCore(t)
		_, sock := tcpPair(t)
		p, result := linkPlug(sock)
		core.RunPlug(p)
		s := core.Session()
		s.Configure(item(t, "a", "1"))
		h := core.HandedLink()
		s.EndLink("l1", wire.CodeGone)
		h.Open("l1")
		var told *wire.Error
		if err := plugtest.Receive(t, result, "CarryLink to return"); !errors.As(err, &told) || told.Code != wire.CodeGone {
			t.Errorf("CarryLink returned %v", err)
		}
	}
}

// A stream's socket goes to the core, whose reset is one at the application; the
// plug's closing is none.
func TestHandOverDial(t *testing.T) {
	t.Parallel()
	core := handoffCore(t)
	app, sock := tcpPair(t)
	say(t, app, "question")
	p, result := dialPlug(sock)
	stop := core.RunPlug(p)
	s := core.Session()
	s.Configure(item(t, "a", "1"))
	h := core.HandedDial()
	if b := h.DialBody(); b.Node != "far" || b.Service != "web" || b.Item != "a" || b.Session != s.Welcome.Session || b.TimeoutMS <= 0 {
		t.Errorf("DIAL %+v", b)
	}
	mesh := h.Open("s1")
	if err := plugtest.Receive(t, result, "CarryDial to return"); err != nil {
		t.Fatal(err)
	}
	stop() // the stream does not care
	wantPart(t, mesh, "question")
	say(t, mesh, "answer")
	wantPart(t, app, "answer")
	core.Kill()
	wantReset(t, app)
}

func TestHandOverDialRefused(t *testing.T) {
	t.Parallel()
	core := handoffCore(t)
	app, sock := tcpPair(t)
	p, result := dialPlug(sock)
	core.RunPlug(p)
	core.Session().Configure(item(t, "a", "1"))
	core.HandedDial().Refuse(wire.NewError(wire.CodeUnreachable, "no way to far"))
	var dial *plug.DialError
	if err := plugtest.Receive(t, result, "CarryDial to return"); !errors.As(err, &dial) || err.Error() != "dial far/web: unreachable: no way to far" {
		t.Errorf("CarryDial returned %v", err)
	}
	wantReset(t, app)
}

// What the core does not take is relayed, and nothing of it is lost.
func TestHandOverFallsBack(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]string{
		"unsupported": wire.CodeUnsupported,
		"limit":       wire.CodeLimit,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			core := handoffCore(t)
			peer, sock := tcpPair(t)
			say(t, peer, "early")
			p, _ := linkPlug(sock)
			core.RunPlug(p)
			core.Session().Configure(item(t, "a", "1"))
			core.HandedLink().Refuse(wire.NewError(code, "not now"))
			link := core.Link().OpenLink("l1")
			wantPart(t, link, "early")

			core = handoffCore(t)
			app, sock := tcpPair(t)
			say(t, app, "early")
			p, _ = dialPlug(sock)
			core.RunPlug(p)
			core.Session().Configure(item(t, "a", "1"))
			core.HandedDial().Refuse(wire.NewError(code, "not now"))
			mesh := core.DialRequest().OpenStream("s1")
			wantPart(t, mesh, "early")
			say(t, mesh, "back")
			wantPart(t, app, "back")
		})
	}
}

// unixStreams is a connection of Unix stream sockets.
func unixStreams(t *testing.T) (app, sock net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if app, err = net.Dial("unix", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if sock, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = app.Close(), sock.Close() })
	return app, sock
}

// Only sockets whose bytes nobody transforms are handed over, and only if that
// was agreed upon.
func TestWhatIsRelayed(t *testing.T) {
	t.Parallel()
	tcp := func(t *testing.T) (net.Conn, net.Conn) { return tcpPair(t) }
	wrapped := func(t *testing.T) (net.Conn, net.Conn) {
		a, b := tcpPair(t)
		return a, struct{ *net.TCPConn }{b} // as tls.Conn, more or less
	}
	for name, tc := range map[string]struct {
		pair         func(*testing.T) (net.Conn, net.Conn)
		link, stream bool // relayed
		core, plug   bool // does not want it
	}{
		"TCP":                {tcp, false, false, false, false},
		"Unix":               {unixStreams, true, false, false, false},
		"wrapped":            {wrapped, true, true, false, false},
		"the core cannot":    {tcp, true, true, true, false},
		"the plug shall not": {tcp, true, true, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, role := range []string{wire.RoleLink, wire.RoleStream} {
				core := plugtest.NewCore(t, func(c *plugtest.FakeCore) { c.FDPass = !tc.core })
				_, sock := tc.pair(t)
				p, _ := linkPlug(sock)
				if role == wire.RoleStream {
					p, _ = dialPlug(sock)
				}
				core.RunPlug(p, func(o *plug.Options) { o.NoHandoff = tc.plug })
				core.Session().Configure(item(t, "a", "1"))
				switch {
				case role == wire.RoleLink && tc.link:
					core.Link().OpenLink("l1")
				case role == wire.RoleLink:
					core.HandedLink().Open("l1")
				case tc.stream:
					core.DialRequest().OpenStream("s1")
				default:
					core.HandedDial().Open("s1")
				}
			}
		})
	}
}

// A stream that arrives is answered with its target's socket.
func TestServeHandsOver(t *testing.T) {
	t.Parallel()
	core := handoffCore(t)
	app, sock := tcpPair(t)
	stop := core.RunPlug(servePlug(func(context.Context, plug.Target) (net.Conn, error) { return sock, nil }))
	s := core.Session()
	s.Configure(item(t, "a", "1"))
	mesh, err := s.AcceptHandedOver(t.Context(), s.WaitBind("web").Bind, "s1", wire.RemoteAddr{Node: "far"})
	if err != nil {
		t.Fatal(err)
	}
	stop() // waits for no stream
	say(t, mesh, "question")
	wantPart(t, app, "question")
	core.Kill()
	wantReset(t, app)
}

// A stream that nobody waits for any more is reset at its target.
func TestServeWithdrawn(t *testing.T) {
	t.Parallel()
	core := handoffCore(t)
	app, sock := tcpPair(t)
	called, wait := make(chan struct{}), make(chan struct{})
	core.RunPlug(servePlug(func(context.Context, plug.Target) (net.Conn, error) {
		close(called)
		<-wait
		return sock, nil
	}))
	s := core.Session()
	s.Configure(item(t, "a", "1"))
	bind := s.WaitBind("web").Bind
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := s.AcceptHandedOver(ctx, bind, "s1", wire.RemoteAddr{Node: "far"})
		result <- err
	}()
	plugtest.Receive(t, called, "the target to be called")
	cancel()
	if err := plugtest.Receive(t, result, "ACCEPT to be withdrawn"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(wait)
	wantReset(t, app)
}

// A link outlives the session: what CONFIG names as live goes on, the rest has
// ended with the core.
func TestLiveAfterReattach(t *testing.T) {
	t.Parallel()
	core := handoffCore(t)
	type carried struct {
		item string
		err  error
	}
	results, items := make(chan carried, 2), make(chan *plug.Item, 2)
	core.RunPlug(testPlug(wire.RoleLink, func(ctx context.Context, it *plug.Item) error {
		items <- it
		_, sock := tcpPair(t)
		results <- carried{it.ID, it.CarryLink(ctx, sock, plug.LinkInfo{Remote: it.ID})}
		return nil
	}))
	s := core.Session()
	a, b := item(t, "a", "1"), item(t, "b", "1")
	s.Configure(a, b)
	for range 2 {
		h := core.HandedLink()
		h.Open(h.LinkBody().Item + "-link") // a name of the test's
	}
	s.WaitStatus("two items", func(st wire.Status) bool { return len(st.Items) == 2 })
	for range 2 { // the answers are there
		it := plugtest.Receive(t, items, "an item to run")
		for start := time.Now(); len(it.Live()) == 0; runtime.Gosched() {
			if time.Since(start) > plugtest.Patience {
				t.Fatalf("%s knows of no link", it.ID)
			}
		}
	}
	s.Close(nil)
	s = core.Session()
	a.Live = []wire.Live{{Object: "a-link", Remote: "a"}}
	s.Configure(a, b)
	if r := plugtest.Receive(t, results, "a CarryLink to return"); r.item != "b" || r.err == nil {
		t.Errorf("of %s: %v", r.item, r.err)
	}
	s.EndLink("a-link", "")
	if r := plugtest.Receive(t, results, "a CarryLink to return"); r.item != "a" || r.err != nil {
		t.Errorf("of %s: %v", r.item, r.err)
	}
}

// What an earlier process has handed over is told by CONFIG, and awaited.
func TestLiveOfAnEarlierProcess(t *testing.T) {
	t.Parallel()
	core := handoffCore(t)
	lives, ended := make(chan []wire.Live, 10), make(chan error, 10)
	core.RunPlug(testPlug(wire.RoleLink, func(ctx context.Context, it *plug.Item) error {
		lives <- it.Live()
		ended <- it.AwaitLive(ctx)
		return nil
	}))
	s := core.Session()
	a := item(t, "a", "1")
	a.Live = []wire.Live{{Object: "l2"}, {Object: "l1", Remote: "there"}}
	s.EndLink("l3", "") // before CONFIG, which may say otherwise
	a.Live = append(a.Live, wire.Live{Object: "l3"})
	s.Configure(a)
	got := plugtest.Receive(t, lives, "the item to run")
	if len(got) != 2 || got[0] != (wire.Live{Object: "l1", Remote: "there"}) || got[1].Object != "l2" {
		t.Errorf("live %v", got)
	}
	s.EndLink("l2", wire.CodeGone)
	s.EndLink("l1", "")
	if err := plugtest.Receive(t, ended, "AwaitLive to return"); err != nil {
		t.Error(err)
	}
	// An older truth about the same item is none.
	s.Configure(a, item(t, "b", "1"))
	if got := plugtest.Receive(t, lives, "another item to run"); len(got) != 0 {
		t.Errorf("live %v", got)
	}
	a.Params = item(t, "a", "2").Params
	s.Configure(a)
	if got := plugtest.Receive(t, lives, "the item to run again"); len(got) != 0 {
		t.Errorf("live %v", got)
	}
}
