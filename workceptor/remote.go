package workceptor

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/project-receptor/receptor/workceptor/client"
	"github.com/project-receptor/receptor/workceptor/internal/fsys"
	"github.com/project-receptor/receptor/workceptor/internal/signing"
	"github.com/project-receptor/receptor/workceptor/internal/state"
	"github.com/project-receptor/receptor/workceptor/internal/store"
)

// Units for other nodes wait, run and end as those for workers do: a node that is to
// run some is a Worker, which is attached as long as one conversation with it stands,
// the watch. Over that it tells of all that it has from us, when it begins and after
// each change. So nothing has to be remembered of what could not be said to it:
//
//   - a submission has a name that is on our disk before it is sent, and is repeated
//     until it was answered. It is one unit, whatever is cut;
//   - what it tells of and we do not want, or not any more, is released there. What
//     has ended and was fetched whole is not wanted any more: ours is the unit;
//   - results are fetched from the byte that is missing here, and are whole when they
//     have the size and the digest that the other node has told of the end.

const (
	// firstPause and lastPause are how long it takes until a node that there is a way
	// to is talked to again, after the conversation has broken off.
	firstPause = 10 * time.Millisecond
	lastPause  = 2 * time.Second

	// wishPatience is how long a wish to cancel waits for a node that is away. Then
	// the unit has ended here, and will there if the node ever comes back.
	wishPatience = 7 * 24 * time.Hour

	// remoteSettle is how long a submitter waits to hear how the other node has
	// taken the unit: there is an error by then, if there is one.
	remoteSettle = 2 * time.Second

	// maxSubmitterID bounds the file that says who submits here.
	maxSubmitterID = 64
)

// submitterFile names these units among those of other submitters. It goes with the
// units: without them nothing that other nodes have is ours.
const submitterFile = ".submitter"

