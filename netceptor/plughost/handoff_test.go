//go:build unix

package plughost

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// giver is a plug that hands over sockets.
type giver struct {
	*session.Session
	t       *testing.T
	welcome wire.Welcome
	conn    net.Conn
	ended   chan struct{}

	accept  func(context.Context, wire.Accept) (any, error)      // nil: refused
	work    func(context.Context, *session.Request) (any, error) // messages of the role worker; nil: unknown
	configs chan wire.Config
	closed  chan wire.Closed
	drains  chan wire.Drain
}

// attachGiver attaches a giver, which lives until the test ends or kill.
func (r *rig) attachGiver(name string, accept func(context.Context, wire.Accept) (any, error), kinds ...wire.Kind) *giver {
	r.t.Helper()
	return r.attachHello(plugtest.Hello(name, kinds...), accept)
}

func (r *rig) attachHello(hello wire.Hello, accept func(context.Context, wire.Accept) (any, error)) *giver {
	r.t.Helper()
	hello.Features = []string{wire.FeatureFDPass}
	return r.attachAs(&giver{accept: accept}, hello)
}

// attachAs attaches g under a HELLO.
func (r *rig) attachAs(g *giver, hello wire.Hello) *giver {
	r.t.Helper()
	t := r.t.(*testing.T)
	g.t, g.ended = t, make(chan struct{})
	g.configs, g.closed, g.drains = make(chan wire.Config, 64), make(chan wire.Closed, 64), make(chan wire.Drain, 64)
	var err error
	if g.conn, err = r.dial(t.Context()); err != nil {
		t.Fatal(err)
	}
	if g.welcome, err = session.Attach(t.Context(), g.conn, hello); err != nil {
		t.Fatal(err)
	}
	g.Session = session.New(session.Config{Conn: g.conn, Side: session.SidePlug, Handler: g.handle})
	go func() {
		defer close(g.ended)
		_ = g.Run(context.Background())
	}()
	t.Cleanup(g.kill)
	return g
}

// kill ends the plug as kill -9 would.
func (g *giver) kill() {
	_ = g.conn.Close()
	<-g.ended
}

func (g *giver) handle(ctx context.Context, r *session.Request) (any, error) {
	switch r.Type {
	case wire.TypeConfig:
		var c wire.Config
		err := r.Decode(&c)
		g.configs <- c
		return nil, err
	case wire.TypeClosed:
		var c wire.Closed
		err := r.Decode(&c)
		g.closed <- c
		return nil, err
	case wire.TypeDrain:
		var d wire.Drain
		err := r.Decode(&d)
		g.drains <- d
		return nil, err
	case wire.TypeAccept:
		var a wire.Accept
		if err := r.Decode(&a); err != nil || g.accept == nil {
			return nil, errors.Join(err, wire.NewError(wire.CodeRefused, "not here"))
		}
		return g.accept(ctx, a)
	default:
		if g.work == nil {
			return nil, session.ErrUnsupported
		}
		return g.work(ctx, r)
	}
}

// give makes a request that hands over files.
func (g *giver) give(t wire.Type, body any, files ...*os.File) (string, error) {
	var o wire.Opened
	_, err := g.CallFiles(g.t.Context(), t, body, &o, files)
	for _, f := range files {
		_ = f.Close()
	}
	return o.Object, err
}

// configured waits until the plug has an item, and returns it.
func (g *giver) configured(item string) wire.ConfigItem {
	g.t.Helper()
	for {
		c := plugtest.Receive(g.t, g.configs, "CONFIG with "+item)
		for _, it := range c.Items {
			if it.Item == item {
				return it
			}
		}
	}
}

// tcpPair returns an application's end of a TCP connection, and the file of the
// end that a plug has.
func tcpPair(t *testing.T) (*net.TCPConn, *os.File) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	app, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = app.Close() })
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	f, err := c.(*net.TCPConn).File()
	if err := errors.Join(err, c.Close()); err != nil {
		t.Fatal(err)
	}
	return app.(*net.TCPConn), f
}

