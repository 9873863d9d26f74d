package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/worker-command/internal/cgroup"
	"github.com/project-receptor/receptor/worker-command/internal/proc"
	"github.com/project-receptor/receptor/worker-command/internal/supervisor"
	"github.com/project-receptor/receptor/worker-command/internal/unit"
)

const (
	// maxStarts is how often a supervisor is started for a unit if it dies before it
	// has run anything.
	maxStarts = 3

	// killTimeout bounds the killing of what a supervisor has left behind, which is
	// repeated as long as something is found.
	killTimeout = 10 * time.Second

	// settleRetry is how often it is tried to find out what became of a unit, if the
	// state directory cannot be read or written.
	settleRetry = time.Second
)

// starting is a unit that is to be started.
type starting struct {
	Start
	lock *os.File // its record, locked; nil: its supervisor has that
}

func (s *starting) close() error {
	err := s.closeFiles()
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// live looks after a unit until it has ended, or until the ledger is closed. With s it
// is to be started first.
func (l *Ledger) live(e *entry, s *starting) {
	letGo := func() {
		if s != nil {
			l.warn("cannot close what a unit was given", e, s.close())
			s = nil
		}
	}
	defer func() { letGo() }()
	var rescue []*os.File
	defer func() { closeAll(rescue) }()
	defer l.reap(e)
	starts, wait := 0, lockRetry
	for l.ctx.Err() == nil {
		if s != nil && s.lock != nil {
			if starts++; starts > maxStarts {
				l.refuse(e, "its supervisor died again and again")
				return
			}
			err := l.spawn(e, s)
			if unit.Full(err) && !l.unwanted(e) {
				l.log.Warn("a unit waits", "unit", e.id, "error", err)
				starts--
				l.pause(settleRetry)
				continue
			}
			if err != nil {
				l.refuse(e, err.Error())
				return
			}
		}
		if files := l.follow(e, letGo); files != nil {
			closeAll(rescue)
			rescue, wait = files, lockRetry
		}
		lock, err := l.settle(e, rescue)
		switch {
		case errors.Is(err, errForgotten):
			return
		case l.ctx.Err() != nil:
			if lock != nil {
				lock.Close()
			}
			return
		case err != nil:
			l.log.Error("cannot find out what has become of a unit", "unit", e.id, "error", err)
			l.pause(settleRetry)
		case lock == nil: // it lives, and is about to end
			l.pause(wait)
			wait = min(2*wait, settleRetry)
		case l.ended(e):
			lock.Close()
			return
		case s == nil: // of a process before this one
			lock.Close()
			l.forgetUnstarted(e)
			return
		default: // nothing has run
			l.reap(e)
			s.lock = lock
		}
	}
}

// errForgotten says that a unit was released when it had ended, and before its
// supervisor had.
var errForgotten = errors.New("the unit is forgotten")

// reap waits for a supervisor that is a child of this process, and about to end.
func (l *Ledger) reap(e *entry) {
	for e.supervisor != 0 && l.ctx.Err() == nil {
		// One that is no child is nothing to wait for, whatever has its number now.
		if pid, err := unix.Wait4(e.supervisor, nil, unix.WNOHANG, nil); pid != 0 || err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		l.pause(lockRetry)
	}
}

func (l *Ledger) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-l.ctx.Done():
	}
}

// unwanted tells whether somebody wants the end of a unit.
func (l *Ledger) unwanted(e *entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return e.order != nil
}

func (l *Ledger) ended(e *entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return e.report.State.final()
}

// refuse says that a unit will not run: nothing has.
func (l *Ledger) refuse(e *entry, reason string) {
	l.change(e, func(r *Report) { r.State, r.Reason = Refused, reason })
	l.forgetUnstarted(e)
}

// forgetUnstarted forgets a unit of which nothing has run.
func (l *Ledger) forgetUnstarted(e *entry) {
	if e.record.Cgroup != "" {
		l.warn("cannot remove the cgroup of a unit", e, cgroup.Remove(e.record.Cgroup))
	}
	l.warn("cannot forget a unit", e, l.forget(e))
	e.say(e.known)
	e.say(e.ended)
}

