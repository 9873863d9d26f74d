package workceptor

import (
	"cmp"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/workceptor/internal/fsys"
	"github.com/project-receptor/receptor/workceptor/internal/signing"
	"github.com/project-receptor/receptor/workceptor/internal/state"
	"github.com/project-receptor/receptor/workceptor/internal/store"
)

// Config is what a Workceptor is made of.
type Config struct {
	Dir    string       // for the units, made if it is not there; nobody else's
	NodeID string       // of this node
	Logger hclog.Logger // nil: none

	// Mesh is the other nodes; nil: units are run here only.
	Mesh Mesh

	// SigningKey signs work for other nodes, where a client on a Unix socket asks for it,
	// by tokens that are good for TokenLife where the other one is a legacy node; 0: 5
	// minutes. VerifyingKey checks signatures of work of types that want them.
	SigningKey   *rsa.PrivateKey
	TokenLife    time.Duration
	VerifyingKey *rsa.PublicKey
	// Unsigned is what needs no signature all the same; empty: UnsignedStatus.
	Unsigned Unsigned

	// Offers is told, one call after the other, which types of work are to be had here,
	// whenever that changes: none while the node drains. nil: nobody wants to know.
	Offers func([]TypeStatus)

	// Retention is how long ended units are kept that nobody releases. The zero
	// value keeps them for ever.
	Retention Retention
	// Early is how long after its start the node waits for workers to come, before it
	// says that it does not know a type of work. 0: it does not wait.
	Early time.Duration
	// Reserve is what must be free on the disk for new work to be taken, in bytes.
	// 0: 5 % of the disk, 1 GiB at most.
	Reserve uint64

	// Now is the time as this node's clock has it: for what people and legacy tokens are
	// told. It runs as fast as others'. nil: time.Now.
	Now func() time.Time
}

// Retention bounds the ended units that are kept.
type Retention = store.Retention

// Errors of units, for errors.Is.
var (
	ErrUnknownUnit = store.ErrUnknown
	ErrReleased    = store.ErrReleased
	ErrNoRoom      = store.ErrFull
	ErrUnknownType = errors.New("unknown work type")
	ErrInvalid     = errors.New("invalid request")
)

const (
	// callTimeout bounds a call to a worker. START of a plug has 10 s.
	callTimeout = 15 * time.Second

	// retryPause is how long it takes until a worker that is attached, and did not
	// answer for a unit, is asked again.
	retryPause = 5 * time.Second

	// retentionPause is how often it is looked for units that are kept too long.
	retentionPause = time.Minute

	// maxStarts bounds the starts of a type that are under way at a time, where slots
	// do not.
	maxStarts = 64
)

// Workceptor is the units of a node. Its methods may be called concurrently, between
// Start and Close.
type Workceptor struct {
	c     Config
	log   hclog.Logger
	dir   *fsys.OS
	store *store.Store

	ctx    context.Context // owns all goroutines
	cancel context.CancelFunc

	taskMu sync.Mutex
	closed bool
	tasks  sync.WaitGroup

	nonces    *signing.Nonces
	denials   denials
	submitter string        // names us to other nodes
	offers    chan struct{} // a token when they have changed

	early context.Context // done when no worker is waited for any more

	mu      sync.Mutex
	types   map[string]*workType
	offer   chan struct{} // closed and replaced when a type is offered
	live    map[string]*liveUnit
	remotes map[string]*remoteNode // by place
	wanted  map[string]string      // submissions to other nodes: the unit that has not ended
	drain   *drained               // nil: new work is taken
}

// workType is a type of work: one that was offered, or that there are units of.
type workType struct {
	WorkType
	offered  bool        // once: its worker may be away
	worker   *Attachment // nil: away
	queue    []string    // units that wait for a slot, first come first served
	busy     map[string]struct{}
	starting int
}

// liveUnit is what is known of a unit that a worker has, beyond its state.
type liveUnit struct {
	stdout, stderr int64
	ending         bool          // its outputs are being measured
	stopping       *Attachment   // the worker was told to stop it
	more           chan struct{} // closed when there is more output; nil: nobody waits
	digests        [2]digest     // of stdout and stderr
}

