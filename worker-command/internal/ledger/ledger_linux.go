package ledger

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/worker-command/internal/cgroup"
	"github.com/project-receptor/receptor/worker-command/internal/proc"
	"github.com/project-receptor/receptor/worker-command/internal/unit"
)

// Options are what a ledger is made of.
type Options struct {
	Dir        string       // for the units, made if it is not there; nobody else's
	Supervisor string       // path of the program
	Cgroups    *cgroup.Tree // nil: none
	Logger     hclog.Logger

	// Report is told of every change of a unit. It must not block.
	Report func(Report)
}

// State is how a unit fares.
type State string

// States of a unit.
const (
	Starting State = "starting"
	Running  State = "running"
	Exited   State = unit.Exited
	Refused  State = unit.Refused
	Lost     State = unit.Lost
)

func (s State) final() bool { return s == Exited || s == Refused || s == Lost }

// Report is all that is known of a unit.
type Report struct {
	Unit           string
	State          State
	PID            int // while it runs
	Detail         string
	Code           int
	Signal         string
	OOM            bool
	Reason         string
	Stdout, Stderr int64
}

// Start is a unit to run.
type Start struct {
	Spec   unit.Spec // without what the ledger gives: boot, token, cgroup
	Limits cgroup.Limits

	Stdin, Stdout, Stderr *os.File // Stderr is nil if they are merged
}

// TokenVariable is in the environment of all processes of a unit.
const TokenVariable = "RECEPTOR_UNIT_TOKEN"

const (
	// lockRetry is how often a lock is tried that somebody has who is about to end.
	lockRetry = 5 * time.Millisecond

	// takeoverRetry is how often the ledger is tried while another process has it.
	takeoverRetry = 100 * time.Millisecond

	// orderTimeout bounds giving an order to a supervisor, which only has to take it.
	orderTimeout = 5 * time.Second

	// insistAfter is what a supervisor has to end a unit when its grace is over.
	insistAfter = 5 * time.Second
)

// Ledger is the units of a worker. Its methods may be called concurrently.
type Ledger struct {
	o    Options
	log  hclog.Logger
	root *os.Root
	dir  *os.File // the same
	lock *os.File
	boot string

	ctx    context.Context // owns all goroutines
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	units  map[string]*entry
}

// entry is a unit.
type entry struct {
	id     string
	record unit.Record
	known  chan struct{} // closed when the report says how it fares
	ended  chan struct{} // closed when it says how it has ended, or nothing has run

	supervisor int // number of its process; that of live alone

	// These are the ledger's mutex's.
	report   Report
	conn     *net.UnixConn // to its supervisor; nil: none
	order    *unit.Order   // that its supervisor was or is to be given
	released bool          // it is to be forgotten when it has ended
}