// spawn starts the supervisor of a unit, which then has its lock.
func (l *Ledger) spawn(e *entry, s *starting) error {
	if s.Spec.Cgroup != "" {
		if err := l.o.Cgroups.Make(e.id, s.Limits); err != nil {
			return fmt.Errorf("make its cgroup: %w", err)
		}
	}
	spec, err := specFile(&s.Spec)
	if err != nil {
		return fmt.Errorf("write down what to run: %w", err)
	}
	defer spec.Close()
	listener, err := l.listen(e.id)
	if err != nil {
		return fmt.Errorf("make its socket: %w", err)
	}
	defer listener.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	words, err := l.root.OpenFile("supervisor.log", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer words.Close()
	stderr := s.Stderr
	if stderr == nil {
		stderr = null
	}
	sys, done, err := l.apart()
	if err != nil {
		return err
	}
	defer done()
	p, err := os.StartProcess(l.o.Supervisor, supervisor.Args(e.id), &os.ProcAttr{
		Dir:   "/",
		Env:   []string{"GOMAXPROCS=1"}, // it does next to nothing
		Files: []*os.File{null, null, words, spec, l.dir, s.lock, listener, s.Stdin, s.Stdout, stderr},
		Sys:   sys,
	})
	if err != nil {
		return fmt.Errorf("start its supervisor: %w", err)
	}
	// The supervisor does this before it runs anything. Begun here, it takes no time on
	// top of the supervisor's own start.
	record := s.lock
	l.tasks.Go(func() {
		l.warn("cannot note a unit durably", e, errors.Join(record.Sync(), unit.SyncDir(l.root), record.Close()))
	})
	s.lock = nil
	l.log.Debug("supervisor started", "unit", e.id, "pid", p.Pid)
	e.supervisor = p.Pid
	return p.Release() // live waits for it
}

// specFile is a file in memory, as there are secrets in it.
func specFile(s *unit.Spec) (*os.File, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	if len(data) > unit.MaxSpec {
		return nil, fmt.Errorf("arguments and environment are too long: %d bytes, at most %d can be told", len(data), unit.MaxSpec)
	}
	fd, err := unix.MemfdCreate("unit", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "unit")
	if _, err = f.Write(data); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// socketPath is where the supervisor of a unit listens, whatever the length of the
// directory's own path.
func (l *Ledger) socketPath(id string) (string, error) {
	var path string
	c, err := l.dir.SyscallConn()
	if err == nil {
		err = c.Control(func(fd uintptr) { path = "/proc/self/fd/" + strconv.Itoa(int(fd)) + "/" + id + unit.SocketSuffix })
	}
	return path, err
}

func (l *Ledger) listen(id string) (*os.File, error) {
	path, err := l.socketPath(id)
	if err != nil {
		return nil, err
	}
	if err := l.root.Remove(id + unit.SocketSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	listener.SetUnlinkOnClose(false)
	return listener.File()
}

// follow listens to a supervisor, if there is one, until it ends. It returns the
// descriptors that it has given, if it has. It calls ran when something has run.
func (l *Ledger) follow(e *entry, ran func()) (rescue []*os.File) {
	path, err := l.socketPath(e.id)
	if err != nil {
		l.warn("cannot reach a supervisor", e, err)
		return nil
	}
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil // settle finds out why
	}
	defer conn.Close()
	defer context.AfterFunc(l.ctx, func() { conn.Close() })()
	l.mu.Lock()
	e.conn = conn
	order := e.order
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		e.conn = nil
		l.mu.Unlock()
	}()
	if order != nil {
		l.warn("cannot have a unit ended", e, give(conn, order))
	}
	b, oob := make([]byte, unit.MaxMessage), make([]byte, 256)
	for {
		n, oobn, _, _, err := conn.ReadMsgUnix(b, oob)
		if err != nil || n == 0 {
			return rescue
		}
		if files := l.files(e, oob[:oobn]); files != nil {
			closeAll(rescue)
			rescue = files
		}
		var told unit.Told
		if err := json.Unmarshal(b[:n], &told); err != nil {
			l.warn("a supervisor talks nonsense", e, err)
			continue
		}
		if told.Job.PID != 0 {
			ran()
		}
		l.change(e, func(r *Report) {
			if told.Job.PID != 0 && r.State == Starting {
				r.State = Running
			}
			r.PID, r.Stdout, r.Stderr = told.Job.PID, told.Stdout, told.Stderr
			r.Detail = e.record.Detail
			if told.Trouble != "" {
				r.Detail = told.Trouble
			}
		})
	}
}

// files are the descriptors that came with a message.
func (l *Ledger) files(e *entry, oob []byte) (files []*os.File) {
	if len(oob) == 0 {
		return nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	l.warn("cannot take a supervisor's descriptors", e, err)
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		l.warn("cannot take a supervisor's descriptors", e, err)
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "output"))
		}
	}
	return files
}

