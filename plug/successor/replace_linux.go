package successor

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Leave is the signal that asks a process to leave.
const Leave = syscall.SIGUSR1

// Replace starts a successor of a process of that program, which has to be this one, and
// asks the process to leave once it has taken over. It returns the number of the successor.
// If that has not taken over, the process goes on as if nothing had been.
func Replace(program string, pid int) (next int, err error) { return replace(program, pid, patience) }

func replace(program string, pid int, patience time.Duration) (next int, err error) {
	old, err := os.FindProcess(pid) // held: its number cannot become another's
	if err != nil {
		return 0, err
	}
	defer old.Release() //nolint:errcheck // nothing can be lost
	line, err := commandLine(pid)
	if err != nil {
		return 0, err
	}
	if filepath.Base(line[0]) != program {
		return 0, fmt.Errorf("that is %s, not %s", filepath.Base(line[0]), program)
	}
	manager := os.Getenv("NOTIFY_SOCKET")
	p, said, err := start(arguments(line), manager != "")
	if err != nil {
		return 0, err
	}
	defer said.Close()
	node, err := await(said, patience)
	if err != nil {
		return 0, errors.Join(err, abandon(p))
	}
	// Before the older one ends, which would be the end of the service.
	if err := Notify(manager, fmt.Sprintf("MAINPID=%d\nSTATUS=attached to node %s", p.Pid, node)); err != nil {
		return 0, fmt.Errorf("process %d has taken over; the service manager cannot be told: %w", p.Pid, err)
	}
	if err := old.Signal(Leave); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, fmt.Errorf("process %d has taken over; the older one cannot be asked to leave: %w", p.Pid, err)
	}
	next = p.Pid // which Release forgets
	return next, p.Release()
}

// commandLine is that of a process.
func commandLine(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, errors.New("there is no such process, or it is hidden here")
	case err != nil:
		return nil, fmt.Errorf("read its command line: %w", err)
	case len(text) == 0:
		return nil, errors.New("it has no command line")
	}
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00"), nil
}

// start starts the file of this process with a command line, and returns where the new
// process says that it has taken over. Where there is a service manager that becomes the
// parent: it is to learn of the end of what its service is.
func start(line []string, sibling bool) (*os.Process, *os.File, error) {
	const self = "/proc/self/exe" // and not what has been put at its path since
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	sys := &syscall.SysProcAttr{Setsid: true} // it outlives whoever has asked for it, and his terminal
	if sibling {
		sys.Cloneflags = syscall.CLONE_PARENT
	}
	p, err := os.StartProcess(self, line, &os.ProcAttr{
		Env:   slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAINPID=") }), // of ExecReload= alone
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, w},
		Sys:   sys,
	})
	_ = w.Close() // here: the end of the other one is to be seen
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start a successor: %w", err), r.Close())
	}
	return p, r, nil
}

// await waits until a successor has taken over, and returns at which node.
func await(said *os.File, patience time.Duration) (node string, err error) {
	if err := said.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(said).ReadString('\n')
	node, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), ready)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "", fmt.Errorf("its successor has attached to no core within %v", patience)
	case err != nil || !ok:
		return "", errors.New("its successor has ended before it attached to a core")
	}
	return node, nil
}

// abandon ends a successor that has not taken over.
func abandon(p *os.Process) error {
	if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end its successor: %w", err)
	}
	_, _ = p.Wait() // fails where it is another's child
	return nil
}
