package plugtest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// FakeCore is a core on a Unix socket. Plugs that attach come out of Session,
// their data connections out of Link, DialRequest, Attach and PacketBind.
type FakeCore struct {
	t    TB
	path string

	// Welcome answers HELLO; an error refuses it. Session and limits are filled
	// in if empty. Default: node "fake", all roles in their highest version, all
	// kinds. It is set by an argument of NewCore.
	Welcome func(wire.Hello) (wire.Welcome, error)

	// FDPass has the passing of descriptors granted, if the plug offers it and its
	// probe arrives. It is set by an argument of NewCore.
	FDPass bool

	// OnConn, if set, sees each connection before the core reads from it. If it
	// returns true the connection is its own, until the core is killed; it may
	// block. It is to be set before Start, of a core of NewStopped.
	OnConn func(net.Conn) bool

	// OnBind, if set, is asked for each BIND; an error refuses it. It is to be
	// set before the first plug dials.
	OnBind func(wire.Bind) error

	// OnWorkType, if set, is asked for each WORKTYPE; an error refuses it. It is to be
	// set before the first plug dials.
	OnWorkType func(wire.WorkType) error

	// Extra are fields that WELCOME and the answers to LINK, DIAL, ATTACH and PBIND get
	// besides. It is to be set before Start, of a core of NewStopped.
	Extra map[string]any

	sessions                        chan *CoreSession
	handed                          map[wire.Type]chan *HandedOver
	links, dials, attaches, packets chan *DataConn

	mu       sync.Mutex
	life     *life // of the current incarnation; nil: dead
	kept     map[wire.Keep]*os.File
	items    map[string]bool // that are configured; nil: not by Configure
	attached map[string]bool // secrets of live sessions
	denied   []string        // secrets of data connections that were none
	breaches []error         // descriptors that must not have come
}

// life is what a core takes with it when it dies.
type life struct {
	cancel   context.CancelFunc
	listener net.Listener
	conns    map[net.Conn]bool
	wg       sync.WaitGroup
}

// NewCore starts a core that lives until the test ends, once each of configure
// has set its fields.
func NewCore(t TB, configure ...func(*FakeCore)) *FakeCore {
	t.Helper()
	c := NewStopped(t)
	for _, set := range configure {
		set(c)
	}
	c.Start()
	return c
}

