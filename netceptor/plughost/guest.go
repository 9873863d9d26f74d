package plughost

import (
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"maps"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
)

// guest is one attached plug: its session, what it was granted, what it has
// reported and what it carries.
type guest struct {
	host   *Host
	log    hclog.Logger
	cred   socket.Cred
	rule   *Rule
	hello  wire.Hello
	secret string // data connections present it
	since  time.Time
	engine *session.Session
	frames bucket
	dirty  chan struct{} // a token: CONFIG is due
	fdpass bool          // sockets may be handed over

	// Guarded by Host.mu.
	roles      map[string]int // granted, with their versions
	kinds      []wire.Kind    // granted, with the policy parameters
	problems   []string       // what it asked for and did not get
	stalled    bool
	draining   bool
	gone       bool
	superseded bool              // a newer process has taken over
	set        []wire.ConfigItem // the items that it should have
	params     map[string]string // theirs, by item
	refused    map[string]refusal
	reported   map[string]wire.ItemStatus // its last STATUS
	detail     string                     // of its last STATUS
	counters   map[string]uint64          // of its last STATUS
	configErr  string                     // why it has not taken the last CONFIG
	objects    map[string]int             // open, by role
	pending    map[string]int             // opens, by item or bind
	opens      int                        // pending, in all
	worker     *worker                    // nil: the role is not granted
}

// refusal is what a plug said about an item with those parameters.
type refusal struct{ params, why string }

// serveSession attaches a plug and serves it until its session ends.
func (h *Host) serveSession(ctx context.Context, conn net.Conn, cred socket.Cred, o *session.Opening) {
	g, welcome, err := h.attach(cred, o, conn)
	if err != nil {
		h.refuse(o, cred, err)
		return
	}
	defer h.detach(g)
	if err := o.Answer(welcome); err != nil {
		g.log.Warn("plug went while attaching", "error", err)
		return
	}
	say := g.log.Info
	if len(g.hello.Kinds) == 0 {
		say = g.log.Debug // it only looks
	}
	say("plug attached", "program", g.hello.Program, "version", g.hello.ProgramVersion, "uid", cred.UID, "pid", cred.PID)
	for _, p := range g.problems {
		g.log.Warn("plug does not get all that it asks for", "error", p)
	}

	// The engine is ended by Close, which tells the plug why, not by a context.
	stop := context.AfterFunc(ctx, func() { g.engine.Close(errStopping()) })
	defer stop()
	sctx, cancel := context.WithCancel(ctx)
	configured := make(chan struct{})
	go func() {
		defer close(configured)
		defer h.recovered("configuration", "plug", g.hello.Name)
		g.configure(sctx)
	}()
	err = g.engine.Run(context.WithoutCancel(ctx))
	cancel()
	<-configured
	switch {
	case err == nil, errors.Is(err, io.EOF), ctx.Err() != nil:
		say("plug has gone")
	default:
		h.count("sessions_failed")
		g.log.Warn("plug has gone", "error", err)
	}
}

// guestBySecret finds the session that a data connection belongs to: the secret
// and the user have to be the same. All sessions are compared, each in constant
// time. Callers hold mu.
func (h *Host) guestBySecret(cred socket.Cred, secret string) *guest {
	var found *guest
	for _, g := range h.guests {
		if subtle.ConstantTimeCompare([]byte(g.secret), []byte(secret)) == 1 && userKey(g.cred) == userKey(cred) {
			found = g
		}
	}
	return found
}

// handle answers the requests and notifications of the session.
func (g *guest) handle(ctx context.Context, r *session.Request) (resp any, err error) {
	defer func() {
		if p := recover(); p != nil {
			g.host.panicked("session", p)
			err = wire.NewError(wire.CodeInternal, "%s: the core made a mistake", r.Type)
			g.engine.Close(err)
		}
	}()
	cost := 1.
	if r.Type.Opens() {
		cost = openCost
	}
	if !g.frames.take(time.Now(), cost) {
		g.host.count("floods")
		err := wire.NewError(wire.CodeLimit, "more than %d messages a second", framesPerSecond)
		g.engine.Close(err)
		return nil, err
	}
	if r.Notification && r.Type != wire.TypeStatus {
		return nil, session.ErrUnsupported // of a request there is no such thing
	}
	switch r.Type {
	case wire.TypeStatus:
		return nil, g.status(r)
	case wire.TypeDrain:
		g.drain()
		return nil, nil
	case wire.TypeBind:
		return g.bind(r)
	case wire.TypeLink:
		return g.handLink(ctx, r)
	case wire.TypeDial:
		return g.handDial(r)
	case wire.TypeKeep:
		return nil, g.keep(r)
	case wire.TypeTake:
		return g.take(r)
	case wire.TypeUnbind:
		return nil, g.unbind(r)
	case wire.TypeWorkType:
		return nil, g.workType(r)
	case wire.TypeUnit:
		return nil, g.units(r)
	case wire.TypeLook:
		return g.look()
	default:
		return nil, session.ErrUnsupported
	}
}