// givers is a line of two nodes whose link and streams are all handed over.
type givers struct {
	a, b      *rig
	near, far *giver // proxies
	backend   *giver // of a
	link      string // its link
	apps      chan *net.TCPConn
}

func newGivers(t *testing.T) *givers {
	t.Helper()
	p := &givers{a: newRig(t, "alpha", Config{}), b: newRig(t, "beta", Config{}), apps: make(chan *net.TCPConn, 16)}
	p.a.SetItems([]Item{{Kind: "tcp-peer", Params: map[string]any{"address": "x:1"}}})
	p.b.SetItems([]Item{{Kind: "tcp-listener", Params: map[string]any{"port": 1}}})
	p.backend = p.a.attachGiver("backend", nil, tcpPeer())
	listener := p.b.attachGiver("backend", nil, tcpListener())
	out, in := tcpPair(t)
	f, err := out.File()
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
	p.link, err = p.backend.give(wire.TypeLink, wire.Link{Item: "tcp-peer address=x:1", Dir: "out", Remote: "r", Medium: "tcp"}, f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listener.give(wire.TypeLink, wire.Link{Item: "tcp-listener port=1", Dir: "in", Medium: "tcp"}, in); err != nil {
		t.Fatal(err)
	}
	p.near = p.a.attachGiver("proxy", nil, tcpServer())
	p.far = p.b.attachGiver("proxy", p.acceptTCP(t), tcpServer())
	if err := p.far.Call(t.Context(), wire.TypeBind, wire.Bind{Bind: "b1", Service: "svc"}, nil); err != nil {
		t.Fatal(err)
	}
	p.a.eventually("a route", func() bool { return p.a.node.Status().RoutingTable["beta"] != "" })
	return p
}

// acceptTCP answers ACCEPT with a socket whose other end comes out of apps.
func (p *givers) acceptTCP(t *testing.T) func(context.Context, wire.Accept) (any, error) {
	return func(context.Context, wire.Accept) (any, error) {
		app, f := tcpPair(t)
		p.apps <- app
		return session.Answer{Body: wire.Accepted{}, Files: []*os.File{f}}, nil
	}
}

// open opens a stream between two applications.
func (p *givers) open(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	near, f := tcpPair(t)
	if _, err := p.near.give(wire.TypeDial, wire.Dial{Node: "beta", Service: "svc"}, f); err != nil {
		t.Fatal(err)
	}
	far = plugtest.Receive(t, p.apps, "the far application")
	patient(t, near, far)
	return near, far
}

// over waits until nothing of what was handed over is left but links.
func (p *givers) over(t *testing.T) {
	t.Helper()
	for _, r := range []*rig{p.a, p.b} {
		r.eventually("all streams to be over", func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return len(r.handed) <= 1
		})
	}
}

