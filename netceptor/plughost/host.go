package plughost

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/mtls"
	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
)

// Config is what a Host needs.
type Config struct {
	Node      *netceptor.Node // required
	Logger    hclog.Logger    // nil: none
	Version   string          // of the core
	Policy    Policy          // who may attach, and as what
	CoreKinds []string        // kinds that no plug may claim
	NoHandoff bool            // plugs relay all bytes: no socket is taken over
	TLS       *mtls.Set       // the profiles that items may name; nil: none
	Workers   plug.WorkerHost // who has work for workers; nil: the role is not served
	Digest    string          // of the node's configuration, for observers; empty: none
}

// Host serves plugs. It is used once: when it has been closed, or Serve has
// returned, it serves nobody any more.
type Host struct {
	node      *netceptor.Node
	log       hclog.Logger
	version   string
	policy    Policy
	coreKinds []string
	noHandoff bool
	tls       *mtls.Set
	digest    string
	workers   plug.WorkerHost

	ctx    context.Context // ends with Close; owns all goroutines
	cancel context.CancelFunc
	wg     sync.WaitGroup

	start sync.Once // of what runs while the host is in use

	mu         sync.Mutex
	closed     bool
	guests     []*guest // attached plugs, in the order in which they came
	items      []*item
	binds      map[bindKey]*bind
	packets    map[string]*packets // packet services, by object
	offers     map[string]*offer   // streams that wait for their ATTACH, by object
	handed     map[string]*handed  // by object
	kept       map[keptKey]*kept
	accounts   map[int64]*account
	lastObject uint64
	revision   uint64        // of the last CONFIG
	changed    chan struct{} // closed and replaced by notify
	counters   map[string]uint64
	logged     map[string]time.Time // refusals, by what and whom
}