// status takes a STATUS. It is level-triggered: what it does not name is not
// known any more.
func (g *guest) status(r *session.Request) error {
	var s wire.Status
	if err := r.Decode(&s); err != nil {
		return err
	}
	h := g.host
	h.mu.Lock()
	defer h.mu.Unlock()
	g.detail = ""
	if s.State == wire.StateFailed || s.State == wire.StateDegraded {
		g.detail = clip(s.Detail)
	}
	g.counters = countersOf(s.Counters)
	clear(g.reported)
	for _, is := range s.Items {
		if _, ok := g.params[is.Item]; !ok {
			continue // no item of this plug, or no longer
		}
		switch is.State {
		case wire.StateWaiting, wire.StateUp, wire.StateDegraded, wire.StateFailed:
		default:
			is.Err = "unknown state " + is.State + " " + is.Err
			is.State = wire.StateDegraded
		}
		is.Addr, is.Err = clip(is.Addr), clip(is.Err)
		g.reported[is.Item] = is
	}
	h.notify()
	return nil
}

// countersOf is what is kept of a plug's counters.
func countersOf(said map[string]uint64) map[string]uint64 {
	kept := make(map[string]uint64)
	for _, name := range sortedKeys(said) {
		if len(kept) < maxCounters {
			kept[clip(name)] = said[name]
		}
	}
	return kept
}

// drain notes that the plug takes on nothing new.
func (g *guest) drain() {
	g.host.mu.Lock()
	defer g.host.mu.Unlock()
	g.draining = true
	g.host.notify()
}

// want gives the plug a set of items: if it is another than before, CONFIG is
// due. Callers hold mu.
func (g *guest) want(set []wire.ConfigItem) {
	params := make(map[string]string, len(set))
	for _, c := range set {
		params[c.Item] = string(c.Params)
	}
	if maps.Equal(params, g.params) {
		return
	}
	for item, old := range g.params {
		if now, ok := params[item]; !ok || now != old {
			delete(g.reported, item) // it was said of other parameters
		}
	}
	g.set, g.params = set, params
	g.setDirty()
}

func (g *guest) setDirty() {
	select {
	case g.dirty <- struct{}{}:
	default: // due already
	}
}

// configure sends CONFIG whenever it is due.
func (g *guest) configure(ctx context.Context) {
	for {
		select {
		case <-g.dirty:
		case <-ctx.Done():
			return
		}
		c := g.config()
		var res wire.ConfigResult
		cctx, cancel := context.WithTimeout(ctx, wire.RequestTimeout)
		err := g.engine.Call(cctx, wire.TypeConfig, c, &res)
		cancel()
		switch {
		case ctx.Err() != nil || errors.Is(err, session.ErrClosed):
			return
		case err == nil:
			g.configured(c, res)
		default:
			g.log.Warn("plug did not take its configuration; it is sent again", "error", err)
			g.configFailed(err)
			select {
			case <-time.After(configRetry):
				g.setDirty()
			case <-ctx.Done():
				return
			}
		}
	}
}

// config is the CONFIG that is due.
func (g *guest) config() wire.Config {
	h := g.host
	greeting := h.node.Greeting()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.revision++
	c := wire.Config{Revision: h.revision, Items: append([]wire.ConfigItem{}, g.set...)}
	for i := range c.Items {
		it := &c.Items[i]
		it.Live = g.live(it.Item)
		if k := schema.Find(g.kinds, it.Kind); k != nil && k.Role == wire.RoleLink && k.Dir == dirIn {
			it.Greeting = greeting
		}
	}
	return c
}

