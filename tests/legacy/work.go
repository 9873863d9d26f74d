package legacy

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"time"
)

// States of a unit.
const (
	UnitPending = iota
	UnitRunning
	UnitSucceeded
	UnitFailed
	UnitCanceled // does not count as finished
)

var stateNames = [...]string{"Pending", "Running", "Succeeded", "Failed", "Canceled"}

// Intervals of work.
const (
	sizePoll    = 250 * time.Millisecond // of a runner that tells how much has been written
	resultsPoll = 250 * time.Millisecond
	resultsSize = 65536 // of a piece
)

// Worker runs a unit. Its error is the unit's Detail, such as "exit status 3".
type Worker func(ctx context.Context, params string, stdin []byte, stdout io.Writer) error

// UnitStatus is a unit as it is told of, in the order of the keys.
type UnitStatus struct {
	Detail     string
	ExtraData  any
	State      int
	StateName  string
	StdoutSize int64
	WorkType   string
}

// finished tells whether nothing more is expected.
func (s *UnitStatus) finished() bool { return s.State == UnitSucceeded || s.State == UnitFailed }

// Work is the units of a node: those that it runs, and those that it has others
// run. Its Command is for Config.Control. It outlives its node, as the files and
// the runners of units do: a next node may have the same.
//
// What existing nodes do but the model does not: ttl, tlsclient.
type Work struct {
	// Before it is used: the key for units that are to be signed, the one that
	// checks signatures, and the types that want them.
	SigningKey   *rsa.PrivateKey
	VerifyingKey *rsa.PublicKey
	Verify       map[string]bool

	types  map[string]Worker
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex // guards units and what is in them
	units map[string]*unit
}

type unit struct {
	id     string
	worker Worker // nil for a remote one
	params string
	remote *RemoteUnit // nil for a local one
	node   *Node       // that has the remote unit run
	stdin  []byte
	status UnitStatus
	stdout []byte
	stop   context.CancelFunc // of what runs or watches it; nil before
	done   chan struct{}      // closed when that has ended
}

