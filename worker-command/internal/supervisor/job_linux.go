package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/worker-command/internal/unit"
)

// The first arguments of the program.
const (
	argUnit = "unit" // supervise a unit
	argExec = "exec" // set limits, then become the unit's process
)

// self is this program, wherever it is.
const self = "/proc/self/exe"

// start makes the unit's process. An error says that nothing has run.
func start(s *unit.Spec, stdin, stdout, stderr *os.File) (pid int, err error) {
	path, args := s.Path, s.Args
	files := []uintptr{stdin.Fd(), stdout.Fd(), stderr.Fd()}
	var said, say *os.File
	if len(s.Limits) > 0 {
		limits, err := json.Marshal(s.Limits)
		if err != nil {
			return 0, err
		}
		path, args = self, append([]string{s.Path, argExec, string(limits), s.Path}, s.Args...)
		if said, say, err = os.Pipe(); err != nil {
			return 0, err
		}
		defer said.Close()
		defer say.Close()
		files = append(files, say.Fd())
	}
	sys := &syscall.SysProcAttr{
		Setsid:    true,
		Pdeathsig: syscall.SIGKILL, // the thread that is here lives as long as this process
	}
	if u := s.User; u != nil {
		sys.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
	}
	if s.Cgroup != "" {
		fd, err := unix.Open(s.Cgroup, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return 0, fmt.Errorf("open the cgroup of the unit: %w", err)
		}
		defer unix.Close(fd)
		sys.UseCgroupFD, sys.CgroupFD = true, fd
	}
	pid, err = syscall.ForkExec(path, args, &syscall.ProcAttr{Dir: s.Directory, Env: s.Env, Files: files, Sys: sys})
	if err != nil {
		return 0, &os.PathError{Op: "execute", Path: s.Path, Err: err}
	}
	if said == nil {
		return pid, nil
	}
	say.Close() // here; the process has its own
	return pid, awaitExec(said, pid)
}

// awaitExec waits until a process has become the unit's. If it could not, it is gone
// then, and was nothing yet.
func awaitExec(said *os.File, pid int) error {
	text, err := io.ReadAll(said)
	if err != nil || len(text) == 0 {
		return err
	}
	if _, err := ignoringEINTR(func() (int, error) { return unix.Wait4(pid, nil, 0, nil) }); err != nil {
		return err
	}
	return errors.New(string(text))
}

// saidFD is where a process that could not become the unit's says so.
const saidFD = 3

// becomeUnit is what a process does between a supervisor and a unit: it sets the
// limits that it has been given and executes the program. It returns if it cannot.
func becomeUnit(args []string) error {
	unix.CloseOnExec(saidFD)
	if len(args) < 3 {
		return errors.New("arguments are missing")
	}
	var limits []unit.RLimit
	if err := json.Unmarshal([]byte(args[0]), &limits); err != nil {
		return err
	}
	for _, l := range limits {
		if err := syscall.Setrlimit(l.Resource, &syscall.Rlimit{Cur: l.Value, Max: l.Value}); err != nil {
			return fmt.Errorf("set resource limit %s: %w", strconv.Itoa(l.Resource), err)
		}
	}
	return &os.PathError{Op: "execute", Path: args[1], Err: syscall.Exec(args[1], args[2:], os.Environ())}
}