// Open opens a ledger and finds its units again. It waits for whoever has it until
// ctx is done.
func Open(ctx context.Context, o Options) (*Ledger, error) {
	boot, err := proc.BootID()
	if err != nil {
		return nil, err
	}
	l := &Ledger{o: o, log: o.Logger, boot: boot, units: make(map[string]*entry)}
	if err := l.openDir(ctx); err != nil {
		return nil, fmt.Errorf("open the state directory %s: %w", o.Dir, errors.Join(err, l.closeDir()))
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	if err := l.scan(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Ledger) openDir(ctx context.Context) error {
	if err := os.MkdirAll(l.o.Dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(l.o.Dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("others may look into it: its mode is %#o, expected 0700", info.Mode().Perm())
	}
	if l.root, err = os.OpenRoot(l.o.Dir); err != nil {
		return err
	}
	if l.dir, err = l.root.Open("."); err != nil {
		return err
	}
	if l.lock, err = l.root.OpenFile("lock", os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	for told := false; ; told = true {
		locked, err := tryLock(l.lock)
		if err != nil || locked {
			return err
		}
		if !told {
			l.log.Info("waiting for the process that has the units", "directory", l.o.Dir)
		}
		select {
		case <-time.After(takeoverRetry):
		case <-ctx.Done():
			return fmt.Errorf("another process has its units: %w", ctx.Err())
		}
	}
}

func (l *Ledger) closeDir() error {
	var errs []error
	for _, f := range []*os.File{l.dir, l.lock} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	if l.root != nil {
		errs = append(errs, l.root.Close())
	}
	return errors.Join(errs...)
}

// Close lets go of the units, which go on.
func (l *Ledger) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	l.tasks.Wait()
	return l.closeDir()
}

// scan finds the units that are there.
func (l *Ledger) scan() error {
	names, err := fs.ReadDir(l.root.FS(), ".")
	if err != nil {
		return fmt.Errorf("look for units: %w", err)
	}
	units, rests := map[string]bool{}, map[string]bool{}
	for _, n := range names {
		if id, suffix, ok := unit.SplitName(n.Name()); ok {
			rests[id] = true
			units[id] = units[id] || suffix == unit.RecordSuffix
		}
	}
	for id := range rests {
		if units[id] {
			err = l.find(id)
		} else {
			err = unit.RemoveRests(l.root, id)
		}
		if err != nil {
			return fmt.Errorf("unit %s: %w", id, err)
		}
	}
	return nil
}

// find takes up a unit from what is on the disk.
func (l *Ledger) find(id string) error {
	e := newEntry(unit.Record{Unit: id, Boot: l.boot})
	if err := unit.Read(l.root, id, unit.RecordSuffix, &e.record); err != nil {
		// It was being written, and nothing has run; or something else damaged it. The
		// other files know.
		l.log.Warn("the record of a unit cannot be read", "unit", id, "error", err)
		e.record = unit.Record{Unit: id, Boot: l.boot}
	}
	e.report.Detail = e.record.Detail
	l.mu.Lock()
	l.units[id] = e
	l.mu.Unlock()
	var end unit.End
	err := unit.Read(l.root, id, unit.EndSuffix, &end)
	switch {
	case err == nil:
		l.conclude(e, end)
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		l.log.Warn("word of a unit's end cannot be read", "unit", id, "error", err)
	}
	if e.record.Boot != l.boot {
		return errors.Join(l.lose(e, unit.Trace{}, "the machine was restarted while it ran"), l.cleanUp(e))
	}
	// A supervisor that does not answer must not keep others from being told of.
	var trace unit.Trace
	if err := unit.Read(l.root, id, unit.TraceSuffix, &trace); err == nil && trace.Job.PID != 0 {
		l.change(e, func(r *Report) { r.State, r.PID = Running, trace.Job.PID })
	}
	l.tasks.Go(func() { l.live(e, nil) })
	return nil
}

// Start has a unit run, and says how it fares: that it runs, if all is well. If ctx is
// done before, it says that it is starting. It closes the files. An error says that it
// will not run.
func (l *Ledger) Start(ctx context.Context, s Start) (Report, error) {
	id := s.Spec.Unit
	if err := unit.CheckID(id); err != nil {
		return Report{}, errors.Join(err, s.closeFiles())
	}
	l.mu.Lock()
	e := l.units[id]
	if e != nil || l.closed {
		l.mu.Unlock()
		if err := s.closeFiles(); err != nil {
			l.log.Warn("cannot close what a unit was given", "unit", id, "error", err)
		}
		if e == nil {
			return Report{}, context.Canceled
		}
		return l.await(ctx, e), nil
	}
	l.complete(&s.Spec, s.Stderr == nil)
	e = newEntry(s.Spec.Record)
	l.units[id] = e
	l.tasks.Add(1)
	l.mu.Unlock()
	defer l.tasks.Done()

	lock, err := l.have(e)
	if err != nil {
		l.drop(e)
		return Report{}, errors.Join(fmt.Errorf("note the unit: %w", err), unit.Remove(l.root, id), s.closeFiles())
	}
	l.tasks.Go(func() { l.live(e, &starting{Start: s, lock: lock}) })
	return l.await(ctx, e), nil
}

func newEntry(r unit.Record) *entry {
	return &entry{
		id: r.Unit, record: r, known: make(chan struct{}), ended: make(chan struct{}),
		report: Report{Unit: r.Unit, State: Starting, Detail: r.Detail},
	}
}

// complete adds to what is to be run what makes it a unit of this ledger.
func (l *Ledger) complete(s *unit.Spec, merged bool) {
	token := make([]byte, 16)
	rand.Read(token) // never fails
	s.Boot, s.Token, s.Merged = l.boot, hex.EncodeToString(token), merged
	if l.o.Cgroups != nil {
		s.Cgroup = l.o.Cgroups.Unit(s.Unit)
	}
	s.Env = append(slices.Clone(s.Env), mark(s.Record))
}

// mark is what all processes of a unit have in their environment.
func mark(r unit.Record) string { return TokenVariable + "=" + r.Token }

// have notes that there is a unit, and locks it. Its supervisor makes that durable before
// it runs anything.
func (l *Ledger) have(e *entry) (*os.File, error) {
	lock, err := l.root.OpenFile(e.id+unit.RecordSuffix, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err = tryLock(lock); err == nil {
		err = unit.Encode(lock, e.record)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// await waits until it is known how a unit fares.
func (l *Ledger) await(ctx context.Context, e *entry) Report {
	select {
	case <-e.known:
	case <-ctx.Done():
	case <-l.ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return e.report
}

// Stop has a unit asked to end, and killed after grace. It does not wait for that.
func (l *Ledger) Stop(id string, grace time.Duration) error {
	l.mu.Lock()
	e := l.units[id]
	if e == nil || l.closed || e.report.State.final() {
		l.mu.Unlock()
		return nil
	}
	l.tasks.Go(func() { l.insist(e, max(grace, 0)+insistAfter) })
	order := &unit.Order{Grace: max(grace, 0)}
	e.order = order
	conn := e.conn
	l.mu.Unlock()
	return give(conn, order) // without a supervisor it is given when there is one
}

// insist kills the supervisor of a unit that should have ended, and has not: it is stuck,
// or somebody has stopped it. Its unit goes with it.
func (l *Ledger) insist(e *entry, after time.Duration) {
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-e.ended:
		return
	case <-l.ctx.Done():
		return
	}
	var trace unit.Trace
	err := unit.Read(l.root, e.id, unit.TraceSuffix, &trace)
	if err == nil {
		l.log.Warn("a supervisor does not end its unit; killing it", "unit", e.id, "pid", trace.Supervisor.PID)
		_, err = proc.Signal(trace.Supervisor, unix.SIGKILL)
	}
	l.warn("cannot kill a supervisor that does not end its unit", e, err)
}

// Release has a unit forgotten, and killed if it runs.
func (l *Ledger) Release(id string) error {
	l.mu.Lock()
	e := l.units[id]
	if e == nil {
		l.mu.Unlock()
		return nil
	}
	e.released = true
	final := e.report.State.final()
	l.mu.Unlock()
	if !final {
		return l.Stop(id, 0)
	}
	return l.forget(e)
}

// Recover says how units fare, those that are not there apart.
func (l *Ledger) Recover(ctx context.Context, ids []string) []Report {
	var reports []Report
	for _, id := range ids {
		l.mu.Lock()
		e := l.units[id]
		l.mu.Unlock()
		if e == nil {
			continue
		}
		l.await(ctx, e)
		l.mu.Lock()
		if l.units[id] == e { // else it has not run
			reports = append(reports, e.report)
		}
		l.mu.Unlock()
	}
	return reports
}

// Reports says how all units fare.
func (l *Ledger) Reports(ctx context.Context) []Report {
	l.mu.Lock()
	ids := slices.Sorted(maps.Keys(l.units))
	l.mu.Unlock()
	return l.Recover(ctx, ids)
}

// change changes what is known of a unit, and tells it.
func (l *Ledger) change(e *entry, f func(*Report)) {
	l.mu.Lock()
	before := e.report
	f(&e.report)
	report, released := e.report, e.released
	l.mu.Unlock()
	if report.State != Starting {
		e.say(e.known)
	}
	if report.State.final() {
		e.say(e.ended)
	}
	if report != before && !released {
		l.o.Report(report)
	}
}

// say closes a channel of the unit, if it is open. Only what looks after the unit does.
func (*entry) say(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// conclude has a unit be ended.
func (l *Ledger) conclude(e *entry, end unit.End) {
	l.change(e, func(r *Report) {
		*r = Report{
			Unit: e.id, State: State(end.State), Detail: r.Detail, Code: end.Code, Signal: end.Signal, OOM: end.OOM,
			Reason: end.Reason, Stdout: end.Stdout, Stderr: end.Stderr,
		}
	})
}

// forget forgets a unit that has ended.
func (l *Ledger) forget(e *entry) error {
	l.drop(e)
	return unit.Remove(l.root, e.id)
}

func (l *Ledger) drop(e *entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.units[e.id] == e {
		delete(l.units, e.id)
	}
}

// tryLock locks an open file, if nobody has.
func tryLock(f *os.File) (bool, error) {
	c, err := f.SyscallConn()
	if err != nil {
		return false, err
	}
	var lockErr error
	if err := c.Control(func(fd uintptr) { lockErr = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB) }); err != nil {
		return false, err
	}
	if errors.Is(lockErr, unix.EWOULDBLOCK) {
		return false, nil
	}
	return lockErr == nil, os.NewSyscallError("flock", lockErr)
}

func (s *Start) closeFiles() error {
	var errs []error
	for _, f := range []*os.File{s.Stdin, s.Stdout, s.Stderr} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
