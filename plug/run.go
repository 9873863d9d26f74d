package plug

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

const (
	// refusedRetry is the pause after a refusal that will not change by itself:
	// somebody has to edit a file first.
	refusedRetry = 5 * time.Second

	// statusInterval is how often the whole state is told though nothing has
	// changed, so that whatever got lost heals.
	statusInterval = 30 * time.Second

	// lastOpens is how long a plug that stops waits for what it has accepted to be
	// carried. What is relayed is cut then.
	lastOpens = time.Second

	// leaveTime is how long streams may go on in a plug that leaves. A core gives no
	// more to one that was taken over from; whatever runs longer is cut.
	leaveTime = 5 * time.Minute

	// statusGather is how long changes of state are gathered before they are
	// told: hundreds of items may change together.
	statusGather = 20 * time.Millisecond
)

// runner is a plug that runs.
type runner struct {
	plug    *Plug
	options Options
	hello   wire.Hello // Takeover is attachLoop's
	log     hclog.Logger
	links   links
	reports *reports // of units of work
	peers   peers    // of packet services

	dirty chan struct{} // the state has changed; capacity 1
	apply sync.Mutex    // held while a configuration is applied

	mu      sync.Mutex
	items   map[string]*Item
	binds   map[string]*binding
	node    string              // of the core that was attached last
	work    map[string]*offered // by type
	core    *attachment         // nil: none
	changed chan struct{}       // closed when core changes
	closing bool                // no item is started any more

	counters counters
}

// attachment is a session with a core that has told its configuration.
type attachment struct {
	session  *session.Session
	secret   string          // that data connections present
	handoff  bool            // it takes descriptors
	offered  func()          // a type of work is offered: it listens to what is told of units
	listens  <-chan struct{} // closed then
	told     bool            // its configuration, once at least; guarded by runner.apply
	revision uint64          // of the last configuration, guarded by runner.apply
}

// over says whether the session has ended.
func (a *attachment) over() bool {
	select {
	case <-a.session.Done():
		return true
	default:
		return false
	}
}

// Run attaches p to its core and serves until ctx is done; then it stops all
// items and returns nil. It dials again with jittered back-off, 100 ms to 5 s,
// whenever the core goes; with Leave it may end by itself. A refusal that will never change (class fix or
// never) is logged once and tried again every 5 s.
func Run(ctx context.Context, p *Plug, o Options) error {
	if o.Dial == nil {
		return errors.New("plug options lack Dial")
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.OnAttach == nil {
		o.OnAttach = func(string) {}
	}
	hello, err := p.Hello(o.Name)
	if err != nil {
		return err
	}
	if !o.NoHandoff {
		hello.Features = append(hello.Features, wire.FeatureFDPass)
	}
	hello.Takeover = o.Takeover
	r := &runner{
		plug:    p,
		options: o,
		hello:   hello,
		log:     o.Logger,
		dirty:   make(chan struct{}, 1),
		items:   map[string]*Item{},
		binds:   map[string]*binding{},
		work:    map[string]*offered{},
		reports: newReports(),
		changed: make(chan struct{}),
	}
	// The session outlives ctx until the items have stopped, as they have
	// something to tell the core then.
	attached, detach := context.WithCancel(context.WithoutCancel(ctx))
	defer detach()
	attaching, settle := context.WithCancel(ctx)
	defer settle()
	var loop sync.WaitGroup
	loop.Go(func() { r.attachLoop(attaching, attached) })
	select {
	case <-ctx.Done():
	case <-o.Leave:
		settle()
		r.leave(ctx)
	}
	r.close()
	detach()
	loop.Wait()
	return nil
}

// leave has all items take on nothing new, and waits for the streams that they relay,
// until ctx is done at the latest.
func (r *runner) leave(ctx context.Context) {
	r.log.Info("leaving: taking on nothing new")
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	items := r.drainAll()
	for _, it := range items {
		it.cut()
	}
	if core, err := r.attached(); err == nil {
		// A core that is told by nobody asks for more, and is told then.
		_ = core.session.Call(ctx, wire.TypeDrain, wire.Drain{DeadlineMS: leaveTime.Milliseconds(), Reason: "the plug leaves"}, nil)
	}
	awaitAll(ctx, items)
}

// close stops all items and waits for them. They take on nothing new at first, so
// that what was accepted a moment ago can still be handed over.
func (r *runner) close() {
	items := r.drainAll()
	r.mu.Lock()
	r.items = map[string]*Item{}
	r.mu.Unlock()
	patience, cancel := context.WithTimeout(context.Background(), lastOpens)
	defer cancel()
	awaitAll(patience, items)
	for _, it := range items {
		it.stop()
	}
	for _, it := range items {
		<-it.done
	}
}

// drainAll has all items take on nothing new, and returns them. No item is started
// from here on.
func (r *runner) drainAll() map[string]*Item {
	r.mu.Lock()
	r.closing = true
	items := maps.Clone(r.items)
	r.mu.Unlock()
	for _, it := range items {
		it.drain()
	}
	return items
}

// awaitAll waits for the ends of items until ctx is done.
func awaitAll(ctx context.Context, items map[string]*Item) {
	for _, it := range items {
		select {
		case <-it.done:
		case <-ctx.Done():
			return
		}
	}
}

// stops tells whether the plug takes on nothing new, and ends.
func (r *runner) stops() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closing
}

