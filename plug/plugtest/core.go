package plugtest

import (
	"context"
	"crypto/rand"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// FakeCore is a core on a Unix socket. Plugs that attach come out of Session,
// their data connections out of Link, DialRequest and Attach.
type FakeCore struct {
	t    testing.TB
	path string

	// Welcome answers HELLO; an error refuses it. Session and limits are filled
	// in if empty. Default: node "fake", all roles in their highest version, all
	// kinds. It is to be set before the first plug dials.
	Welcome func(wire.Hello) (wire.Welcome, error)

	sessions               chan *CoreSession
	links, dials, attaches chan *DataConn

	mu       sync.Mutex
	life     *life           // of the current incarnation; nil: dead
	attached map[string]bool // secrets of live sessions
}

// life is what a core takes with it when it dies.
type life struct {
	cancel   context.CancelFunc
	listener net.Listener
	conns    map[net.Conn]bool
	wg       sync.WaitGroup
}

// NewCore starts a core that lives until the test ends.
func NewCore(t testing.TB) *FakeCore {
	t.Helper()
	// Not t.TempDir(): its paths, which hold the test's name, grow too long for a socket.
	dir, err := os.MkdirTemp("", "core")
	if err != nil {
		t.Fatal(err)
	}
	c := &FakeCore{
		t:        t,
		path:     filepath.Join(dir, "plug.sock"),
		Welcome:  welcome,
		sessions: make(chan *CoreSession, 64),
		links:    make(chan *DataConn, 4096),
		dials:    make(chan *DataConn, 4096),
		attaches: make(chan *DataConn, 4096),
		attached: make(map[string]bool),
	}
	t.Cleanup(func() {
		c.Kill()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	c.Start()
	return c
}

// welcome grants everything.
func welcome(h wire.Hello) (wire.Welcome, error) {
	w := wire.Welcome{
		Node:        "fake",
		CoreVersion: "test",
		HeartbeatMS: int(wire.HeartbeatInterval.Milliseconds()),
	}
	for _, r := range h.Roles {
		g := wire.RoleGrant{Role: r.Role}
		for _, v := range r.Versions {
			g.Version = max(g.Version, v)
		}
		w.Roles = append(w.Roles, g)
	}
	return w, nil
}

// Path is where the socket is.
func (c *FakeCore) Path() string { return c.path }

// Dial connects to the core, as plugs do.
func (c *FakeCore) Dial(ctx context.Context) (net.Conn, error) { return Unix(c.path)(ctx) }

// Start brings a killed core back, on the same path.
func (c *FakeCore) Start() {
	c.t.Helper()
	l, err := net.Listen("unix", c.path)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &life{cancel: cancel, listener: l, conns: make(map[net.Conn]bool)}
	c.mu.Lock()
	c.life = f
	c.mu.Unlock()
	f.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // killed
			}
			c.mu.Lock()
			alive := c.life == f
			f.conns[conn] = true
			c.mu.Unlock()
			if !alive {
				_ = conn.Close()
				return
			}
			f.wg.Go(func() { c.serve(ctx, conn) })
		}
	})
}

// Kill ends the core as kill -9 would: all its connections close without a
// word, those that the test holds as well. Start brings it back.
func (c *FakeCore) Kill() {
	c.mu.Lock()
	f := c.life
	c.life = nil
	clear(c.attached)
	if f != nil {
		_ = f.listener.Close()
		for conn := range f.conns {
			_ = conn.Close()
		}
		f.cancel()
	}
	c.mu.Unlock()
	if f != nil {
		f.wg.Wait()
	}
}

// serve handles one connection.
func (c *FakeCore) serve(ctx context.Context, conn net.Conn) {
	o, err := session.Accept(ctx, conn)
	if err != nil {
		_ = conn.Close() // whoever misbehaves sees it there
		return
	}
	if o.Kind == wire.ConnSession {
		c.serveSession(ctx, conn, o)
		return
	}
	d := &DataConn{Opening: o, t: c.t, conn: conn}
	var presented struct {
		Session string `json:"session"`
	}
	err = o.Decode(&presented)
	c.mu.Lock()
	if err == nil && !c.attached[presented.Session] {
		err = wire.NewError(wire.CodeDenied, "no such session")
	}
	c.mu.Unlock()
	queue := map[wire.Type]chan *DataConn{wire.TypeLink: c.links, wire.TypeDial: c.dials, wire.TypeAttach: c.attaches}[o.Type]
	if err == nil && queue == nil {
		err = session.ErrUnsupported
	}
	if err != nil {
		_ = o.Refuse(err)
		_ = conn.Close()
		return
	}
	select {
	case queue <- d:
	case <-ctx.Done():
	}
}

func (c *FakeCore) serveSession(ctx context.Context, conn net.Conn, o *session.Opening) {
	defer func() { _ = conn.Close() }() // closed already, unless refused
	var h wire.Hello
	var w wire.Welcome
	err := o.Decode(&h)
	if err == nil {
		w, err = c.Welcome(h)
	}
	if err != nil {
		_ = o.Refuse(err)
		return
	}
	if w.Session == "" {
		w.Session = rand.Text()
	}
	if w.Limits == (wire.Limits{}) {
		w.Limits = wire.Limits{Opens: wire.MaxOpens, DataConn: wire.MaxOpens}
	}
	c.mu.Lock()
	c.attached[w.Session] = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.attached, w.Session)
		c.mu.Unlock()
	}()
	if o.Answer(w) != nil {
		return
	}
	s := &CoreSession{Hello: h, Welcome: w, t: c.t}
	s.Session = session.New(session.Config{Conn: conn, Side: session.SideCore, Handler: s.handle})
	select {
	case c.sessions <- s:
	case <-ctx.Done():
	}
	_ = s.Run(ctx)
}

// Session returns the next plug that has attached.
func (c *FakeCore) Session() *CoreSession {
	c.t.Helper()
	return next(c.t, c.sessions, "a plug to attach")
}

// Link returns the next data connection that a plug has opened with LINK.
func (c *FakeCore) Link() *DataConn {
	c.t.Helper()
	return next(c.t, c.links, "LINK")
}

// DialRequest returns the next data connection that a plug has opened with DIAL.
func (c *FakeCore) DialRequest() *DataConn {
	c.t.Helper()
	return next(c.t, c.dials, "DIAL")
}

// Attach returns the next data connection that a plug has opened with ATTACH.
func (c *FakeCore) Attach() *DataConn {
	c.t.Helper()
	return next(c.t, c.attaches, "ATTACH")
}
