package watch

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Descriptors that a watcher is started with: the command's terminal is its standard
// input, and its standard output and error are the plug's log.
const (
	ttyFD  = 0
	plugFD = 3 // a socket: an order comes, words go. Its end is the end of the command
)

const (
	// grace is what processes have to end by themselves after they were told of the hang-up: an editor
	// saves what it has, a shell its history.
	grace = time.Second

	// killAgain is when those that are left are killed again: their children are found when
	// they have ended.
	killAgain = 20 * time.Millisecond

	// giveUp is when those that cannot be killed are left: they are other users', which a command that
	// does not run as root cannot have made without their help, or wait for a device.
	giveUp = 5 * time.Second
)

// Main is a watcher, from its start to its end; it returns its exit status. It must be called in
// the first goroutine.
func Main() int {
	// The command is killed at the end of the thread that has started it: it ends with the process.
	runtime.LockOSThread()
	// It does not stop at what the plug or its terminal is told. (Ignored, these signals would be
	// for the command, too.)
	signal.Notify(make(chan os.Signal, 1))
	plug := os.NewFile(plugFD, "plug")
	if err := watch(plug); err != nil {
		fmt.Fprintf(os.Stderr, "watcher of a command: %v\n", err)
		return 1
	}
	return 0
}

// watch runs what the plug orders, until nothing of it is left.
func watch(plug *os.File) error {
	if unix.CloseRange(plugFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) != nil { // before Linux 5.11
		unix.CloseOnExec(plugFD)
	}
	var o Order
	if err := json.NewDecoder(plug).Decode(&o); err != nil {
		return fmt.Errorf("read what to run (the program itself starts this one): %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	say := json.NewEncoder(plug)
	pid, err := start(&o)
	if err != nil {
		return say.Encode(word{Err: err.Error()})
	}
	if err := letGo(); err != nil {
		return err // at our end the command is killed
	}
	if err := say.Encode(word{PID: pid}); err != nil {
		fmt.Fprintf(os.Stderr, "watcher of process %d: %v\n", pid, err) // the plug is gone, as we are about to see
	}
	end := attend(pid, plug)
	_ = say.Encode(word{End: &end}) // fails if the plug is gone
	return nil
}

// start starts the command as the first of a session, with the terminal as its own.
func start(o *Order) (pid int, err error) {
	sys := &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: ttyFD, Pdeathsig: syscall.SIGKILL}
	if u := o.User; u != nil {
		sys.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
	}
	pid, err = syscall.ForkExec(o.Path, o.Args, &syscall.ProcAttr{Dir: o.Dir, Env: o.Env, Files: []uintptr{ttyFD, ttyFD, ttyFD}, Sys: sys})
	if err != nil {
		return 0, &os.PathError{Op: "execute", Path: o.Path, Err: err}
	}
	return pid, nil
}

// letGo closes the terminal here: its end is to be the end of the last one who has it.
func letGo() error {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	return unix.Dup3(int(null.Fd()), ttyFD, unix.O_CLOEXEC)
}

// attend waits for the end of a command, or for that of the plug's interest in it, and then
// ends all that is left.
func attend(pid int, plug io.Reader) (end End) {
	var family children
	ended, all := family.reap(pid)
	gone := make(chan struct{})
	go func() { // until the plug ends it
		defer close(gone)
		_, _ = io.Copy(io.Discard, plug)
	}()
	var kill <-chan time.Time
	var killing time.Time // since when; zero: not yet
	for {
		select {
		case <-all:
			select {
			case s := <-ended:
				end.Code, end.Signal = outcome(s)
			default: // it came before
			}
			return end
		case s := <-ended:
			ended = nil
			end.Code, end.Signal = outcome(s)
			if kill == nil {
				kill = farewell(&family)
			}
		case <-gone:
			gone = nil
			if kill == nil {
				kill = farewell(&family)
			}
		case <-kill:
			n, err := family.signal(unix.SIGKILL)
			if killing.IsZero() {
				killing = time.Now()
			}
			if time.Since(killing) > giveUp {
				end.Left = n
				fmt.Fprintf(os.Stderr, "watcher of process %d: %d processes are left: %v\n", pid, n, err)
				return end
			}
			kill = time.After(killAgain)
		}
	}
}

// farewell tells the children of the hang-up, and returns when the rest is to be killed.
func farewell(family *children) <-chan time.Time {
	// One that is stopped is to hear it, too. (Who cannot be told is killed, or that fails.)
	_, _ = family.signal(unix.SIGHUP, unix.SIGCONT)
	return time.After(grace)
}

// outcome is how a process has ended.
func outcome(s unix.WaitStatus) (code, signal uint8) {
	if s.Signaled() {
		return 0, uint8(s.Signal()) //nolint:gosec // there are 64
	}
	return uint8(s.ExitStatus()), 0 //nolint:gosec // it is one byte
}