// NewWork makes one that runs units of these types.
func NewWork(types map[string]Worker) *Work {
	w := &Work{types: types, units: map[string]*unit{}}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// Close ends all units, and waits.
func (w *Work) Close() {
	w.cancel()
	w.wg.Wait()
}

// Commands are its types as they are advertised.
func (w *Work) Commands() []WorkCommand {
	var all []WorkCommand
	for _, name := range slices.Sorted(maps.Keys(w.types)) {
		all = append(all, WorkCommand{WorkType: name, Secure: w.Verify[name]})
	}
	return all
}

// create makes a unit on the node itself.
func (w *Work) create(n *Node, node, workType string, params map[string]string, sign bool) (*unit, error) {
	u := &unit{id: randomName(), status: UnitStatus{Detail: "Waiting for Input Data", WorkType: workType}}
	if isLocalhost(node) || node == n.config.ID {
		if u.worker = w.types[workType]; u.worker == nil {
			return nil, fmt.Errorf("unknown work type %s", workType)
		}
		u.params = params["params"]
	} else {
		u.node, u.status.WorkType = n, "remote"
		u.remote = &RemoteUnit{RemoteNode: node, RemoteWorkType: workType, RemoteParams: params, SignWork: sign}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.units[u.id] = u
	return u, nil
}

// Submit has a node, which may be n itself, run a unit. The result is "Job
// Started", or "Job Submitted" for a node that could not be reached yet.
func (w *Work) Submit(n *Node, node, workType string, params map[string]string, stdin []byte) (id, result string, err error) {
	return w.submitWork(n, node, workType, params, stdin, false)
}

// SubmitSigned is Submit of a unit whose commands are signed.
func (w *Work) SubmitSigned(n *Node, node, workType string, params map[string]string, stdin []byte) (id, result string, err error) {
	return w.submitWork(n, node, workType, params, stdin, true)
}

func (w *Work) submitWork(n *Node, node, workType string, params map[string]string, stdin []byte, sign bool) (id, result string, err error) {
	u, err := w.create(n, node, workType, params, sign)
	if err != nil {
		return "", "", err
	}
	result, err = w.begin(u, stdin)
	return u.id, result, err
}

// begin starts a unit whose payload is there.
func (w *Work) begin(u *unit, stdin []byte) (result string, err error) {
	u.stdin = stdin
	if u.remote != nil {
		return w.beginRemote(u)
	}
	w.launch(u, nil, func(ctx context.Context) { w.run(ctx, u) })
	return "Job Started", nil
}

// within is a time that ends with the node, nil for none, and with all work.
func (w *Work) within(n *Node) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(w.ctx)
	if n == nil {
		return ctx, cancel
	}
	off := context.AfterFunc(n.ctx, cancel)
	return ctx, func() {
		off()
		cancel()
	}
}

// launch has a goroutine of the unit's own, which stop ends, and the node's end.
func (w *Work) launch(u *unit, n *Node, f func(context.Context)) {
	ctx, cancel := w.within(n)
	done := make(chan struct{})
	w.mu.Lock()
	u.stop, u.done = cancel, done
	w.mu.Unlock()
	w.wg.Go(func() {
		defer close(done)
		defer cancel()
		f(ctx)
	})
}

// halt ends what runs or watches a unit.
func (w *Work) halt(u *unit) {
	w.mu.Lock()
	stop, done := u.stop, u.done
	w.mu.Unlock()
	if stop != nil {
		stop()
		<-done
	}
}

// run is the runner of a unit.
func (w *Work) run(ctx context.Context, u *unit) {
	w.set(u, UnitRunning, fmt.Sprintf("Running: PID %d", os.Getpid()))
	ended := make(chan error, 1)
	go func() { ended <- u.worker(ctx, u.params, u.stdin, unitWriter{w, u}) }()
	tick := time.NewTicker(sizePoll)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.mu.Lock()
			u.status.StdoutSize = int64(len(u.stdout))
			w.mu.Unlock()
		case err := <-ended:
			w.mu.Lock()
			u.status.StdoutSize = int64(len(u.stdout))
			w.mu.Unlock()
			switch {
			case ctx.Err() != nil:
				w.set(u, UnitCanceled, "Canceled")
			case err != nil:
				w.set(u, UnitFailed, err.Error())
			default:
				w.set(u, UnitSucceeded, "exit status 0")
			}
			return
		}
	}
}

func (w *Work) set(u *unit, state int, detail string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	u.status.State, u.status.Detail = state, detail
}

// unitWriter is the file with what a unit writes.
type unitWriter struct {
	w *Work
	u *unit
}

func (f unitWriter) Write(p []byte) (int, error) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.u.stdout = append(f.u.stdout, p...)
	return len(p), nil
}

// get finds a unit.
func (w *Work) get(id string) (*unit, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if u := w.units[id]; u != nil {
		return u, nil
	}
	return nil, fmt.Errorf("unknown work unit %s", id)
}