// attachLoop keeps a session with the core: it dials until ctx is done, and
// keeps what it has until attached is.
func (r *runner) attachLoop(ctx, attached context.Context) {
	backoff := Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	var told string
	for ctx.Err() == nil {
		welcomed, err := r.attach(ctx, attached)
		if ctx.Err() != nil {
			return
		}
		var refusal *wire.Error
		refused := errors.As(err, &refusal)
		switch {
		case welcomed:
			told = ""
			backoff.Reset()
			r.log.Warn("the core is gone, items run on", "error", err)
		case told == err.Error():
		case refused:
			r.log.Warn("the core refuses this plug, trying on", "error", err)
		default:
			r.log.Info("waiting for the core", "error", err)
		}
		if !welcomed {
			told = err.Error()
		}
		wait := backoff.Next()
		if refused {
			wait = max(wait, time.Duration(refusal.RetryAfterMS)*time.Millisecond)
			if refusal.Class == wire.ClassFix || refusal.Class == wire.ClassNever {
				wait = max(wait, refusedRetry)
			}
		}
		_ = pause(ctx, wait) // the loop looks at ctx
	}
}

// attach runs one session, and says why it ended.
func (r *runner) attach(ctx, attached context.Context) (welcomed bool, err error) {
	conn, err := r.options.Dial(ctx)
	if err != nil {
		return false, err
	}
	w, err := session.Attach(ctx, conn, r.hello)
	if err != nil {
		return false, errors.Join(err, conn.Close())
	}
	r.hello.Takeover = false // whoever takes over from us is not fought
	r.log.Info("attached to the core", "node", w.Node, "core_version", w.CoreVersion)
	for _, g := range w.Roles {
		if g.Refused != "" {
			r.log.Warn("the core refuses a role", "role", g.Role, "reason", g.Refused)
		}
	}
	for _, k := range w.Kinds {
		r.log.Warn("the core refuses a kind", "kind", k.Kind, "reason", k.Refused)
	}
	r.mu.Lock()
	r.node = w.Node
	r.mu.Unlock()
	r.options.OnAttach(w.Node)
	defer r.options.OnAttach("")

	listens := make(chan struct{})
	a := &attachment{
		secret:  w.Session,
		handoff: slices.Contains(w.Features, wire.FeatureFDPass),
		offered: sync.OnceFunc(func() { close(listens) }),
		listens: listens,
	}
	r.links.attached()
	r.peers.attached()
	a.session = session.New(session.Config{
		Conn:      conn,
		Side:      session.SidePlug,
		Handler:   func(ctx context.Context, q *session.Request) (any, error) { return r.handle(ctx, a, q) },
		Heartbeat: time.Duration(w.HeartbeatMS) * time.Millisecond,
	})
	var telling sync.WaitGroup
	telling.Go(func() { r.tellStatus(a) })
	telling.Go(func() { r.tellUnits(a) })
	err = a.session.Run(attached)
	r.setCore(a, nil)
	telling.Wait()
	if err == nil {
		err = errors.New("session closed")
	}
	return true, err
}

