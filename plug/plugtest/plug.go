package plugtest

import (
	"context"
	"net"
	"os"
	"sync"

	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// PlugOptions say how a FakePlug behaves.
type PlugOptions struct {
	Hello wire.Hello

	// OnConfig answers CONFIG; nil: everything is fine.
	OnConfig func(wire.Config) (wire.ConfigResult, error)

	// OnAccept answers ACCEPT; nil: the stream is taken, and comes out of NextAccept.
	OnAccept func(context.Context, wire.Accept) error

	// OnAcceptFiles answers ACCEPT instead, with descriptors; they are closed when
	// they are sent.
	OnAcceptFiles func(context.Context, wire.Accept) ([]*os.File, error)
}

// FakePlug is a plug attached to a core. Its session is embedded, for messages
// that it has no method for.
type FakePlug struct {
	*session.Session
	Welcome wire.Welcome

	t       TB
	dial    Dialer
	options PlugOptions
	config  watched[wire.Config]
	peers   watched[map[string][]wire.PeerMatch] // by object
	accepts chan wire.Accept
	closed  chan wire.Closed
	ended   chan error // what Run returned

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// Hello returns a HELLO that claims kinds, with version 1 of the roles that
// these have.
func Hello(name string, kinds ...wire.Kind) wire.Hello {
	h := wire.Hello{
		Name:           name,
		Program:        "receptor-" + name,
		ProgramVersion: "test",
		Process:        "p1",
		Roles:          []wire.RoleVersions{},
		Kinds:          append([]wire.Kind{}, kinds...),
	}
	seen := make(map[string]bool)
	for _, k := range kinds {
		if !seen[k.Role] {
			seen[k.Role] = true
			h.Roles = append(h.Roles, wire.RoleVersions{Role: k.Role, Versions: []int{1}})
		}
	}
	return h
}

// AttachPlug attaches a plug, which lives until the test ends or Kill.
func AttachPlug(t TB, dial Dialer, o PlugOptions) *FakePlug {
	t.Helper()
	p, err := TryAttachPlug(t, dial, o)
	if err != nil {
		t.Fatalf("plugtest: attach %s: %v", o.Hello.Name, err)
	}
	return p
}

// TryAttachPlug is AttachPlug for tests of refusals, which are *wire.Error.
func TryAttachPlug(t TB, dial Dialer, o PlugOptions) (*FakePlug, error) {
	t.Helper()
	p := &FakePlug{
		t:       t,
		dial:    dial,
		options: o,
		accepts: make(chan wire.Accept, wire.MaxOpens),
		closed:  make(chan wire.Closed, wire.MaxOpens),
		ended:   make(chan error, 1),
		conns:   make(map[net.Conn]bool),
	}
	ctx, cancel := patient(t)
	defer cancel()
	conn, err := p.connect(ctx)
	if err != nil {
		return nil, err
	}
	p.Welcome, err = session.Attach(ctx, conn, o.Hello)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	p.Session = session.New(session.Config{Conn: conn, Side: session.SidePlug, Handler: p.handle})
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.ended <- p.Run(context.Background())
	}()
	t.Cleanup(func() {
		p.Kill()
		<-done
	})
	return p, nil
}

// connect dials the core; Kill closes what it returns.
func (p *FakePlug) connect(ctx context.Context) (net.Conn, error) {
	c, err := p.dial(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.conns[c] = true
	p.mu.Unlock()
	return c, nil
}

func (p *FakePlug) handle(ctx context.Context, r *session.Request) (any, error) {
	switch r.Type {
	case wire.TypeConfig:
		var b wire.Config
		if err := r.Decode(&b); err != nil {
			return nil, err
		}
		var result wire.ConfigResult
		if p.options.OnConfig != nil {
			var err error
			if result, err = p.options.OnConfig(b); err != nil {
				return nil, err
			}
		}
		p.config.update(func(c *wire.Config) { *c = b })
		return result, nil
	case wire.TypeAccept:
		var b wire.Accept
		if err := r.Decode(&b); err != nil {
			return nil, err
		}
		if p.options.OnAcceptFiles != nil {
			files, err := p.options.OnAcceptFiles(ctx, b)
			return session.Answer{Body: wire.Accepted{}, Files: files}, err
		}
		if p.options.OnAccept != nil {
			return wire.Accepted{}, p.options.OnAccept(ctx, b)
		}
		p.accepts <- b
		return wire.Accepted{}, nil
	case wire.TypeDrain:
		return nil, nil
	case wire.TypePeers:
		var b wire.Peers
		if err := r.Decode(&b); err != nil {
			return nil, err
		}
		p.peers.update(func(all *map[string][]wire.PeerMatch) {
			if *all == nil {
				*all = make(map[string][]wire.PeerMatch)
			}
			(*all)[b.Object] = b.Peers
		})
		return nil, nil
	case wire.TypeClosed:
		var b wire.Closed
		if err := r.Decode(&b); err != nil {
			return nil, err
		}
		p.closed <- b
		return nil, nil
	default:
		return nil, session.ErrUnsupported
	}
}

// WaitConfig waits for a CONFIG that ok accepts.
func (p *FakePlug) WaitConfig(what string, ok func(wire.Config) bool) wire.Config {
	p.t.Helper()
	var found wire.Config
	p.config.wait(p.t, "CONFIG with "+what, func(c wire.Config) bool {
		found = c
		return ok(c)
	})
	return found
}

// WaitEnd waits for the end of the session and returns what Run did.
func (p *FakePlug) WaitEnd() error {
	p.t.Helper()
	return Receive(p.t, p.ended, "the end of the session")
}

// NextAccept returns the next incoming stream, which the core was told will be taken.
func (p *FakePlug) NextAccept() wire.Accept {
	p.t.Helper()
	return Receive(p.t, p.accepts, "ACCEPT")
}

// Status sends STATUS.
func (p *FakePlug) Status(items ...wire.ItemStatus) {
	p.t.Helper()
	if items == nil {
		items = []wire.ItemStatus{}
	}
	if err := p.Notify(wire.TypeStatus, wire.Status{State: wire.StateUp, Items: items}); err != nil {
		p.t.Fatalf("plugtest: STATUS: %v", err)
	}
}

// Bind binds a service.
func (p *FakePlug) Bind(ctx context.Context, b wire.Bind) (wire.Bound, error) {
	var bound wire.Bound
	err := p.Call(ctx, wire.TypeBind, b, &bound)
	return bound, err
}

// Unbind gives a service up.
func (p *FakePlug) Unbind(ctx context.Context, bind string) error {
	return p.Call(ctx, wire.TypeUnbind, wire.Unbind{Bind: bind}, nil)
}

// Open opens a data connection with the request t. The caller owns it.
func (p *FakePlug) Open(ctx context.Context, t wire.Type, body any) (net.Conn, wire.Opened, error) {
	c, err := p.connect(ctx)
	if err != nil {
		return nil, wire.Opened{}, err
	}
	o, err := session.Open(ctx, c, t, body)
	if err != nil {
		_ = c.Close()
		return nil, wire.Opened{}, err
	}
	return c, o, nil
}

// Link opens a link; an empty Session is filled in.
func (p *FakePlug) Link(ctx context.Context, b wire.Link) (net.Conn, wire.Opened, error) {
	if b.Session == "" {
		b.Session = p.Welcome.Session
	}
	return p.Open(ctx, wire.TypeLink, b)
}

// HandLink hands a link's socket over; an empty Session is filled in. sock stays
// the caller's.
func (p *FakePlug) HandLink(ctx context.Context, b wire.Link, sock ...*os.File) (wire.Opened, error) {
	if b.Session == "" {
		b.Session = p.Welcome.Session
	}
	var o wire.Opened
	_, err := p.CallFiles(ctx, wire.TypeLink, b, &o, sock)
	return o, err
}

// HandDial hands an application's socket over; an empty Session is filled in.
// sock stays the caller's.
func (p *FakePlug) HandDial(ctx context.Context, b wire.Dial, sock ...*os.File) (wire.Opened, error) {
	if b.Session == "" {
		b.Session = p.Welcome.Session
	}
	var o wire.Opened
	_, err := p.CallFiles(ctx, wire.TypeDial, b, &o, sock)
	return o, err
}

// Keep has a socket kept, which stays the caller's as well.
func (p *FakePlug) Keep(ctx context.Context, k wire.Keep, sock ...*os.File) error {
	_, err := p.CallFiles(ctx, wire.TypeKeep, k, nil, sock)
	return err
}

// Take returns what was kept; that is the caller's.
func (p *FakePlug) Take(ctx context.Context, k wire.Take) ([]*os.File, error) {
	return p.CallFiles(ctx, wire.TypeTake, k, nil, nil)
}

// NextClosed returns the next CLOSED.
func (p *FakePlug) NextClosed() wire.Closed {
	p.t.Helper()
	return Receive(p.t, p.closed, "CLOSED")
}

// Dial opens a stream; an empty Session is filled in.
func (p *FakePlug) Dial(ctx context.Context, b wire.Dial) (*recordconn.Conn, error) {
	if b.Session == "" {
		b.Session = p.Welcome.Session
	}
	return p.stream(ctx, wire.TypeDial, b)
}

// Attach opens the stream that an ACCEPT has offered.
func (p *FakePlug) Attach(ctx context.Context, object string) (*recordconn.Conn, error) {
	return p.stream(ctx, wire.TypeAttach, wire.Attach{Session: p.Welcome.Session, Object: object})
}

func (p *FakePlug) stream(ctx context.Context, t wire.Type, body any) (*recordconn.Conn, error) {
	c, _, err := p.Open(ctx, t, body)
	if err != nil {
		return nil, err
	}
	return recordconn.New(c), nil
}

// Kill ends the plug as kill -9 would: all its connections close without a word.
func (p *FakePlug) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// Raw connects to a core and sends bytes as they are, for a plug that
// misbehaves. The connection is closed when the test ends.
func Raw(t TB, dial Dialer, b ...[]byte) net.Conn {
	t.Helper()
	ctx, cancel := patient(t)
	defer cancel()
	c, err := dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	for _, piece := range b {
		if _, err := c.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// Frame returns the bytes of a control frame with that body, for Raw.
func Frame(t wire.Type, flags wire.Flags, id uint32, body string) []byte {
	h := wire.Header{Length: uint32(len(body)), Type: t, Flags: flags, ID: id}
	return append(h.Append(nil), body...)
}

// WaitPeers waits until the core has told of peers of an object that are as wanted, and
// returns them.
func (p *FakePlug) WaitPeers(object string, ok func([]wire.PeerMatch) bool) (peers []wire.PeerMatch) {
	p.t.Helper()
	p.peers.wait(p.t, "PEERS", func(all map[string][]wire.PeerMatch) bool {
		var told bool
		peers, told = all[object]
		return told && ok(peers)
	})
	return peers
}