// configured notes what the plug said about its items. As a plug applies
// nothing of a set with mistakes, the set without them goes out next.
func (g *guest) configured(c wire.Config, res wire.ConfigResult) {
	h := g.host
	h.mu.Lock()
	defer h.mu.Unlock()
	g.configErr = ""
	sent := make(map[string]string, len(c.Items))
	for _, ci := range c.Items {
		sent[ci.Item] = string(ci.Params)
		for _, l := range ci.Live { // it may have ended before the plug knew of it
			if h.handed[l.Object] == nil {
				g.notifyClosed(wire.Closed{Object: l.Object, Code: wire.CodeGone})
			}
		}
	}
	for _, e := range res.Errors {
		params, ok := sent[e.Item]
		if !ok {
			continue
		}
		why := e.Msg
		if e.Param != "" {
			why = e.Param + ": " + e.Msg
		}
		g.refused[e.Item] = refusal{params: params, why: clip(why)}
	}
	h.resolve()
}

func (g *guest) configFailed(err error) {
	g.host.mu.Lock()
	defer g.host.mu.Unlock()
	g.configErr = clip(err.Error())
	g.host.notify()
}

// setStalled notes that the plug has not answered PING for some intervals, or
// answers again. A stalled plug gets no new streams; it may only be starved or
// stopped, so nothing of it is ended.
func (g *guest) setStalled(stalled bool) {
	if stalled {
		g.log.Warn("plug does not answer", "state", plugStalled)
	} else {
		g.log.Info("plug answers again", "state", plugAttached)
	}
	h := g.host
	h.mu.Lock()
	defer h.mu.Unlock()
	g.stalled = stalled
	h.notify()
}

// reserve counts one more object of a role, which is released when it is over.
// Callers hold mu.
func (g *guest) reserve(role string) error {
	if _, ok := g.roles[role]; !ok {
		return wire.NewError(wire.CodeDenied, "role %s is not granted to %s", role, g.hello.Name)
	}
	rr, _ := g.rule.allowsRole(role)
	if rr.Max > 0 && g.objects[role] >= rr.Max {
		return wire.NewError(wire.CodeLimit, "plugs-policy allows %s at most %d objects of role %s", g.hello.Name, rr.Max, role)
	}
	total := 0
	for _, n := range g.objects {
		total += n
	}
	if total >= maxDataConns {
		return wire.NewError(wire.CodeLimit, "%s has %d data connections, at most %d are allowed", g.hello.Name, total, maxDataConns)
	}
	g.objects[role]++
	return nil
}

func (g *guest) release(role string) {
	g.host.mu.Lock()
	defer g.host.mu.Unlock()
	g.objects[role]--
}

// beginOpen counts one more pending open of an item or bind. Callers hold mu.
func (g *guest) beginOpen(of string) error {
	if g.opens >= wire.MaxOpens {
		return wire.NewError(wire.CodeBusy, "%s has %d pending opens", g.hello.Name, g.opens)
	}
	if g.pending[of] >= wire.MaxOpensPerItem {
		return wire.NewError(wire.CodeBusy, "%s has %d pending opens of %q", g.hello.Name, g.pending[of], of)
	}
	g.opens++
	g.pending[of]++
	return nil
}

// endOpen is the counterpart of beginOpen. Callers hold mu.
func (g *guest) endOpen(of string) {
	g.opens--
	if g.pending[of]--; g.pending[of] == 0 {
		delete(g.pending, of)
	}
}

// carriedItem is itemOf for what the plug carries. One that a newer process has
// taken over from may still open what it had accepted before. Callers hold mu.
func (g *guest) carriedItem(id string) *item {
	if it := g.itemOf(id); it != nil || !g.superseded {
		return it
	}
	for _, o := range g.host.guests {
		if o != g && o.hello.Name == g.hello.Name && o.cred.UID == g.cred.UID {
			if it := o.itemOf(id); it != nil {
				return it
			}
		}
	}
	return nil
}

// itemOf finds a sent item of the plug. Callers hold mu.
func (g *guest) itemOf(id string) *item {
	for _, it := range g.host.items {
		if it.owner == g && it.mistake == "" && it.id == id {
			return it
		}
	}
	return nil
}