// setCore makes next the core's session if it was before.
func (r *runner) setCore(before, next *attachment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.core == before && r.core != next {
		r.core = next
		close(r.changed)
		r.changed = make(chan struct{})
	}
}

// await waits for a core whose session is another than except.
func (r *runner) await(ctx context.Context, except *attachment) (*attachment, error) {
	for {
		r.mu.Lock()
		core, changed := r.core, r.changed
		r.mu.Unlock()
		if core != nil && core != except {
			return core, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// attached returns the core's session, if there is one that answers.
func (r *runner) attached() (*attachment, error) {
	r.mu.Lock()
	core := r.core
	r.mu.Unlock()
	if core == nil {
		return nil, ErrDetached
	}
	if core.session.Stalled() {
		return nil, fmt.Errorf("%w: it does not answer", ErrDetached)
	}
	return core, nil
}

// handle answers the core's messages.
func (r *runner) handle(ctx context.Context, a *attachment, q *session.Request) (any, error) {
	switch q.Type {
	case wire.TypeConfig:
		var c wire.Config
		if err := q.Decode(&c); err != nil {
			return nil, err
		}
		return r.configure(a, c), nil
	case wire.TypeAccept:
		var c wire.Accept
		if err := q.Decode(&c); err != nil {
			return nil, err
		}
		return r.accepted(ctx, a, q, c)
	case wire.TypePeers:
		var c wire.Peers
		if err := q.Decode(&c); err != nil {
			return nil, err
		}
		r.peers.told(c)
		return nil, nil
	case wire.TypeStart:
		return r.started(ctx, q)
	case wire.TypeStop:
		var c wire.Stop
		if err := q.Decode(&c); err != nil {
			return nil, err
		}
		return nil, r.stopped(ctx, c)
	case wire.TypeRelease:
		var c wire.Release
		if err := q.Decode(&c); err != nil {
			return nil, err
		}
		return nil, r.released(ctx, c.Unit)
	case wire.TypeRecover:
		var c wire.Recover
		if err := q.Decode(&c); err != nil {
			return nil, err
		}
		return r.recovered(ctx, c.Units)
	case wire.TypeDrain:
		var d wire.Drain
		if err := q.Decode(&d); err != nil {
			return nil, err
		}
		r.drain(d)
		return nil, nil
	case wire.TypeClosed:
		var c wire.Closed
		if err := q.Decode(&c); err != nil {
			return nil, err
		}
		r.links.closed(c)
		return nil, nil
	default:
		return nil, session.ErrUnsupported
	}
}

var errDraining = errors.New("takes on nothing new, as the core asked")

// drain lets the items take on nothing new; what runs may finish until the
// deadline. They start again with the next configuration.
func (r *runner) drain(d wire.Drain) {
	r.log.Info("the core asks to take on nothing new", "reason", d.Reason)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, it := range r.items {
		it.drain()
		it.report(wire.StateWaiting, "", errDraining)
		if d.DeadlineMS > 0 {
			t := time.AfterFunc(time.Duration(d.DeadlineMS)*time.Millisecond, it.stop)
			context.AfterFunc(it.carry, func() { t.Stop() })
		}
	}
}

// statusChanged has the state told soon.
func (r *runner) statusChanged() {
	select {
	case r.dirty <- struct{}{}:
	default:
	}
}

// tellStatus tells the core the whole state, whenever it has changed and now
// and then, once the core has told its configuration.
func (r *runner) tellStatus(a *attachment) {
	ticker := time.NewTicker(statusInterval)
	defer ticker.Stop()
	for {
		select {
		case <-a.session.Done():
			return
		case <-ticker.C:
		case <-r.dirty:
			select {
			case <-a.session.Done():
				return
			case <-time.After(statusGather):
			}
		}
		if a.session.Notify(wire.TypeStatus, r.status()) != nil {
			return // the session has ended
		}
	}
}

func (r *runner) status() wire.Status {
	s := wire.Status{State: wire.StateUp, Counters: r.counters.read(), Items: []wire.ItemStatus{}}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, it := range r.items {
		s.Items = append(s.Items, it.current())
	}
	slices.SortFunc(s.Items, func(a, b wire.ItemStatus) int {
		if a.Item < b.Item {
			return -1
		}
		return 1
	})
	return s
}