// NewStopped makes a core that is not there before Start.
func NewStopped(t TB) *FakeCore {
	t.Helper()
	// Not t.TempDir(): its paths, which hold the test's name, grow too long for a socket.
	dir, err := os.MkdirTemp("", "core")
	if err != nil {
		t.Fatal(err)
	}
	c := &FakeCore{
		t:        t,
		path:     filepath.Join(dir, "plug.sock"),
		Welcome:  Grant,
		sessions: make(chan *CoreSession, 64),
		links:    make(chan *DataConn, 4096),
		dials:    make(chan *DataConn, 4096),
		attaches: make(chan *DataConn, 4096),
		packets:  make(chan *DataConn, 4096),
		handed: map[wire.Type]chan *HandedOver{
			wire.TypeLink: make(chan *HandedOver, 4096),
			wire.TypeDial: make(chan *HandedOver, 4096),
		},
		attached: make(map[string]bool),
		kept:     make(map[wire.Keep]*os.File),
	}
	t.Cleanup(func() {
		c.Kill()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return c
}

// Grant grants everything but features: it is how a core answers HELLO unless told otherwise.
func Grant(h wire.Hello) (wire.Welcome, error) {
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
			f.wg.Go(func() { c.serve(ctx, f, conn) })
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
	for _, k := range c.kept {
		_ = k.Close()
	}
	clear(c.kept)
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
func (c *FakeCore) serve(ctx context.Context, f *life, conn net.Conn) {
	if c.OnConn != nil && c.OnConn(conn) {
		return
	}
	o, err := session.Accept(ctx, conn)
	if err != nil {
		_ = conn.Close() // whoever misbehaves sees it there
		return
	}
	if o.Kind == wire.ConnSession {
		c.serveSession(ctx, f, conn, o)
		return
	}
	d := &DataConn{Opening: o, body: body{c.t, o}, conn: conn, extra: c.withExtra}
	var presented struct {
		Session string `json:"session"`
	}
	err = o.Decode(&presented)
	c.mu.Lock()
	if err == nil && !c.attached[presented.Session] {
		err = wire.NewError(wire.CodeDenied, "no such session")
		c.denied = append(c.denied, presented.Session)
	}
	c.mu.Unlock()
	queue := map[wire.Type]chan *DataConn{
		wire.TypeLink: c.links, wire.TypeDial: c.dials, wire.TypeAttach: c.attaches, wire.TypePBind: c.packets,
	}[o.Type]
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

func (c *FakeCore) serveSession(ctx context.Context, f *life, conn net.Conn, o *session.Opening) {
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
	if c.FDPass && o.FDPass && slices.Contains(h.Features, wire.FeatureFDPass) {
		w.Features = append(w.Features, wire.FeatureFDPass)
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
	if o.Answer(c.withExtra(w)) != nil {
		return
	}
	s := &CoreSession{Hello: h, Welcome: w, t: c.t, core: c, life: f, onBind: c.OnBind, onWorkType: c.OnWorkType}
	s.Session = session.New(session.Config{Conn: conn, Side: session.SideCore, Handler: s.handle})
	select {
	case c.sessions <- s:
	case <-ctx.Done():
	}
	_ = s.Run(ctx)
}

// own has a socket closed when this life of the core ends.
func (c *FakeCore) own(f *life, conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life == f {
		f.conns[conn] = true
		return
	}
	_ = conn.Close()
}

// Session returns the next plug that has attached.
func (c *FakeCore) Session() *CoreSession {
	c.t.Helper()
	return Receive(c.t, c.sessions, "a plug to attach")
}

// Link returns the next data connection that a plug has opened with LINK.
func (c *FakeCore) Link() *DataConn {
	c.t.Helper()
	return Receive(c.t, c.links, "LINK")
}

// DialRequest returns the next data connection that a plug has opened with DIAL.
func (c *FakeCore) DialRequest() *DataConn {
	c.t.Helper()
	return Receive(c.t, c.dials, "DIAL")
}

// HandedLink returns the next socket that a plug has handed over with LINK.
func (c *FakeCore) HandedLink() *HandedOver {
	c.t.Helper()
	return Receive(c.t, c.handed[wire.TypeLink], "LINK with a socket")
}

// HandedDial returns the next socket that a plug has handed over with DIAL.
func (c *FakeCore) HandedDial() *HandedOver {
	c.t.Helper()
	return Receive(c.t, c.handed[wire.TypeDial], "DIAL with a socket")
}

// Attach returns the next data connection that a plug has opened with ATTACH.
func (c *FakeCore) Attach() *DataConn {
	c.t.Helper()
	return Receive(c.t, c.attaches, "ATTACH")
}

// Opening returns the next object of any kind that a plug opens, and the name of
// the message that does; nil if a plug opens none within d.
func (c *FakeCore) Opening(d time.Duration) (Incoming, wire.Type) {
	select {
	case o := <-c.links:
		return o, o.Type
	case o := <-c.dials:
		return o, o.Type
	case o := <-c.attaches:
		return o, o.Type
	case o := <-c.packets:
		return o, o.Type
	case o := <-c.handed[wire.TypeLink]:
		return o, o.Type
	case o := <-c.handed[wire.TypeDial]:
		return o, o.Type
	case <-time.After(d):
	case <-c.t.Context().Done():
	}
	return nil, 0
}

// breach notes descriptors that must not have come. They were refused.
func (c *FakeCore) breach(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.breaches = append(c.breaches, err)
}

// Breach returns what was wrong with descriptors that have come, if anything was.
func (c *FakeCore) Breach() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.breaches...)
}

// Denied returns what data connections have presented that was not the secret
// of a live session. They were refused.
func (c *FakeCore) Denied() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.denied)
}

// withExtra adds the extra fields to a body.
func (c *FakeCore) withExtra(body any) any {
	if len(c.Extra) == 0 {
		return body
	}
	b, err := json.Marshal(body)
	if err != nil {
		return body // whoever encodes it finds out
	}
	fields := maps.Clone(c.Extra)
	if err := json.Unmarshal(b, &fields); err != nil {
		return body
	}
	return fields
}
