package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/worker-command/internal/cgroup"
	"github.com/project-receptor/receptor/worker-command/internal/proc"
	"github.com/project-receptor/receptor/worker-command/internal/unit"
)

const (
	// lastWords is how long what a unit's process leaves behind has to end by
	// itself: a shell does not wait for the `tee` that it has started by `> >(tee log)`.
	lastWords = 2 * time.Second

	// Between two attempts to kill what goes on being born.
	killAgain     = 20 * time.Millisecond
	killAgainMost = time.Second

	// fullRetry is how often a full disk is tried again. The unit waits meanwhile.
	fullRetry = time.Second
)

// supervisor is one unit.
type supervisor struct {
	spec   unit.Spec
	boot   string
	dir    *os.Root
	began  time.Time
	job    unit.Process
	relays []*Relay // of stdout, and of stderr unless they are merged
	teller *teller

	running  sync.WaitGroup // relays
	relayErr chan error     // that of each
	giveUp   chan struct{}  // closed: no output waits for a full disk any more
}

// supervise runs the unit that the descriptors of this process say.
func supervise() error {
	// They stop neither at the plug's end nor at that of its session. (Ignored, they
	// would be for the unit, too.)
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGTERM)
	// The unit gets none of these, nor what somebody has left open for this program's
	// parents.
	if unix.CloseRange(unit.SpecFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) != nil { // before Linux 5.11
		for fd := unit.SpecFD; fd <= unit.StderrFD; fd++ {
			unix.CloseOnExec(fd)
		}
	}
	s := &supervisor{giveUp: make(chan struct{})}
	if err := unit.Decode(os.NewFile(unit.SpecFD, "spec"), &s.spec); err != nil {
		return fmt.Errorf("read what to run: %w", err)
	}
	var err error
	if s.boot, err = proc.BootID(); err != nil {
		return err
	}
	if s.dir, err = os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", unit.DirFD)); err != nil {
		return fmt.Errorf("open the state directory: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	return s.run()
}

func (s *supervisor) run() error {
	stdin := os.NewFile(unit.StdinFD, "stdin")
	stdout, err := s.output(unit.StdoutFD)
	if err != nil {
		return err
	}
	stderr := stdout
	if !s.spec.Merged {
		if stderr, err = s.output(unit.StderrFD); err != nil {
			return err
		}
	}
	listener, err := listener()
	if err != nil {
		return err
	}
	s.teller = newTeller(listener, s.relays)
	s.teller.start()
	defer s.teller.stop()

	self, err := proc.Find(os.Getpid())
	if err != nil {
		return err
	}
	trace := unit.Trace{Supervisor: self}
	if err := s.note(trace); err != nil {
		return err
	}
	pid, err := start(&s.spec, stdin, stdout, stderr)
	for _, f := range []*os.File{stdin, stdout, stderr} { // now the unit's alone
		f.Close()
	}
	if err != nil {
		return s.leaveWord(unit.End{State: unit.Refused, Reason: err.Error()})
	}
	s.began = time.Now()
	// It cannot have gone: nobody has waited for it.
	if s.job, err = proc.Find(pid); err != nil {
		s.job = unit.Process{PID: pid}
	}
	trace.Job = s.job
	if err := unit.Write(s.dir, s.spec.Unit, unit.TraceSuffix, trace); err != nil {
		fmt.Fprintf(os.Stderr, "unit %s: cannot note its process: %v\n", s.spec.Unit, err) // its mark is enough
	}
	s.teller.change(func(t *unit.Told) { t.Job = s.job })
	s.relay()
	return s.leaveWord(s.attend())
}

// note notes that the unit is about to run. On a full disk that waits, unless somebody
// wants its end.
func (s *supervisor) note(trace unit.Trace) error {
	for {
		// (The descriptor stays a number: an os.File would close it some day, and unlock it.)
		// That there is the unit must be known after the machine's end, too: it would be
		// run again. The plug has begun with this when it has started this process.
		err := errors.Join(unix.Fsync(unit.LockFD), unit.SyncDir(s.dir))
		if err == nil {
			err = unit.Write(s.dir, s.spec.Unit, unit.TraceSuffix, trace)
		}
		if err == nil {
			s.teller.change(func(t *unit.Told) { t.Trouble = "" })
			return nil
		}
		err = fmt.Errorf("note that the unit is about to run: %w", err)
		if !unit.Full(err) {
			return err
		}
		s.teller.change(func(t *unit.Told) { t.Trouble = "it waits: " + err.Error() })
		select {
		case <-time.After(fullRetry):
		case <-s.teller.orders:
			return err
		}
	}
}

// output makes the pipe of an output, and returns the unit's end.
func (s *supervisor) output(fd uintptr) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	relay, err := NewRelay(r, os.NewFile(fd, "output"))
	s.relays = append(s.relays, relay)
	return w, err
}

// relay has the outputs written.
func (s *supervisor) relay() {
	s.relayErr = make(chan error, len(s.relays))
	for i, r := range s.relays {
		moved := func(n int64) {
			s.teller.change(func(t *unit.Told) {
				t.Trouble = ""
				if i == 0 {
					t.Stdout += n
				} else {
					t.Stderr += n
				}
			})
		}
		trouble := func(err error) {
			s.teller.change(func(t *unit.Told) { t.Trouble = "its output waits: " + err.Error() })
		}
		s.running.Go(func() { s.relayErr <- r.Run(moved, trouble, s.giveUp) })
	}
}

