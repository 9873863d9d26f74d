package plughost

import (
	"context"
	"errors"
	"maps"
	"net"
	"time"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/mtls"
	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
)

// bindKey tells binds apart: a plug chooses its own names for them, and a user
// finds only its own.
type bindKey struct {
	user int64
	id   string
}

// bind is a service of the mesh that a plug serves. It outlives the plug's
// session for a while; streams that arrive meanwhile wait.
type bind struct {
	key      bindKey
	req      wire.Bind // what was asked for
	service  string    // what it became
	tls      *mtls.Server
	listener *netceptor.Listener
	pending  chan struct{}   // a token for each stream that is offered to the plug and not yet taken
	ctx      context.Context // ends with the bind
	cancel   context.CancelFunc

	// Guarded by Host.mu.
	guest *guest        // who serves it; nil: the plug has gone
	last  *guest        // who served it last
	back  chan struct{} // closed and replaced when guest changes
}

// offer is an incoming stream that its plug may attach to, once.
type offer struct {
	guest *guest
	in    *netceptor.Incoming
	item  string        // that it is for
	tls   itemTLS       // of that
	taken chan struct{} // closed by the ATTACH that takes it
}

// bind answers BIND: it is idempotent by the bind's name.
func (g *guest) bind(r *session.Request) (any, error) {
	var req wire.Bind
	if err := r.Decode(&req); err != nil {
		return nil, err
	}
	h := g.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := g.mayBind(req); err != nil {
		return nil, err
	}
	key := bindKey{userKey(g.cred), req.Bind}
	if b := h.binds[key]; b != nil {
		switch {
		case b.guest != nil && b.guest != g:
			return nil, wire.NewError(wire.CodeExists, "bind %q is held by %s", clip(req.Bind), b.guest.hello.Name)
		case b.serves(req) && b.tls == g.serverOf(req):
			b.give(g)
			return wire.Bound{Service: b.service}, nil
		case b.guest == g:
			return nil, wire.NewError(wire.CodeExists, "bind %q serves %q in another way: UNBIND it first", clip(req.Bind), b.service)
		}
		h.drop(b) // of a plug that has come back with another configuration
	}
	count := 0
	for _, b := range h.binds {
		if b.guest == g {
			count++
		}
	}
	if count >= maxBinds {
		return nil, wire.NewError(wire.CodeLimit, "%s has %d binds, at most %d are allowed", g.hello.Name, count, maxBinds)
	}
	b, err := h.listen(key, req, g.serverOf(req))
	if err != nil {
		return nil, bindError(err, req.Service)
	}
	b.give(g)
	return wire.Bound{Service: b.service}, nil
}

// mayBind checks a BIND against what the plug may. Callers hold mu.
func (g *guest) mayBind(req wire.Bind) error {
	if g.gone {
		return wire.NewError(wire.CodeGone, "the session has ended")
	}
	if g.superseded {
		return wire.NewError(wire.CodeDraining, "a newer process of %s has taken over", g.hello.Name)
	}
	if _, ok := g.roles[wire.RoleStream]; !ok {
		return wire.NewError(wire.CodeDenied, "role stream is not granted to %s", g.hello.Name)
	}
	if req.Bind == "" || len(req.Bind) > maxText {
		return wire.NewError(wire.CodeInvalid, "BIND needs a name for the bind, of at most %d bytes", maxText)
	}
	if err := checkTags(req.Service, req.Tags); err != nil {
		return err
	}
	if err := g.checkItem(req.Item); err != nil {
		return err
	}
	if rr, _ := g.rule.allowsRole(wire.RoleStream); !rr.allowsBind(req.Service) {
		return wire.NewError(wire.CodeDenied, "plugs-policy does not allow %s to bind service %q", g.hello.Name, clip(req.Service))
	}
	return nil
}

// checkTags bounds what an advertisement takes.
func checkTags(service string, tags map[string]string) error {
	size := 0
	for k, v := range tags {
		size += len(k) + len(v)
	}
	if size > maxTags {
		return wire.NewError(wire.CodeLimit, "the tags of service %q have %d bytes, at most %d are allowed", clip(service), size, maxTags)
	}
	return nil
}

// serverOf is the TLS of the item that a BIND names; nil: none. Callers hold mu.
func (g *guest) serverOf(req wire.Bind) *mtls.Server {
	if it := g.carriedItem(req.Item); it != nil {
		return it.tls.server
	}
	return nil
}

// serves reports whether the bind is what req asks for.
func (b *bind) serves(req wire.Bind) bool {
	return b.req.Service == req.Service && b.req.Advertise == req.Advertise && maps.Equal(b.req.Tags, req.Tags)
}

// give makes g the plug that serves the bind; nil: nobody. Callers hold mu.
func (b *bind) give(g *guest) {
	if b.guest == g {
		return
	}
	b.guest = g
	if g != nil {
		b.last = g
	}
	close(b.back)
	b.back = make(chan struct{})
}