func TestHandedStreamEnds(t *testing.T) {
	t.Parallel()
	p := newGivers(t)
	big := randomBytes(3 << 20)
	abort := func(t *testing.T, c *net.TCPConn) {
		if err := errors.Join(c.SetLinger(0), c.Close()); err != nil {
			t.Error(err)
		}
	}
	for _, tc := range []struct {
		name string
		run  func(t *testing.T, near, far *net.TCPConn)
	}{
		{"clean end", func(t *testing.T, near, far *net.TCPConn) {
			var wg sync.WaitGroup
			wg.Go(func() { sendAll(t, near, big) })
			wg.Go(func() { sendAll(t, far, big) })
			wg.Go(func() { wantAll(t, near, big) })
			wantAll(t, far, big)
			wg.Wait()
		}},
		{"near half-close", func(t *testing.T, near, far *net.TCPConn) {
			sendAll(t, near, []byte("question"))
			wantAll(t, far, []byte("question"))
			go sendAll(t, far, big)
			wantAll(t, near, big)
		}},
		{"far half-close", func(t *testing.T, near, far *net.TCPConn) {
			sendAll(t, far, []byte("greeting"))
			wantAll(t, near, []byte("greeting"))
			go sendAll(t, near, big)
			wantAll(t, far, big)
		}},
		{"near abort", func(t *testing.T, near, far *net.TCPConn) {
			write(t, near, []byte("half"))
			readFull(t, far, 4)
			abort(t, near)
			wantTCPReset(t, far)
		}},
		{"far abort", func(t *testing.T, near, far *net.TCPConn) {
			write(t, near, []byte("half"))
			readFull(t, far, 4)
			abort(t, far)
			wantTCPReset(t, near)
		}},
		{"abort after the own half-close", func(t *testing.T, near, far *net.TCPConn) {
			sendAll(t, near, []byte("question"))
			wantAll(t, far, []byte("question"))
			abort(t, near)
			for { // the far side notices when it writes
				if _, err := far.Write(big); err != nil {
					if isTimeout(err) {
						t.Error("nobody told the far side")
					}
					break
				}
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			near, far := p.open(t)
			tc.run(t, near, far)
		})
	}
	p.over(t)
}

// A remote side that answers early and closes: the application gets the whole
// answer, however late it reads, and then learns that its bytes are not wanted.
func TestHandedRemoteClosesEarly(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	l, err := r.node.Listen("early", netceptor.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	answer := randomBytes(3 << 20)
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = c.Write(answer)
			err = errors.Join(err, c.Close())
		}
		served <- err
	}()
	near, f := tcpPair(t)
	patient(t, near)
	if _, err := r.attachGiver("proxy", nil, tcpServer()).give(wire.TypeDial, wire.Dial{Node: "alpha", Service: "early"}, f); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		for {
			if _, err := near.Write(answer[:64<<10]); err != nil {
				failed <- err
				return
			}
		}
	}()
	got := make([]byte, len(answer))
	if n, err := io.ReadFull(near, got); err != nil || !bytes.Equal(got, answer) {
		t.Errorf("%d bytes arrived of %d, %v", n, len(answer), err)
	}
	if err := plugtest.Receive(t, failed, "an error"); isTimeout(err) {
		t.Error("the application is not told that its bytes are not wanted")
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// Killed plugs take nothing with them: neither links nor streams lose a byte.
func TestGiversKilled(t *testing.T) {
	t.Parallel()
	p := newGivers(t)
	near, far := p.open(t)
	big := randomBytes(8 << 20)
	var wg sync.WaitGroup
	for _, c := range []*net.TCPConn{near, far} {
		wg.Go(func() { // a third, then the plugs die, then the rest
			write(t, c, big[:len(big)/3])
		})
		wg.Go(func() { readFull(t, c, len(big)/3) })
	}
	wg.Wait()
	if err := p.far.Call(t.Context(), wire.TypeUnbind, wire.Unbind{Bind: "b1"}, nil); err != nil {
		t.Fatal(err)
	}
	for _, g := range []*giver{p.near, p.far, p.backend} {
		g.kill()
	}
	for _, r := range []*rig{p.a, p.b} {
		r.eventually("the plug to be gone", func() bool {
			return !slices.ContainsFunc(r.Plugs(), func(s PlugStatus) bool { return s.Name == "proxy" })
		})
	}
	rest := big[len(big)/3:]
	for _, c := range []*net.TCPConn{near, far} {
		wg.Go(func() { sendAll(t, c, rest) })
		wg.Go(func() { wantAll(t, c, rest) })
	}
	wg.Wait()
	p.over(t)
}

// What comes back finds what it has handed over: it counts there, and its end is
// told there.
func TestLive(t *testing.T) {
	t.Parallel()
	p := newGivers(t)
	const item = "tcp-peer address=x:1"
	if live := p.backend.configured(item).Live; len(live) != 0 {
		t.Errorf("live %+v before anything was handed over", live)
	}
	status := p.a.node.Status().Links[0]
	if status.Mode != modeHandoff || status.Remote != "r" {
		t.Errorf("link %+v", status)
	}
	p.backend.kill()
	p.a.eventually("the plug to be gone", func() bool { return len(p.a.Plugs()) == 1 })
	back := p.a.attachGiver("backend", nil, tcpPeer())
	if live := back.configured(item).Live; len(live) != 1 || live[0].Object != p.link || live[0].Remote != "r" {
		t.Errorf("live %+v, want %s", live, p.link)
	}
	if s := p.a.Plugs()[0]; s.Objects != 1 || s.Handed != 1 {
		t.Errorf("plug %+v", s)
	}

	// The other side's item goes, and the link with it.
	p.b.SetItems(nil)
	if c := plugtest.Receive(t, back.closed, "CLOSED"); c.Object != p.link || c.Code != "" {
		t.Errorf("CLOSED %+v", c)
	}
	for _, r := range []*rig{p.a, p.b} {
		r.eventually("the link to be gone", func() bool { return len(r.node.Status().Links) == 0 })
	}
	if s := p.a.Plugs()[0]; s.Objects != 0 || s.Handed != 0 {
		t.Errorf("plug %+v", s)
	}
}

// The first bytes of a link may have been read by the plug.
func TestResidual(t *testing.T) {
	t.Parallel()
	a, b := newRig(t, "alpha", Config{}), newRig(t, "beta", Config{})
	a.SetItems([]Item{{Kind: "tcp-peer", Params: map[string]any{"address": "x:1"}}})
	b.SetItems([]Item{listenerItem(1)})
	out, in := tcpPair(t)
	f, err := out.File()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.attachGiver("backend", nil, tcpPeer()).give(wire.TypeLink, wire.Link{Item: "tcp-peer address=x:1", Dir: "out"}, f); err != nil {
		t.Fatal(err)
	}
	_ = out.Close()
	c, err := net.FileConn(in)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	patient(t, c)
	first := make([]byte, 7)
	if _, err := io.ReadFull(c, first); err != nil {
		t.Fatal(err)
	}
	plug := b.attachGiver("backend", nil, tcpListener())
	_, spare := tcpPair(t)
	_, err = plug.give(wire.TypeLink, wire.Link{Item: "tcp-listener port=1", Dir: "in", Residual: make([]byte, maxResidual+1)}, spare)
	wantError(t, err, wire.CodeInvalid, "residual")
	if _, err := plug.give(wire.TypeLink, wire.Link{Item: "tcp-listener port=1", Dir: "in", Residual: first}, in); err != nil {
		t.Fatal(err)
	}
	b.eventually("a link", func() bool { return b.node.Status().RoutingTable["alpha"] != "" })
}

// A DIAL that carries a socket is the core's: the end of its session does not
// withdraw it.
func TestDialOutlivesSession(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	far, f := tcpPair(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	target := r.attachGiver("target", func(context.Context, wire.Accept) (any, error) {
		close(asked)
		<-answer
		return session.Answer{Files: []*os.File{f}}, nil
	}, wire.Kind{Kind: "target", Role: wire.RoleStream})
	if err := target.Call(t.Context(), wire.TypeBind, wire.Bind{Bind: "b", Service: "svc"}, nil); err != nil {
		t.Fatal(err)
	}
	near, f2 := tcpPair(t)
	p := r.attachGiver("proxy", nil, tcpServer())
	dialled := make(chan error, 1)
	go func() {
		_, err := p.give(wire.TypeDial, wire.Dial{Node: "alpha", Service: "svc"}, f2)
		dialled <- err
	}()
	plugtest.Receive(t, asked, "ACCEPT")
	p.kill()
	if err := plugtest.Receive(t, dialled, "the end of DIAL"); !errors.Is(err, session.ErrClosed) {
		t.Errorf("DIAL = %v", err)
	}
	r.eventually("the plug to be gone", func() bool { return len(r.Plugs()) == 1 }) // it waits for no DIAL
	close(answer)
	patient(t, near, far)
	go sendAll(t, near, []byte("hello"))
	wantAll(t, far, []byte("hello"))
	sendAll(t, far, nil)
	wantAll(t, near, nil)
}

// A DIAL that is withdrawn resets the application.
func TestHandedDialWithdrawn(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	asked := make(chan struct{})
	p := r.attachGiver("proxy", func(ctx context.Context, _ wire.Accept) (any, error) {
		close(asked)
		<-ctx.Done()
		return nil, ctx.Err()
	}, tcpServer())
	if err := p.Call(t.Context(), wire.TypeBind, wire.Bind{Bind: "b", Service: "svc"}, nil); err != nil {
		t.Fatal(err)
	}
	near, f := tcpPair(t)
	patient(t, near)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	_, err := p.CallFiles(ctx, wire.TypeDial, wire.Dial{Node: "alpha", Service: "svc"}, nil, []*os.File{f})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("DIAL = %v", err)
	}
	_ = f.Close()
	wantTCPReset(t, near)
	r.eventually("the place to be free", func() bool { return r.Plugs()[0].Objects == 0 })
}

// While a stream lives, the death of the core would reset its application.
func TestApplicationIsArmed(t *testing.T) {
	t.Parallel()
	p := newGivers(t)
	near, f := tcpPair(t)
	kept, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := p.near.CallFiles(t.Context(), wire.TypeDial, wire.Dial{Node: "beta", Service: "svc"}, nil, []*os.File{f}); err != nil {
		t.Fatal(err)
	}
	far := plugtest.Receive(t, p.apps, "the far application")
	patient(t, near, far)
	armed := func() (l *unix.Linger) {
		t.Helper()
		var failed error
		err := kept.Control(func(fd uintptr) { l, failed = unix.GetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER) })
		if err := errors.Join(err, failed); err != nil {
			t.Fatal(err)
		}
		return l
	}
	if l := armed(); l.Onoff == 0 || l.Linger != 0 {
		t.Errorf("linger %+v", l)
	}
	for _, c := range []*net.TCPConn{near, far} {
		sendAll(t, c, []byte("."))
	}
	wantAll(t, near, []byte("."))
	wantAll(t, far, []byte("."))
	p.over(t)
	if l := armed(); l.Onoff != 0 {
		t.Errorf("linger %+v after a clean end", l)
	}
}