// loadSubmitter reads the name, or makes one.
func loadSubmitter(dir fsys.FS) (string, error) {
	b, err := fsys.ReadFile(dir, submitterFile)
	if name := string(b); err == nil && len(name) >= 16 && len(name) <= maxSubmitterID {
		return name, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	name := randomName()
	if err := fsys.WriteFile(dir, submitterFile, []byte(name)); err != nil {
		return "", err
	}
	return name, dir.SyncDir(".")
}

func randomName() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// remoteNode is a node that is to run units of ours. It is a Worker.
type remoteNode struct {
	w         *Workceptor
	node, tls string
	client    client.Client // whose conversations wait until the node is there
	poke      chan struct{} // a deadline has come up
	news      chan struct{} // there is something to ask a legacy node for
	begin     func()        // once all units of before are known

	mu     sync.Mutex
	legacy bool        // as it was seen last
	at     *Attachment // nil: it is away
	up     chan struct{}
	since  time.Time // it is away
	reason error     // why
	units  map[string]*remoteUnit
	owed   map[string]struct{} // its units that are being released
}

// remoteUnit is a unit that has not ended here. Its fields are guarded by the mutex of
// its node.
type remoteUnit struct {
	id     string
	spec   state.Spec
	begin  time.Time // until it must have begun; zero: no limit
	made   string    // its ID there; empty: not known
	remote string    // the same, once it has its payload there

	ctx        context.Context // ends when it has ended here
	cancel     context.CancelFunc
	submitting context.CancelFunc // nil: not now
	fetching   bool
	stopping   bool

	// Of a unit of a legacy node:
	told   legacyStatus
	over   bool   // nothing is asked for it any more
	stream func() // cuts the results

	report Report // the last word
}

// errNotReached is why a node is away that nothing was tried with.
var errNotReached = errors.New("it was not reached yet")

// remoteFor returns the node for a unit, which is made if it is not there.
func (w *Workceptor) remoteFor(spec *state.Spec) *remoteNode {
	w.mu.Lock()
	defer w.mu.Unlock()
	place := spec.Place()
	n := w.remotes[place]
	if n != nil {
		return n
	}
	n = &remoteNode{
		w: w, node: spec.Remote.Node, tls: spec.Remote.TLSClient,
		poke: make(chan struct{}, 1), news: make(chan struct{}, 1), up: make(chan struct{}), since: w.c.Now(), reason: errNotReached,
		units: make(map[string]*remoteUnit), owed: make(map[string]struct{}),
	}
	n.client = client.Client{Dial: n.dial}
	n.begin = sync.OnceFunc(func() {
		w.task(n.run)
		w.task(n.keepTime)
	})
	w.remotes[place] = n
	return n
}

// specifyRemote fills in what is known of a unit for another node.
func (w *Workceptor) specifyRemote(r Request, spec *state.Spec) error {
	if w.c.Mesh == nil {
		return fmt.Errorf("%w: this node gives no work to others", ErrInvalid)
	}
	if r.TLSClient == "" {
		for name := range r.Params {
			if state.IsSecret(name) {
				return fmt.Errorf("%w: cannot send secrets over a non-TLS connection", ErrInvalid)
			}
		}
	}
	if r.TLSClient != "" && !w.c.Mesh.Profile(r.TLSClient) {
		return fmt.Errorf("%w %s", ErrUnknownTLS, r.TLSClient)
	}
	if reached, _ := w.c.Mesh.Reach(r.Node); !reached && r.TTL == 0 {
		return fmt.Errorf("%w %s", ErrUnknownNode, r.Node)
	}
	spec.Secure = r.Sign // or anybody could have us sign
	spec.Remote = &state.Remote{
		Node: r.Node, TLSClient: r.TLSClient, Sign: r.Sign, Submission: w.submitter + "-" + randomName(), TTL: r.TTL, Disconnect: r.Disconnect,
	}
	return nil
}

// want has a new unit for another node looked after.
func (w *Workceptor) want(u store.Unit) {
	w.mu.Lock()
	w.wanted[u.Spec.Remote.Submission] = u.ID
	w.mu.Unlock()
	w.adopt(u).begin()
	if now, err := w.store.Get(u.ID); err != nil || now.State.Final() {
		w.disown(u) // somebody who watches was faster
	}
}

// settledRemote waits until the other node has said how it has taken a unit, but not
// for long.
func (w *Workceptor) settledRemote(ctx context.Context, id string) (Status, error) {
	late := time.NewTimer(remoteSettle)
	defer late.Stop()
	for {
		u, more, err := w.store.Watch(id)
		if err != nil {
			return Status{}, err
		}
		if u.Phase != state.Queued && u.Phase != state.Starting || len(u.Handle) > 0 {
			return w.status(u), nil
		}
		select {
		case <-more:
		case <-late.C:
			return w.status(u), nil
		case <-ctx.Done():
			return Status{}, context.Cause(ctx)
		}
	}
}

// adopt has a unit for another node looked after, once that begins.
func (w *Workceptor) adopt(u store.Unit) *remoteNode {
	n := w.remoteFor(&u.Spec)
	ru := &remoteUnit{id: u.ID, spec: u.Spec, remote: state.RemoteUnit(u.Handle)}
	ru.ctx, ru.cancel = context.WithCancel(w.ctx)
	if ttl := u.Spec.Remote.TTL; ttl > 0 {
		// Clocks may have been set since, but never does it get more time than it had.
		ru.begin = w.c.Now().Add(ttl - min(max(0, w.c.Now().Sub(u.Spec.Created)), ttl))
	}
	ru.report = Report{Unit: u.ID, State: ReportStarting}
	n.mu.Lock()
	if n.units[u.ID] == nil {
		n.units[u.ID] = ru
	}
	n.mu.Unlock()
	n.wakeTime()
	return n
}

// bringBackRemote looks after a unit of before. What has ended lately may still be at
// the other node.
func (w *Workceptor) bringBackRemote(u store.Unit) {
	switch {
	case !u.State.Final():
		w.adopt(u)
	case w.c.Now().Sub(u.Ended) < wishPatience:
		w.remoteFor(&u.Spec)
	}
}

// disown is for a unit that has ended here, or was released: whatever the other node
// has of it is not wanted any more.
func (w *Workceptor) disown(u store.Unit) {
	w.mu.Lock()
	delete(w.wanted, u.Spec.Remote.Submission)
	n := w.remotes[u.Spec.Place()]
	w.mu.Unlock()
	if n == nil {
		return
	}
	n.mu.Lock()
	ru := n.units[u.ID]
	delete(n.units, u.ID)
	n.mu.Unlock()
	remote := state.RemoteUnit(u.Handle)
	if ru != nil {
		ru.cancel()
		if remote == "" {
			n.mu.Lock()
			remote = cmp.Or(ru.remote, ru.made)
			n.mu.Unlock()
		}
	}
	if remote != "" {
		n.owe(remote, u.Spec.Remote.Sign)
	}
}

// run keeps a conversation with the node, whenever there is a way to it.
func (n *remoteNode) run() {
	ctx := n.w.ctx
	for pause := firstPause; n.w.c.Mesh.Await(ctx, n.node, true) == nil; pause = min(2*pause, lastPause) {
		if n.watch(ctx) {
			pause = firstPause
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// watch takes what the node tells, until there is no way to it any more. It tells
// whether it was there.
func (n *remoteNode) watch(ctx context.Context) (there bool) {
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel(nil)
	watching.Go(func() {
		if n.w.c.Mesh.Await(ctx, n.node, false) == nil {
			cancel(fmt.Errorf("%w %s", ErrUnknownNode, n.node))
		}
	})
	_, ours := n.w.c.Mesh.Reach(n.node)
	n.mu.Lock()
	n.legacy = !ours
	legacy := n.legacy
	n.mu.Unlock()
	if legacy {
		there, err := n.watchLegacy(ctx)
		n.left(err)
		return there
	}
	c := client.Client{Patience: -1, Dial: func(ctx context.Context) (io.ReadWriteCloser, error) {
		return n.w.c.Mesh.Dial(ctx, n.node, n.tls)
	}}
	if n.w.c.SigningKey != nil { // or it does not tell of units that we have signed for
		c.Sign = n.sign
	}
	o := client.WatchOptions{Submissions: n.w.submitter + "-", Begun: func() {
		there = true
		n.arrived()
	}}
	err := n.listen(ctx, &c, o)
	if errors.Is(err, client.ErrDenied) {
		n.w.log.Warn("a node does not take the signatures of this one: what is signed will fail there", "node", n.node, "error", err)
		c.Sign = nil
		err = n.listen(ctx, &c, o)
	}
	n.left(err)
	return there
}

// listen takes what the node tells, until that ends.
func (n *remoteNode) listen(ctx context.Context, c *client.Client, o client.WatchOptions) error {
	for e, err := range c.Watch(ctx, o) {
		if err != nil {
			return err
		}
		for _, u := range e.Units {
			n.told(u)
		}
	}
	return errors.New("it has stopped telling")
}

// arrived is for a node that talks to us.
func (n *remoteNode) arrived() {
	a := n.w.Attach("node "+n.node, n)
	n.mu.Lock()
	n.at, n.since, n.reason = a, time.Time{}, nil
	close(n.up)
	ids := slices.Collect(maps.Keys(n.units))
	n.mu.Unlock()
	n.w.store.Touch(ids)
	n.w.log.Info("a node that runs units of ours is there", "node", n.node)
	if err := a.Offer(WorkType{Name: state.RemotePlace(n.node, n.tls), Params: true}); err != nil {
		n.w.log.Error("cannot give units to a node", "node", n.node, "error", err) // nobody else has that name
	}
}

// left is for one that does not, any more or yet.
func (n *remoteNode) left(err error) {
	n.mu.Lock()
	a := n.at
	news := n.reason == nil || n.reason.Error() != err.Error()
	first := a != nil || n.reason == errNotReached //nolint:errorlint // it is this one, or what has come after it
	n.reason = err
	if a != nil {
		n.at, n.up, n.since = nil, make(chan struct{}), n.w.c.Now()
	}
	ids := slices.Collect(maps.Keys(n.units))
	n.mu.Unlock()
	if a != nil {
		a.Detach()
	}
	if news {
		n.w.store.Touch(ids)
	}
	if first && n.w.ctx.Err() == nil {
		n.w.log.Warn("a node that runs units of ours is away", "node", n.node, "error", err)
	}
	if n.tls != "" && !n.w.c.Mesh.Profile(n.tls) {
		n.giveUp(ids, fmt.Errorf("%w %s", ErrUnknownTLS, n.tls))
	}
	n.wakeTime()
}

// giveUp ends units that the node does not have, and never will.
func (n *remoteNode) giveUp(ids []string, err error) {
	for _, id := range ids {
		if u, gone := n.w.store.Get(id); gone == nil && u.Phase == state.Queued {
			n.w.happen(id, state.Event{Kind: state.Refused, Reason: err.Error()})
		}
	}
}

// dial opens a conversation once the node is there.
func (n *remoteNode) dial(ctx context.Context) (io.ReadWriteCloser, error) {
	n.mu.Lock()
	up := n.up
	n.mu.Unlock()
	select {
	case <-up:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return n.w.c.Mesh.Dial(ctx, n.node, n.tls)
}

// signed is the client, which signs what it asks for if that is wanted.
func (n *remoteNode) signed(sign bool) *client.Client {
	if !sign {
		return &n.client
	}
	c := n.client
	c.Sign = n.sign
	return &c
}

func (n *remoteNode) sign(nonce string, r client.Signed) (string, error) {
	if n.w.c.SigningKey == nil {
		return "", errNoSigningKey
	}
	return signing.Sign(n.w.c.SigningKey, n.node, nonce, signing.Request(r))
}

// legacyToken signs a request to a legacy node, likewise.
func (n *remoteNode) legacyToken(sign bool, keys map[string]any) error {
	if !sign {
		return nil
	}
	if n.w.c.SigningKey == nil {
		return errNoSigningKey
	}
	token, err := signing.Legacy(n.w.c.SigningKey, n.node, n.w.c.Now(), cmp.Or(n.w.c.TokenLife, defaultTokenLife))
	keys["signature"] = token
	return err
}

var errNoSigningKey = errors.New("cannot sign work: signing key is empty")

// defaultTokenLife is that of legacy nodes.
const defaultTokenLife = 5 * time.Minute

// told takes what the node tells of a unit that we have submitted.
func (n *remoteNode) told(s client.Status) {
	n.w.mu.Lock()
	id, wanted := n.w.wanted[s.Submission]
	n.w.mu.Unlock()
	n.mu.Lock()
	ru := n.units[id]
	n.mu.Unlock()
	switch {
	case wanted && ru != nil:
		n.heard(ru, s)
	case !s.Released:
		n.owe(s.ID, s.Secure)
	}
}

// heard notes how a unit fares at the node.
func (n *remoteNode) heard(ru *remoteUnit, s client.Status) {
	n.mu.Lock()
	ru.made = s.ID
	if n.units[ru.id] != ru { // nobody wants it any more, since a moment
		n.mu.Unlock()
		n.owe(s.ID, s.Secure)
		return
	}
	if s.Phase == state.Receiving { // it is still being submitted
		n.mu.Unlock()
		return
	}
	ru.remote = s.ID
	r := Report{Unit: ru.id, State: ReportStarting, Handle: state.RemoteHandle(s.ID), Detail: s.Detail}
	fetch := false
	switch {
	case s.Released:
		r.State, r.Reason = ReportLost, "it was released at node "+n.node
	case s.State == Pending:
	case s.State == Running:
		r.State, r.PID = ReportRunning, s.PID
		r.Stdout, r.Stderr = ru.report.Stdout, ru.report.Stderr
		fetch = true
	default:
		r = ru.report // until its results are here
		r.Handle = state.RemoteHandle(s.ID)
		fetch = true
	}
	ru.report = r
	fetch = fetch && !ru.fetching
	ru.fetching = ru.fetching || fetch
	n.mu.Unlock()
	n.say(ru)
	if fetch {
		n.w.task(func() { n.fetch(ru) })
	}
}

// say tells the last word of a unit, now or when the node is back.
func (n *remoteNode) say(ru *remoteUnit) {
	n.mu.Lock()
	a, r := n.at, ru.report
	n.mu.Unlock()
	if a != nil {
		n.w.take(a, r)
	}
}

// Start implements Worker.
func (n *remoteNode) Start(_ context.Context, s Start) (Report, error) {
	closeErr := errors.Join(s.Stdout.Close(), s.Stderr.Close()) // fetch has its own
	n.mu.Lock()
	ru := n.units[s.Unit]
	n.mu.Unlock()
	if ru == nil || closeErr != nil {
		return Report{}, errors.Join(closeErr, s.Stdin.Close())
	}
	n.submit(ru, s.Stdin)
	n.mu.Lock()
	defer n.mu.Unlock()
	return ru.report, nil
}

// submit has the node have a unit, if that is not being done.
func (n *remoteNode) submit(ru *remoteUnit, stdin *os.File) {
	ctx, cancel := context.WithCancel(ru.ctx)
	n.mu.Lock()
	busy := ru.submitting != nil || ru.remote != ""
	if !busy {
		ru.submitting = cancel
	}
	n.mu.Unlock()
	if busy {
		cancel()
		stdin.Close() // nothing was written
		return
	}
	n.w.task(func() {
		defer cancel()
		defer stdin.Close() // nothing was written
		if n.isLegacy() {
			n.submitLegacy(ctx, ru, stdin)
			n.mu.Lock()
			ru.submitting = nil
			n.mu.Unlock()
			return
		}
		payload := ""
		if u, err := n.w.store.Get(ru.id); err == nil && ru.spec.Remote.Sign {
			payload = u.Stdin.SHA256
		}
		s, err := n.signed(ru.spec.Remote.Sign).Submit(ctx, client.Job{
			PayloadSHA256: payload,
			Type:          ru.spec.WorkType, Params: ru.spec.Params, Payload: stdin, Submission: ru.spec.Remote.Submission, Merged: ru.spec.Merged,
		})
		n.mu.Lock()
		ru.submitting = nil
		n.mu.Unlock()
		switch {
		case err == nil:
			n.heard(ru, s)
		case ctx.Err() == nil:
			n.refused(ru, err)
		}
	})
}

// refused is for a submission that another try would not mend.
func (n *remoteNode) refused(ru *remoteUnit, err error) {
	r := Report{Unit: ru.id, State: ReportRefused, Reason: fmt.Sprintf("node %s: %v", n.node, err)}
	if e := (*client.Error)(nil); errors.As(err, &e) {
		r.refusal = e.Code
	}
	if errors.Is(err, client.ErrGone) {
		r.State, r.Reason = ReportLost, "it was released at node "+n.node
	}
	n.mu.Lock()
	ru.report = r
	n.mu.Unlock()
	n.say(ru)
}

// Stop implements Worker.
func (n *remoteNode) Stop(_ context.Context, unit string, _ time.Duration) error {
	n.mu.Lock()
	ru := n.units[unit]
	if ru == nil || ru.stopping {
		n.mu.Unlock()
		return nil
	}
	remote := ru.remote
	if remote == "" {
		// Nobody has heard of it yet. If there is such a unit all the same, it will be
		// told of, and nobody wants it then.
		if ru.submitting != nil {
			ru.submitting()
		}
		ru.report = Report{Unit: unit, State: reportWithdrawn}
		n.mu.Unlock()
		n.say(ru)
		return nil
	}
	ru.stopping = true
	n.mu.Unlock()
	n.w.task(func() {
		var err error
		if n.isLegacy() {
			err = n.tellLegacy(ru.ctx, "cancel", remote, ru.spec.Remote.Sign)
		} else {
			_, err = n.signed(ru.spec.Remote.Sign).Cancel(ru.ctx, remote)
		}
		n.mu.Lock()
		ru.stopping = false
		n.mu.Unlock()
		if err != nil && ru.ctx.Err() == nil && !errors.Is(err, client.ErrGone) && !errors.Is(err, client.ErrNotFound) {
			n.w.log.Warn("a node does not cancel a unit", "node", n.node, "unit", unit, "error", err)
		}
	})
	return nil
}

// Release implements Worker. It has been done: see disown.
func (n *remoteNode) Release(context.Context, string) error { return nil }

// Recover implements Worker: what has become of units, as far as is known here. The
// rest the node tells by itself.
func (n *remoteNode) Recover(_ context.Context, known []Known) ([]Report, error) {
	var all []Report
	for _, k := range known {
		n.mu.Lock()
		ru := n.units[k.Unit]
		var remote string
		if ru != nil {
			all = append(all, ru.report)
			remote = ru.remote
		}
		n.mu.Unlock()
		switch {
		case ru == nil: // it has ended meanwhile
		case remote != "":
			n.w.task(func() { n.ask(ru, remote) })
		default:
			n.again(ru)
		}
	}
	return all, nil
}

// again submits a unit of which it is not known whether the node has it, or all of it.
func (n *remoteNode) again(ru *remoteUnit) {
	if n.isLegacy() {
		n.mu.Lock()
		submitting := ru.submitting != nil
		n.mu.Unlock()
		if !submitting {
			n.lost(ru, "Failed to restart: remote work had not previously started") // as legacy nodes say it
		}
		return
	}
	f, err := n.w.store.OpenFile(ru.id, store.Stdin, os.O_RDONLY)
	if fsys.Scarce(err) { // the node may well have it
		n.w.log.Warn("a unit waits", "unit", ru.id, "error", err)
		n.w.task(func() {
			select {
			case <-ru.ctx.Done():
			case <-time.After(retryPause):
				n.again(ru)
			}
		})
		return
	}
	if err != nil {
		n.w.log.Error("cannot read the payload of a unit", "unit", ru.id, "error", err)
		n.refused(ru, err)
		return
	}
	n.submit(ru, f.(*os.File)) // as fsys.OS has them
}

// ask asks for a unit that the node must know: it does not tell of what it has lost.
func (n *remoteNode) ask(ru *remoteUnit, remote string) {
	if n.isLegacy() {
		return // it is asked for all the time
	}
	s, err := n.signed(ru.spec.Remote.Sign).Status(ru.ctx, remote)
	switch {
	case err == nil:
		n.heard(ru, s)
	case errors.Is(err, client.ErrGone), errors.Is(err, client.ErrNotFound):
		n.mu.Lock()
		ru.report = Report{Unit: ru.id, State: ReportLost, Reason: fmt.Sprintf("node %s does not know it any more", n.node)}
		n.mu.Unlock()
		n.say(ru)
	case ru.ctx.Err() == nil:
		n.w.log.Warn("a node does not tell of a unit", "node", n.node, "unit", ru.id, "error", err)
	}
}

// owe releases a unit at the node, when it is there. If it never is, it tells of the
// unit when it comes back.
func (n *remoteNode) owe(remote string, sign bool) {
	n.mu.Lock()
	_, already := n.owed[remote]
	n.owed[remote] = struct{}{}
	n.mu.Unlock()
	if already {
		return
	}
	n.w.task(func() {
		var err error
		if n.isLegacy() {
			err = n.tellLegacy(n.w.ctx, "release", remote, sign)
		} else {
			_, err = n.signed(sign).Release(n.w.ctx, remote, true)
		}
		if err != nil && n.w.ctx.Err() == nil && !errors.Is(err, client.ErrGone) && !errors.Is(err, client.ErrNotFound) {
			n.w.log.Warn("a node does not release a unit", "node", n.node, "remote", remote, "error", err)
		}
		n.mu.Lock()
		delete(n.owed, remote)
		n.mu.Unlock()
	})
}

func (n *remoteNode) isLegacy() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.legacy
}

func (n *remoteNode) remoteID(ru *remoteUnit) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return ru.remote
}

// keepTime ends units that have waited too long.
func (n *remoteNode) keepTime() {
	timer := time.NewTimer(math.MaxInt64)
	defer timer.Stop()
	for {
		timer.Reset(n.late())
		select {
		case <-n.w.ctx.Done():
			return
		case <-n.poke:
		case <-timer.C:
		}
	}
}

// wakeTime is for a unit that waits for its node from now on.
func (w *Workceptor) wakeTime(u store.Unit) {
	w.mu.Lock()
	n := w.remotes[u.Spec.Place()]
	w.mu.Unlock()
	if n != nil {
		n.wakeTime()
	}
}

func (n *remoteNode) wakeTime() {
	select {
	case n.poke <- struct{}{}:
	default:
	}
}

// late ends those units and returns when it is to be looked again.
func (n *remoteNode) late() time.Duration {
	n.mu.Lock()
	var all []*remoteUnit
	for _, ru := range n.units {
		all = append(all, ru)
	}
	since, now := n.since, n.w.c.Now()
	n.mu.Unlock()
	next := time.Duration(math.MaxInt64)
	for _, ru := range all {
		u, err := n.w.store.Get(ru.id)
		if err != nil || u.State.Final() {
			continue
		}
		deadline, e := ru.deadline(u, since)
		switch left := deadline.Sub(now); {
		case deadline.IsZero():
		case left > 0:
			next = min(next, left)
		default:
			n.w.happen(ru.id, e)
		}
	}
	return next
}

// deadline is when a unit ends for want of its node, and how.
func (ru *remoteUnit) deadline(u store.Unit, since time.Time) (at time.Time, e state.Event) {
	earlier := func(t time.Time, with state.Event) {
		if at.IsZero() || t.Before(at) {
			at, e = t, with
		}
	}
	if u.State == Pending && !ru.begin.IsZero() {
		text := u.Spec.Created.Add(u.Spec.Remote.TTL).Format("Mon Jan 2 15:04:05") // as legacy nodes say it
		earlier(ru.begin, state.Event{Kind: state.Expired, Reason: "Work unit expired on " + text})
	}
	if since.IsZero() || u.Phase == state.Receiving || u.Phase == state.Queued {
		return at, e
	}
	away := state.Event{Kind: state.Vanished, Reason: fmt.Sprintf("node %s is unknown since %s", u.Spec.Remote.Node, since.UTC().Format(time.RFC3339))}
	if d := u.Spec.Remote.Disconnect; d > 0 {
		earlier(since.Add(d), away)
	}
	if u.CancelAsked {
		earlier(since.Add(wishPatience), away)
	}
	return at, e
}

// status is what is known of the node.
func (n *remoteNode) status() NodeStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := NodeStatus{Node: n.node, TLSClient: n.tls, Alive: n.at != nil, UnknownSince: n.since, Units: len(n.units)}
	if n.reason != nil {
		s.Reason = n.reason.Error()
	}
	return s
}

// NodeStatus is another node that is to run units of this one.
type NodeStatus = state.NodeStatus

// Nodes are the other nodes that were to run units since this one was started.
func (w *Workceptor) Nodes() []NodeStatus {
	w.mu.Lock()
	var nodes []*remoteNode
	for _, n := range w.remotes {
		nodes = append(nodes, n)
	}
	w.mu.Unlock()
	all := make([]NodeStatus, 0, len(nodes))
	for _, n := range nodes {
		all = append(all, n.status())
	}
	slices.SortFunc(all, func(a, b NodeStatus) int {
		return strings.Compare(a.Node+"\x00"+a.TLSClient, b.Node+"\x00"+b.TLSClient)
	})
	return all
}