// listen makes a bind. Callers hold mu, which Listen of a node does not block.
func (h *Host) listen(key bindKey, req wire.Bind, tls *mtls.Server) (*bind, error) {
	if h.closed {
		return nil, net.ErrClosed
	}
	l, err := h.node.Listen(req.Service, netceptor.ListenOptions{Advertise: req.Advertise, Tags: req.Tags, TLS: tls})
	if err != nil {
		return nil, err
	}
	b := &bind{
		key: key, req: req, service: req.Service, tls: tls, listener: l,
		pending: make(chan struct{}, wire.MaxOpensPerItem),
		back:    make(chan struct{}),
	}
	if a, ok := l.Addr().(netceptor.Addr); ok {
		b.service = a.Service
	}
	b.ctx, b.cancel = context.WithCancel(h.ctx)
	h.binds[key] = b
	h.wg.Add(1)
	go func() {
		defer h.wg.Done()
		defer h.recovered("bind", "service", b.service)
		h.acceptStreams(b)
	}()
	return b, nil
}

// unbind answers UNBIND: the service is free at once. A bind that is not there
// is what was asked for.
func (g *guest) unbind(r *session.Request) error {
	var req wire.Unbind
	if err := r.Decode(&req); err != nil {
		return err
	}
	h := g.host
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.binds[bindKey{userKey(g.cred), req.Bind}]
	if b == nil || b.guest != g {
		return nil
	}
	h.drop(b)
	return nil
}

// drop ends a bind. Callers hold mu.
func (h *Host) drop(b *bind) {
	delete(h.binds, b.key)
	b.cancel()
	_ = b.listener.Close() // fails only where the node has closed it before
}