// New opens the units of a node.
func New(c Config) (*Workceptor, error) {
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	c.Unsigned = cmp.Or(c.Unsigned, UnsignedStatus)
	dir, err := fsys.OpenOS(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("open the units' directory: %w", err)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s, err := store.Open(store.Options{FS: dir, Logger: c.Logger, Reserve: c.Reserve, Now: c.Now})
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	w := &Workceptor{
		c: c, log: c.Logger, dir: dir, store: s,
		types: make(map[string]*workType), live: make(map[string]*liveUnit), offer: make(chan struct{}),
		remotes: make(map[string]*remoteNode), wanted: make(map[string]string), offers: make(chan struct{}, 1),
	}
	if w.submitter, err = loadSubmitter(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("open the units' directory: %w", err), s.Close(), dir.Close())
	}
	start := time.Now()
	w.nonces = signing.NewNonces(func() time.Duration { return time.Since(start) })
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.early = w.ctx
	return w, nil
}

// Start brings the units of before back: those that wait go on waiting, those that
// run are known again when their worker attaches.
func (w *Workceptor) Start() error {
	all := w.store.List()
	slices.SortFunc(all, func(a, b store.Unit) int { return a.Spec.Created.Compare(b.Spec.Created) })
	w.task(func() { w.store.Run(w.ctx) })
	w.task(w.tellOffers)
	for _, u := range all { // of all before any node is asked what it has
		if u.Spec.Remote != nil && !u.State.Final() {
			w.wanted[u.Spec.Remote.Submission] = u.ID
		}
	}
	for _, u := range all {
		if u.Spec.Remote != nil && w.c.Mesh != nil {
			w.bringBackRemote(u)
		}
		w.bringBack(u)
	}
	for _, n := range w.remotes { // nobody else is here yet
		n.begin()
	}
	w.task(w.expire)
	var enough context.CancelFunc
	w.early, enough = context.WithTimeout(w.ctx, w.c.Early)
	context.AfterFunc(w.early, enough)
	return nil
}

// awaitOffer waits for a type of work that nobody has offered yet, as long as workers
// may be on their way to a node that has just started.
func (w *Workceptor) awaitOffer(ctx context.Context, name string) {
	for {
		w.mu.Lock()
		t, more := w.types[name], w.offer
		known := t != nil && t.offered
		w.mu.Unlock()
		if known {
			return
		}
		select {
		case <-more:
		case <-w.early.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// bringBack takes up a unit where the node has left it. A disk that cannot be written
// yet keeps no node from starting.
func (w *Workceptor) bringBack(u store.Unit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case u.State.Final():
		if u.ReleaseAsked {
			w.task(func() { w.releaseEnded(u.ID) })
		}
	case u.Phase == state.Receiving && u.Spec.Submission == "":
		// Nobody can send the rest. (The text is that of legacy nodes.)
		w.task(func() { w.happen(u.ID, state.Event{Kind: state.Abandoned, Reason: "Pending at restart"}) })
	case u.Phase == state.Receiving:
	case u.Phase == state.Queued:
		t := w.workType(u.Spec.Place())
		t.queue = append(t.queue, u.ID)
	default: // Starting, Running
		w.workType(u.Spec.Place()).busy[u.ID] = struct{}{}
	}
}

// Close ends everything but the units. It waits.
func (w *Workceptor) Close() error {
	w.taskMu.Lock()
	w.closed = true
	w.taskMu.Unlock()
	w.cancel()
	w.tasks.Wait()
	return errors.Join(w.store.Close(), w.dir.Close())
}

// task runs f in a goroutine that Close waits for.
func (w *Workceptor) task(f func()) {
	w.taskMu.Lock()
	defer w.taskMu.Unlock()
	if !w.closed {
		w.tasks.Go(f)
	}
}

// workType returns the entry of a type. The caller holds w.mu.
func (w *Workceptor) workType(name string) *workType {
	t := w.types[name]
	if t == nil {
		t = &workType{WorkType: WorkType{Name: name}, busy: make(map[string]struct{})}
		w.types[name] = t
	}
	return t
}

// expire releases units that are kept too long.
func (w *Workceptor) expire() {
	if w.c.Retention == (Retention{}) {
		return
	}
	tick := time.NewTicker(retentionPause)
	defer tick.Stop()
	for {
		for _, id := range w.c.Retention.Expired(w.store.List(), w.c.Now()) {
			if err := w.release(id); err != nil && !gone(err) {
				w.log.Warn("cannot release a unit that is kept too long", "unit", id, "error", err)
			}
		}
		select {
		case <-w.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// gone tells whether an error says that a unit is not there any more.
func gone(err error) bool { return errors.Is(err, ErrUnknownUnit) || errors.Is(err, ErrReleased) }