// New makes a host.
func New(c Config) (*Host, error) {
	if c.Node == nil {
		return nil, errors.New("plughost: Config.Node is missing")
	}
	if err := c.Policy.Validate(); err != nil {
		return nil, err
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	h := &Host{
		node:      c.Node,
		log:       c.Logger,
		version:   c.Version,
		policy:    c.Policy,
		noHandoff: c.NoHandoff,
		tls:       c.TLS,
		digest:    c.Digest,
		workers:   c.Workers,
		handed:    make(map[string]*handed),
		binds:     make(map[bindKey]*bind),
		offers:    make(map[string]*offer),
		packets:   make(map[string]*packets),
		kept:      make(map[keptKey]*kept),
		accounts:  make(map[int64]*account),
		changed:   make(chan struct{}),
		counters:  make(map[string]uint64),
		logged:    make(map[string]time.Time),
	}
	for _, k := range c.CoreKinds {
		h.coreKinds = append(h.coreKinds, strings.ToLower(k))
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	if names := c.Policy.unknownNames(); len(names) > 0 {
		h.log.Debug("plugs-policy names somebody who is not there; such a rule matches nobody", "names", names)
	}
	return h, nil
}

// Serve attaches plugs that connect to l until ctx is done, then closes l and
// the host, and waits. It returns nil, or why l failed for good.
func (h *Host) Serve(ctx context.Context, l net.Listener) error {
	defer func() { _ = h.Close() }() // it never fails
	h.begin()
	ctx, cancel := h.within(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	defer func() { _ = l.Close() }()

	var pause time.Duration
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			h.serveAccepted(ctx, conn)
			continue
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept plugs: %w", err)
		}
		if pause == 0 {
			h.log.Error("cannot accept plugs; going on", "error", err)
		}
		h.count("accept_errors")
		pause = min(max(2*pause, acceptBackoffMin), acceptBackoffMax)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

func (h *Host) serveAccepted(ctx context.Context, conn net.Conn) {
	cred, err := socket.PeerCred(conn)
	if err != nil {
		h.count("refused_credentials")
		h.log.Error("cannot tell who connects; closing", "error", err)
		_ = conn.Close()
		return
	}
	if !h.spawn(func() { h.ServeConn(ctx, conn, cred) }) {
		_ = conn.Close()
	}
}

// ServeConn serves one connection of a plug until it is over. It owns conn.
// cred says who is at the other end: for a plug in the same process, who
// connects over net.Pipe, the process itself.
func (h *Host) ServeConn(ctx context.Context, conn net.Conn, cred socket.Cred) {
	defer func() { _ = conn.Close() }()
	if !h.enter() {
		return
	}
	defer h.wg.Done()
	h.begin()
	ctx, cancel := h.within(ctx)
	defer cancel()
	defer h.recovered("connection", "uid", cred.UID, "pid", cred.PID)

	a, ok := h.userEnters(cred)
	if !ok {
		h.count("refused_connections")
		h.logRefusal(cred, "too many connections of one user")
		return
	}
	defer h.userLeaves(cred)
	h.serveConn(ctx, conn, cred, a)
}

func (h *Host) serveConn(ctx context.Context, conn net.Conn, cred socket.Cred, a *account) {
	if !a.startReading(ctx) {
		return
	}
	o, err := session.Accept(ctx, conn)
	a.doneReading()
	if err != nil {
		h.notOpened(cred, err)
		return
	}
	if !h.policy.knows(cred) {
		h.refuse(o, cred, wire.NewError(wire.CodeDenied, "plugs-policy has no rule for uid %d", cred.UID))
		return
	}
	if o.Kind == wire.ConnSession {
		h.serveSession(ctx, conn, cred, o)
	} else {
		h.serveData(ctx, conn, cred, o)
	}
}

// notOpened counts and logs a connection that did not begin as it must.
func (h *Host) notOpened(cred socket.Cred, err error) {
	var format *wire.FormatError
	var refused *wire.Error
	var broken *session.ProtocolError
	switch {
	case errors.As(err, &format):
		h.count("refused_preamble")
		h.logRefusal(cred, clip(err.Error()))
	case errors.As(err, &refused), errors.As(err, &broken):
		h.count("refused_protocol")
		h.logRefusal(cred, clip(err.Error()))
	case isTimeout(err):
		h.count("refused_slow")
		h.logRefusal(cred, "its first bytes did not come in time")
	default:
		h.count("refused_incomplete") // it went by itself
	}
}

// refuse tells a plug why its first request is not granted.
func (h *Host) refuse(o *session.Opening, cred socket.Cred, err error) {
	e := asWire(err)
	h.count("refused_" + e.Code)
	switch {
	case e.Code == wire.CodeDenied:
		h.logRefusal(cred, e.Msg, h.policy.hint)
	case o.Kind == wire.ConnSession:
		h.logRefusal(cred, e.Msg)
	}
	if err := o.Refuse(e); err != nil {
		h.log.Debug("plug did not wait for its refusal", "error", err, "uid", cred.UID)
	}
}

// Close ends all sessions, binds, links and streams of plugs and waits for
// them. It is idempotent.
func (h *Host) Close() error {
	h.mu.Lock()
	h.closed = true
	for _, o := range h.handed {
		o.end()
	}
	h.mu.Unlock()
	h.cancel()
	h.wg.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dropKeptOf(func(keptKey, *kept) bool { return true })
	return nil
}

// begin starts, once, what runs while the host is in use.
func (h *Host) begin() {
	h.start.Do(func() { h.spawn(h.logChanges) })
}

// enter joins what Close waits for; the caller calls wg.Done.
func (h *Host) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.wg.Add(1)
	return true
}

// spawn runs f in a goroutine that Close waits for; false: the host is closed.
func (h *Host) spawn(f func()) bool {
	if !h.enter() {
		return false
	}
	go func() {
		defer h.wg.Done()
		defer h.recovered("goroutine")
		f()
	}()
	return true
}

// within is ctx that ends with the host, too.
func (h *Host) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(h.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// recovered keeps a mistake of ours in handling one plug from ending the node.
// It is deferred directly; what it ends is what deferred calls before it close.
func (h *Host) recovered(what string, args ...any) {
	if r := recover(); r != nil {
		h.panicked(what, r, args...)
	}
}

func (h *Host) panicked(what string, r any, args ...any) {
	h.count("panics")
	h.log.Error("recovered from a panic", append([]any{"in", what, "error", r, "stack", string(debug.Stack())}, args...)...)
}

// count counts an event, for Counters.
func (h *Host) count(event string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counters[event]++
}

// Counters returns how often things went wrong, by what: refused connections,
// panics, floods.
func (h *Host) Counters() map[string]uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.counters)
}

// logRefusal logs that somebody is not served, once in a while for the same
// user and reason. Only then it asks for hints.
func (h *Host) logRefusal(cred socket.Cred, why string, hints ...func() string) {
	if !h.isNews(fmt.Sprint(cred.UID, " ", why)) {
		return
	}
	for _, hint := range hints {
		why += hint()
	}
	h.log.Warn("plug refused", "error", why, "uid", cred.UID, "gid", cred.GID, "pid", cred.PID)
}

// isNews tells whether the log has not heard of something for a while.
func (h *Host) isNews(what string) bool {
	const remembered = 1024 // beyond them it starts anew: a log line too many, no memory
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if last, ok := h.logged[what]; ok && now.Sub(last) < logEvery {
		return false
	}
	if len(h.logged) >= remembered {
		clear(h.logged)
	}
	h.logged[what] = now
	return true
}

// newObject names a new link or stream. Callers hold mu.
func (h *Host) newObject(role string) string {
	h.lastObject++
	return fmt.Sprintf("%s-%d", role, h.lastObject)
}

// guestNamed finds an attached plug that has not been taken over. Callers hold mu.
func (h *Host) guestNamed(name string) *guest {
	i := slices.IndexFunc(h.guests, func(g *guest) bool { return g.hello.Name == name && !g.superseded })
	if i < 0 {
		return nil
	}
	return h.guests[i]
}