// What makes no sense harms that one request.
func TestHostileDescriptors(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{Policy: Policy{Rules: []Rule{{Roles: map[string]RoleRule{wire.RoleLink: {Max: 1}, wire.RoleStream: {}}}}}})
	r.SetItems([]Item{listenerItem(1)})
	p := r.attachGiver("plug", nil, tcpListener(), tcpServer())
	if !slices.Equal(p.welcome.Features, []string{wire.FeatureFDPass}) {
		t.Fatalf("features %q", p.welcome.Features)
	}
	p.configured("tcp-listener port=1")
	link := wire.Link{Item: "tcp-listener port=1", Dir: "in"}
	dial := wire.Dial{Node: "alpha", Service: "nobody"}
	pipe := func() *os.File {
		a, b, err := os.Pipe()
		if err := errors.Join(err, b.Close()); err != nil {
			t.Fatal(err)
		}
		return a
	}
	local := func() *os.File {
		fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		_ = syscall.Close(fds[1])
		return os.NewFile(uintptr(fds[0]), "socket")
	}
	tcp := func() *os.File {
		app, f := tcpPair(t)
		patient(t, app)
		t.Cleanup(func() { wantTCPReset(t, app) }) // whatever came of it
		return f
	}
	plain := func() *os.File {
		app, f := tcpPair(t)
		_ = app.Close()
		return f
	}
	for _, tc := range []struct {
		name  string
		t     wire.Type
		body  any
		files []*os.File
		code  string
		text  string
	}{
		{"none", wire.TypeLink, link, nil, wire.CodeInvalid, "0 descriptors"},
		{"two", wire.TypeDial, dial, []*os.File{plain(), plain()}, wire.CodeInvalid, "2 descriptors"},
		{"pipe", wire.TypeDial, dial, []*os.File{pipe()}, wire.CodeInvalid, "no socket"},
		{"unix socket for a link", wire.TypeLink, link, []*os.File{local()}, wire.CodeInvalid, "another family"},
		{"no item", wire.TypeLink, wire.Link{Item: "x", Dir: "in"}, []*os.File{plain()}, wire.CodeDenied, "no item"},
		{"no service", wire.TypeDial, dial, []*os.File{tcp()}, wire.CodeNotFound, "nobody"},
		{"nowhere", wire.TypeDial, wire.Dial{}, []*os.File{tcp()}, wire.CodeInvalid, "needs a node"},
		{"with another request", wire.TypePing, struct{}{}, []*os.File{plain()}, "", ""},
		{"with BIND", wire.TypeBind, wire.Bind{Bind: "b", Service: "s"}, []*os.File{plain()}, "", ""},
	} {
		_, err := p.give(tc.t, tc.body, tc.files...)
		if tc.code == "" {
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
			continue
		}
		var e *wire.Error
		if !errors.As(err, &e) || e.Code != tc.code || !strings.Contains(e.Msg, tc.text) {
			t.Errorf("%s: got %v, want code %s and %q", tc.name, err, tc.code, tc.text)
		}
	}
	if err := p.Notify(wire.TypeLink, link); err != nil { // a request of which nobody wants the answer: ignored
		t.Error(err)
	}
	if _, err := p.give(wire.TypeLink, link, plain()); err != nil { // ends at once, and that is told
		t.Error(err)
	}
	if c := plugtest.Receive(t, p.closed, "CLOSED"); !strings.HasPrefix(c.Object, "link-") {
		t.Errorf("CLOSED %+v", c)
	}
	r.eventually("the place to be free", func() bool { return r.Plugs()[0].Objects == 0 })
	app, f := tcpPair(t)
	if _, err := p.give(wire.TypeLink, link, f); err != nil {
		t.Fatal(err)
	}
	_, err := p.give(wire.TypeLink, link, plain())
	wantError(t, err, wire.CodeLimit, "at most 1")

	// Coming back gains no further place.
	p.kill()
	r.eventually("the plug to be gone", func() bool { return len(r.Plugs()) == 0 })
	p = r.attachGiver("plug", nil, tcpListener(), tcpServer())
	p.configured("tcp-listener port=1")
	_, err = p.give(wire.TypeLink, link, plain())
	wantError(t, err, wire.CodeLimit, "at most 1")
	_ = app.Close()
}