// give gives an order to a supervisor.
func give(conn *net.UnixConn, o *unit.Order) error {
	if conn == nil {
		return nil
	}
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	if err := conn.SetWriteDeadline(time.Now().Add(orderTimeout)); err != nil {
		return nil // closed: it is ending
	}
	_, err = conn.Write(data)
	if errors.Is(err, unix.EPIPE) || errors.Is(err, net.ErrClosed) {
		return nil // likewise
	}
	return err
}

// settle finds out what has become of a unit whose supervisor is not to be heard. It
// returns the lock if that is gone: then the unit has ended, or was never run.
func (l *Ledger) settle(e *entry, rescue []*os.File) (*os.File, error) {
	if l.ctx.Err() != nil {
		return nil, nil
	}
	var end unit.End
	err := unit.Read(l.root, e.id, unit.EndSuffix, &end)
	if err == nil {
		l.conclude(e, end) // its supervisor is about to end; whoever waits need not wait for that
	} else if !absent(err) {
		return nil, err
	}
	lock, err := l.root.OpenFile(e.id+unit.RecordSuffix, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) && l.ended(e) {
		return nil, errForgotten
	}
	if err != nil {
		return nil, err
	}
	locked, err := tryLock(lock)
	if err != nil || !locked {
		return nil, errors.Join(err, lock.Close())
	}
	if err := l.settleLocked(e, rescue); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// absent tells of an error whether there is no such word: what is damaged says nothing.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unit.ErrDamaged) }

// settleLocked is for a unit without a supervisor.
func (l *Ledger) settleLocked(e *entry, rescue []*os.File) error {
	var end unit.End
	var trace unit.Trace
	traceErr := unit.Read(l.root, e.id, unit.TraceSuffix, &trace)
	if e.supervisor == 0 { // started by an earlier ledger, if by this process
		e.supervisor = trace.Supervisor.PID
	}
	err := unit.Read(l.root, e.id, unit.EndSuffix, &end)
	switch {
	case err == nil:
		l.conclude(e, end)
		return l.cleanUp(e)
	case !absent(err):
		return err
	case errors.Is(traceErr, fs.ErrNotExist):
		return nil // it has not run
	case traceErr != nil:
		l.log.Warn("what ran of a unit cannot be read", "unit", e.id, "error", traceErr)
	}
	if err := l.killRest(e, trace); err != nil {
		return err
	}
	l.save(e, rescue)
	if err := l.lose(e, trace, "its supervisor was killed"); err != nil {
		return err
	}
	return l.cleanUp(e)
}

// lose says, durably first, that it is not known how a unit ended.
func (l *Ledger) lose(e *entry, trace unit.Trace, reason string) error {
	l.mu.Lock()
	r := e.report
	l.mu.Unlock()
	end := unit.End{
		State: unit.Lost, Boot: l.boot, Job: trace.Job, Ended: time.Now(), Reason: reason,
		Stdout: r.Stdout, Stderr: r.Stderr,
	}
	err := unit.Write(l.root, e.id, unit.EndSuffix, end)
	if err == nil {
		err = unit.Sync(l.root, e.id, unit.EndSuffix)
	}
	if err != nil {
		return fmt.Errorf("note that it is lost: %w", err)
	}
	l.log.Warn("a unit is lost", "unit", e.id, "reason", reason)
	l.conclude(e, end)
	return nil
}

// cleanUp removes what a unit that has ended does not need.
func (l *Ledger) cleanUp(e *entry) error {
	if e.record.Cgroup != "" {
		l.warn("cannot remove the cgroup of a unit", e, cgroup.Remove(e.record.Cgroup))
	}
	l.mu.Lock()
	released := e.released
	l.mu.Unlock()
	if released {
		return l.forget(e)
	}
	for _, suffix := range []string{unit.TraceSuffix, unit.SocketSuffix} {
		if err := l.root.Remove(e.id + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// killRest kills what is left of a unit whose supervisor is gone, until nothing is
// found any more. An error says that it has to be gone on with.
func (l *Ledger) killRest(e *entry, trace unit.Trace) error {
	for deadline := time.Now().Add(killTimeout); ; l.pause(lockRetry) {
		found, err := l.killOnce(e, trace)
		switch {
		case l.ctx.Err() != nil:
			return l.ctx.Err() // the next ledger does
		case err != nil:
			return fmt.Errorf("kill what is left of it: %w", err)
		case !found:
			return nil
		case time.Now().After(deadline):
			l.log.Error("what is left of a unit does not die", "unit", e.id)
			return nil
		}
	}
}

func (l *Ledger) killOnce(e *entry, trace unit.Trace) (found bool, err error) {
	if e.record.Cgroup != "" {
		if err := cgroup.Kill(e.record.Cgroup); err != nil {
			return false, err
		}
	}
	var errs []error
	if trace.Job.Start != 0 {
		was, err := proc.Signal(trace.Job, unix.SIGKILL)
		found, errs = was, append(errs, err)
	}
	if e.record.Token != "" {
		n, err := proc.KillMarked(mark(e.record))
		found, errs = found || n > 0, append(errs, err)
	}
	return found, errors.Join(errs...)
}

// save moves what is still in the pipes of a unit into its files.
func (l *Ledger) save(e *entry, rescue []*os.File) {
	for i := 0; i+1 < len(rescue); i += 2 {
		size, err := saveOne(rescue[i], rescue[i+1])
		l.warn("cannot save the last words of a unit", e, err)
		l.mu.Lock()
		if i == 0 {
			e.report.Stdout = max(e.report.Stdout, size)
		} else {
			e.report.Stderr = max(e.report.Stderr, size)
		}
		l.mu.Unlock()
	}
}

// saveOne moves what is in a pipe to the end of a file, and returns its size.
func saveOne(pipe, file *os.File) (int64, error) {
	r, err := supervisor.NewRelay(pipe, file)
	if err != nil {
		return 0, err
	}
	giveUp := make(chan struct{})
	close(giveUp) // a full disk is not waited for: nobody would
	err = errors.Join(r.Finish(), r.Run(func(int64) {}, func(error) {}, giveUp), file.Sync())
	size, seekErr := file.Seek(0, io.SeekCurrent)
	return size, errors.Join(err, seekErr)
}

// warn logs an error of a unit that nothing depends on.
func (l *Ledger) warn(what string, e *entry, err error) {
	if err != nil {
		l.log.Warn(what, "unit", e.id, "error", err)
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// apart has a supervisor be of no session, and of no cgroup, that anybody kills with
// this process or with a unit. done is to be called when it has been started.
func (l *Ledger) apart() (sys *syscall.SysProcAttr, done func(), err error) {
	sys = &syscall.SysProcAttr{Setsid: true}
	if l.o.Cgroups == nil {
		return sys, func() {}, nil
	}
	dir, err := os.Open(l.o.Cgroups.Supervisors())
	if err != nil {
		return nil, nil, fmt.Errorf("open the cgroup of supervisors: %w", err)
	}
	sys.UseCgroupFD, sys.CgroupFD = true, int(dir.Fd())
	return sys, func() { dir.Close() }, nil
}