// attend waits for the end of the unit, and brings it about where it has to.
func (s *supervisor) attend() unit.End {
	end := unit.End{State: unit.Exited}
	main, all := reap(s.job.PID)
	var timeout <-chan time.Time
	if s.spec.Timeout > 0 {
		timeout = time.After(s.spec.Timeout)
	}
	kill := killer{again: killAgain}
	defer kill.stop()
	wanted := false
	for relays := len(s.relays); main != nil || all != nil || relays > 0; {
		select {
		case status := <-main:
			main = nil
			end.Code, end.Signal = outcome(status)
			kill.within(lastWords)
		case <-all:
			all = nil
			for _, r := range s.relays {
				if err := r.Finish(); err != nil {
					end.State, end.Reason = unit.Lost, err.Error()
				}
			}
		case err := <-s.relayErr:
			relays--
			if err != nil {
				end.State, end.Reason = unit.Lost, "cannot write what it says: "+err.Error()
				kill.within(0)
			}
		case o := <-s.teller.orders:
			wanted = true
			s.ask(o.Grace)
			kill.within(o.Grace)
		case <-timeout:
			wanted = true
			if end.State == unit.Exited && main != nil {
				end.Reason = "timeout"
			}
			s.ask(s.spec.Grace)
			kill.within(s.spec.Grace)
		case <-kill.due():
			if wanted {
				s.stopWaiting()
			}
			s.kill()
			kill.later()
		}
	}
	s.running.Wait()
	if end.Reason == "timeout" && end.Code == 0 && end.Signal == "" {
		end.Signal = "SIGTERM" // it was asked to end, and has not done what it was to do
	}
	return end
}

// ask asks all processes of the unit to end, unless they are to be killed anyway.
func (s *supervisor) ask(grace time.Duration) {
	if grace > 0 {
		s.signal(unix.SIGTERM)
		s.signal(unix.SIGCONT)
	}
}

// kill kills all processes of the unit.
func (s *supervisor) kill() {
	if s.spec.Cgroup != "" {
		if err := cgroup.Kill(s.spec.Cgroup); err != nil {
			fmt.Fprintf(os.Stderr, "unit %s: kill its cgroup: %v\n", s.spec.Unit, err)
		}
	}
	s.signal(unix.SIGKILL)
}

// signal signals all processes of the unit: what was born of it stays its own, as this
// process is their reaper.
func (s *supervisor) signal(sig unix.Signal) {
	if _, err := proc.SignalDescendants(sig); err != nil {
		fmt.Fprintf(os.Stderr, "unit %s: signal it: %v\n", s.spec.Unit, err)
	}
}

func (s *supervisor) stopWaiting() {
	select {
	case <-s.giveUp:
	default:
		close(s.giveUp)
	}
}

// leaveWord leaves word of the end, after all output is durable, and has plugs know of
// it. That the word itself is durable they need not wait for: without it the unit is
// Lost, after the machine's end, for a core that does not know better.
func (s *supervisor) leaveWord(end unit.End) error {
	end.Boot, end.Job, end.Began, end.Ended = s.boot, s.job, s.began, time.Now()
	told := s.teller.now()
	end.Stdout, end.Stderr = told.Stdout, told.Stderr
	if s.spec.Cgroup != "" {
		end.OOM = cgroup.OOMKilled(s.spec.Cgroup)
		if err := cgroup.Remove(s.spec.Cgroup); err != nil {
			fmt.Fprintf(os.Stderr, "unit %s: %v\n", s.spec.Unit, err) // the plug does it
		}
	}
	for i, written := range []int64{end.Stdout, end.Stderr} {
		if written == 0 {
			continue
		}
		if err := s.relays[i].file.Sync(); err != nil && end.State == unit.Exited {
			end.State, end.Reason = unit.Lost, "cannot keep what it has said: "+err.Error()
		}
	}
	for {
		err := unit.Write(s.dir, s.spec.Unit, unit.EndSuffix, end)
		if err == nil {
			break
		}
		if !unit.Full(err) {
			return err
		}
		s.teller.change(func(t *unit.Told) { t.Trouble = "word of its end waits: " + err.Error() })
		time.Sleep(fullRetry)
	}
	s.teller.stop()
	err := unit.Sync(s.dir, s.spec.Unit, unit.EndSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was released already
	}
	return err
}

// reap waits for all that this process has to wait for. main gets how the unit's process
// has ended; all is closed when nothing is left.
func reap(pid int) (main <-chan unix.WaitStatus, all <-chan struct{}) {
	ended, left := make(chan unix.WaitStatus, 1), make(chan struct{})
	go func() { // until there is no child
		defer close(left)
		for {
			var status unix.WaitStatus
			child, err := unix.Wait4(-1, &status, 0, nil)
			switch {
			case errors.Is(err, unix.EINTR):
			case err != nil: // ECHILD
				return
			case child == pid:
				ended <- status
			}
		}
	}()
	return ended, left
}

// outcome is how a process has ended.
func outcome(status unix.WaitStatus) (code int, sig string) {
	if status.Signaled() {
		return 0, unix.SignalName(status.Signal())
	}
	return status.ExitStatus(), ""
}

func listener() (*net.UnixListener, error) {
	f := os.NewFile(unit.ListenFD, "socket")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		return nil, fmt.Errorf("descriptor %d is no Unix socket", unit.ListenFD)
	}
	return u, nil
}