// Status tells of a unit.
func (w *Work) Status(id string) (UnitStatus, error) {
	u, err := w.get(id)
	if err != nil {
		return UnitStatus{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s := u.status
	s.StateName = stateNames[s.State]
	switch {
	case u.remote != nil:
		s.ExtraData = *u.remote
	case s.State == UnitRunning:
		s.ExtraData = struct {
			Pid    int
			Params string
		}{os.Getpid(), u.params}
	}
	return s, nil
}

// List tells of all units.
func (w *Work) List() map[string]UnitStatus {
	w.mu.Lock()
	ids := slices.Collect(maps.Keys(w.units))
	w.mu.Unlock()
	all := map[string]UnitStatus{}
	for _, id := range ids {
		if s, err := w.Status(id); err == nil { // else it has been released just now
			all[id] = s
		}
	}
	return all
}

// Cancel ends a unit, and returns when it is over; pending if its node has yet to
// be told.
func (w *Work) Cancel(id string) (pending bool, err error) {
	u, err := w.get(id)
	if err != nil {
		return false, err
	}
	if u.remote != nil {
		return w.cancelRemote(u)
	}
	w.halt(u)
	return false, nil
}

// Release ends a unit and forgets it; pending if its node has yet to be told, and
// then it is remembered until that knows it no more.
func (w *Work) Release(id string, force bool) (pending bool, err error) {
	u, err := w.get(id)
	if err != nil {
		return false, err
	}
	if u.remote != nil {
		return w.releaseRemote(u, force)
	}
	w.halt(u)
	w.forget(u)
	return false, nil
}

func (w *Work) forget(u *unit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.units, u.id)
}

// Results writes what a unit has written, from a byte on, until it has finished or
// is released. Of a canceled one there is no end.
func (w *Work) Results(ctx context.Context, id string, from int64, to io.Writer) error {
	u, err := w.get(id)
	if err != nil {
		return err
	}
	for wait(ctx, resultsPoll) {
		for {
			w.mu.Lock()
			size := int64(len(u.stdout))
			piece := u.stdout[min(from, size):min(from+resultsSize, size)]
			w.mu.Unlock()
			if len(piece) == 0 {
				break
			}
			if _, err := to.Write(piece); err != nil {
				return err
			}
			from += int64(len(piece))
		}
		w.mu.Lock()
		over := w.units[id] == nil || u.status.finished() && from >= u.status.StdoutSize
		w.mu.Unlock()
		if over {
			return nil
		}
	}
	return context.Cause(ctx)
}

// wait tells whether the time has passed before ctx is done.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Command is the command work.
func (w *Work) Command(ctx context.Context, s *ControlSession, r Request) (any, error) {
	q, err := parseWork(r)
	if err != nil {
		return nil, err
	}
	switch q.sub {
	case "submit":
		err = w.authorize(s, w.Verify[q.workType], q.signature)
	case "results", "cancel", "release", "force-release":
		err = w.authorizeUnit(s, q)
	}
	if err != nil {
		return nil, err
	}
	switch q.sub {
	case "submit":
		return nil, w.receive(s, q)
	case "list":
		if q.unit == "" {
			return w.List(), nil
		}
		one, err := w.Status(q.unit)
		return map[string]UnitStatus{q.unit: one}, err
	case "status":
		return w.Status(q.unit)
	case "results":
		if _, err := fmt.Fprintf(s, "Streaming results for work unit %s\n", q.unit); err != nil {
			return nil, errors.Join(ErrEndSession, err)
		}
		return nil, errors.Join(ErrEndSession, w.Results(ctx, q.unit, q.start, s))
	case "cancel":
		pending, err := w.Cancel(q.unit)
		return workAnswer("cancel pending", "cancelled", pending, q.unit), err
	default:
		pending, err := w.Release(q.unit, q.sub == "force-release")
		return workAnswer("release pending", "released", pending, q.unit), err
	}
}

func workAnswer(pending, done string, is bool, unit string) map[string]string {
	if is {
		done = pending
	}
	return map[string]string{done: unit}
}

// receive takes a submit and its payload. What is cut off starts nothing.
func (w *Work) receive(s *ControlSession, q workRequest) error {
	u, err := w.create(s.Node, q.node, q.workType, q.params, q.sign)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(s, "Work unit created with ID %s. Send stdin data and EOF.\n", u.id); err != nil {
		return errors.Join(ErrEndSession, err)
	}
	stdin, err := io.ReadAll(s.Reader)
	if err != nil {
		w.set(u, UnitFailed, err.Error())
		return errors.Join(ErrEndSession, err)
	}
	if result, err := w.begin(u, stdin); err != nil {
		fmt.Fprintf(s, "ERROR: %v\n", err) // who does not hear it has gone
	} else {
		fmt.Fprintf(s, `{"result":%q,"unitid":%q}`+"\n", result, u.id)
	}
	return ErrEndSession
}