func TestNoHandoff(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{NoHandoff: true})
	p := r.attachGiver("plug", nil, tcpServer())
	if len(p.welcome.Features) != 0 {
		t.Errorf("features %q", p.welcome.Features)
	}
	_, f := tcpPair(t)
	_, err := p.give(wire.TypeDial, wire.Dial{Node: "alpha", Service: "x"}, f)
	wantError(t, err, wire.CodeInvalid, "not granted")
	// A plug without the feature is not granted it either.
	if q := newRig(t, "beta", Config{}).attach("plain", tcpServer()); len(q.Welcome.Features) != 0 {
		t.Errorf("features %q", q.Welcome.Features)
	}
}

// An answer to ACCEPT with what is no connection refuses that stream.
func TestAcceptWithNonsense(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	p := r.attachGiver("proxy", func(context.Context, wire.Accept) (any, error) {
		a, b, err := os.Pipe()
		return session.Answer{Files: []*os.File{a, b}}, err
	}, tcpServer())
	if err := p.Call(t.Context(), wire.TypeBind, wire.Bind{Bind: "b", Service: "svc"}, nil); err != nil {
		t.Fatal(err)
	}
	near, f := tcpPair(t)
	patient(t, near)
	_, err := p.give(wire.TypeDial, wire.Dial{Node: "alpha", Service: "svc"}, f)
	wantError(t, err, wire.CodeRefused, "svc")
	wantTCPReset(t, near)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// sendAll sends b, and ends the direction.
func sendAll(t *testing.T, c *net.TCPConn, b []byte) {
	t.Helper()
	write(t, c, b)
	if err := c.CloseWrite(); err != nil {
		t.Errorf("end: %v", err)
	}
}

// wantAll fails the test unless b arrives, and then a clean end.
func wantAll(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	if got := readAll(t, c); !bytes.Equal(got, b) {
		t.Errorf("%d bytes arrived, want %d", len(got), len(b))
	}
}

func wantTCPReset(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
}