// orphanBinds lets the binds of a plug that has gone wait for it a little.
// Callers hold mu.
func (h *Host) orphanBinds(g *guest) {
	orphans := false
	for _, b := range h.binds {
		if b.guest == g {
			b.give(nil)
			orphans = true
		}
	}
	if !orphans || h.closed {
		return
	}
	h.wg.Add(1)
	go func() {
		defer h.wg.Done()
		select {
		case <-time.After(wire.BindLinger):
		case <-h.ctx.Done():
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, b := range h.binds {
			if b.guest == nil && b.last == g {
				h.drop(b)
			}
		}
	}()
}

// acceptStreams offers the streams that arrive to the plug, until the bind
// ends. Those for which the plug has no place yet wait at the listener, which
// refuses what is too much.
func (h *Host) acceptStreams(b *bind) {
	for {
		in, err := b.listener.Next(b.ctx)
		if err != nil {
			if b.ctx.Err() == nil {
				h.log.Warn("service has ended", "service", b.service, "error", err)
			}
			break
		}
		if !b.awaitPlace() || !h.spawn(func() { h.offerStream(b, in) }) {
			h.count("streams_refused")
			in.Refuse()
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.binds[b.key] == b {
		h.drop(b)
	}
}

// awaitPlace waits until the plug may be offered one more stream; false: the
// bind has ended.
func (b *bind) awaitPlace() bool {
	select {
	case b.pending <- struct{}{}:
		return true
	case <-b.ctx.Done():
		return false
	}
}

// offerStream brings an incoming stream to its plug: ACCEPT there, ATTACH here.
// A plug that goes before it has taken the stream leaves it to the one that
// comes back for the bind.
func (h *Host) offerStream(b *bind, in *netceptor.Incoming) {
	defer func() { <-b.pending }()
	ctx, cancel := context.WithTimeout(b.ctx, wire.RequestTimeout+wire.AttachTimeout)
	defer cancel()
	for g := h.waitForGuest(ctx, b, nil); g != nil; g = h.waitForGuest(ctx, b, g) {
		err := g.offer(ctx, b, in)
		if err == nil {
			return
		}
		g.log.Debug("stream not taken", "service", b.service, "remote", in.Remote(), "error", err)
		if !errors.Is(err, session.ErrClosed) {
			break
		}
	}
	h.count("streams_refused")
	in.Refuse()
}

// waitForGuest waits for a plug that serves the bind and is not the one that
// has just failed to; nil: ctx is done.
func (h *Host) waitForGuest(ctx context.Context, b *bind, failed *guest) *guest {
	for {
		h.mu.Lock()
		g, back := b.guest, b.back
		h.mu.Unlock()
		if g != nil && g != failed {
			return g
		}
		select {
		case <-back:
		case <-ctx.Done():
			return nil
		}
	}
}

// offer asks the plug to take a stream, and waits until it has. ErrClosed of
// package session means that the plug has gone without it.
func (g *guest) offer(ctx context.Context, b *bind, in *netceptor.Incoming) error {
	tls, err := g.ofItem(b.req.Item)
	if err != nil {
		return err
	}
	o := &offer{guest: g, in: in, item: b.req.Item, tls: tls, taken: make(chan struct{})}
	object, err := g.announce(b, o)
	if err != nil {
		return err
	}
	remote := in.Remote()
	err = g.askAttach(ctx, b, o, wire.Accept{
		Bind:   b.key.id,
		Object: object,
		Remote: wire.RemoteAddr{Node: remote.Node, Service: remote.Service},
	})
	if g.withdraw(b, object) {
		return err
	}
	return nil // taken, perhaps in the last moment
}

// announce makes the stream one that an ATTACH can take.
func (g *guest) announce(b *bind, o *offer) (object string, err error) {
	h := g.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if g.stalled || g.draining {
		return "", wire.NewError(wire.CodeBusy, "%s takes no new streams", g.hello.Name)
	}
	if err := g.beginOpen(b.pendingKey()); err != nil {
		return "", err
	}
	object = h.newObject(wire.RoleStream)
	h.offers[object] = o
	return object, nil
}

// withdraw is the counterpart of announce; false: the stream has been taken.
func (g *guest) withdraw(b *bind, object string) bool {
	h := g.host
	h.mu.Lock()
	defer h.mu.Unlock()
	g.endOpen(b.pendingKey())
	_, waiting := h.offers[object]
	delete(h.offers, object)
	return waiting
}

// pendingKey is what the bind's pending streams are counted by.
func (b *bind) pendingKey() string { return "bind " + b.key.id }

// askAttach sends ACCEPT, and takes the socket that comes with the answer or
// waits for the ATTACH that follows it.
func (g *guest) askAttach(ctx context.Context, b *bind, o *offer, a wire.Accept) error {
	actx, cancel := context.WithTimeout(ctx, wire.RequestTimeout)
	files, err := g.engine.CallFiles(actx, wire.TypeAccept, a, nil, nil)
	cancel()
	if err != nil {
		return err
	}
	if len(files) > 0 {
		return g.takeHanded(b, o, a, files)
	}
	actx, cancel = context.WithTimeout(ctx, wire.AttachTimeout)
	defer cancel()
	select {
	case <-o.taken:
		return nil
	case <-g.engine.Done():
		return session.ErrClosed
	case <-actx.Done():
		return wire.NewError(wire.CodeTimeout, "no ATTACH for %s", a.Object)
	}
}

// serveAttach gives an offered stream to the data connection that comes for it.
// An error means that the request was not answered.
func (h *Host) serveAttach(ctx context.Context, conn net.Conn, cred socket.Cred, o *session.Opening) error {
	var req wire.Attach
	if err := o.Decode(&req); err != nil {
		return err
	}
	g, offered, err := h.take(cred, req)
	if err != nil {
		if offered != nil {
			offered.in.Refuse()
		}
		return err
	}
	defer g.release(wire.RoleStream)
	if offered.tls.speaksTLS() {
		h.attachTLS(ctx, conn, o, req.Object, offered)
		return nil
	}
	st, err := offered.in.Accept()
	if err != nil {
		return wire.NewError(wire.CodeGone, "%s: the remote side has given up: %v", clip(req.Object), err)
	}
	if err := o.Answer(wire.Opened{Object: req.Object}); err != nil {
		_ = st.Reset() // nobody is left to hear of an error
		return nil
	}
	h.relay(ctx, relayed{recordconn.New(conn)}, st)
	return nil
}

// attachTLS goes on with an ATTACH where the core speaks TLS with the application:
// that needs the plug's records, and so its answer, before the remote side is told
// that the stream is open.
func (h *Host) attachTLS(ctx context.Context, conn net.Conn, o *session.Opening, object string, offered *offer) {
	if err := o.Answer(wire.Opened{Object: object}); err != nil {
		offered.in.Refuse()
		return
	}
	app, err := h.withApplication(ctx, offered.item, offered.tls, relayed{recordconn.New(conn)})
	if err != nil {
		offered.in.Refuse()
		return
	}
	st, err := offered.in.Accept()
	if err != nil {
		_ = app.Reset(wire.Reset{Code: wire.CodeGone, Msg: "the remote side has given up"})
		return
	}
	h.relay(ctx, app, st)
}

// take claims an offered stream and reserves its place. With an error the
// stream, if there is one, is the caller's to refuse.
func (h *Host) take(cred socket.Cred, req wire.Attach) (*guest, *offer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g, err := h.authorize(cred, req.Session)
	if err != nil {
		return nil, nil, err
	}
	o := h.offers[req.Object]
	if o == nil || o.guest != g {
		return nil, nil, wire.NewError(wire.CodeGone, "no stream %q waits for %s", clip(req.Object), g.hello.Name)
	}
	delete(h.offers, req.Object)
	close(o.taken)
	if err := g.reserve(wire.RoleStream); err != nil {
		return nil, o, err
	}
	return g, o, nil
}
