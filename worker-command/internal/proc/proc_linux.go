package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/worker-command/internal/unit"
)

// bootIDFile has an ID that the kernel makes anew at each boot.
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// BootID is the ID of the boot that this is.
func BootID() (string, error) {
	b, err := os.ReadFile(bootIDFile)
	if err != nil {
		return "", fmt.Errorf("find out which boot this is: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// Find returns the process that has a number now. fs.ErrNotExist: there is none.
func Find(pid int) (unit.Process, error) {
	s, err := stat(pid)
	return unit.Process{PID: pid, Start: s.start}, err
}

// status is what the kernel says of a process.
type status struct {
	zombie bool // it has ended, and its parent has not asked how
	parent int
	start  uint64
}

func stat(pid int) (status, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	switch {
	case errors.Is(err, unix.ESRCH): // it ended while it was read
		return status{}, fs.ErrNotExist
	case err != nil:
		return status{}, err
	}
	return parseStat(b)
}

// parseStat reads what the kernel says: the number, the name in parentheses, which may
// be anything, and many fields. The state is the 3rd, the parent the 4th, the start
// time the 22nd.
func parseStat(b []byte) (s status, err error) {
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 20 {
		return s, fmt.Errorf("the kernel's word on a process is cut off: %.80q", b)
	}
	s.zombie = fields[0] == "Z" || fields[0] == "X"
	if s.parent, err = strconv.Atoi(fields[1]); err == nil {
		s.start, err = strconv.ParseUint(fields[19], 10, 64)
	}
	return s, err
}

// Signal signals a process if it is still that one, and has not ended, and says
// whether it was.
func Signal(p unit.Process, s unix.Signal) (bool, error) {
	return signal(p, s, func() bool {
		now, err := stat(p.PID)
		return err == nil && now.start == p.Start && !now.zombie
	})
}

// signal signals the process that has that number if it is the one, which is found
// out when nobody else can get its number any more.
func signal(p unit.Process, s unix.Signal, isIt func() bool) (bool, error) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	switch {
	case errors.Is(err, unix.ESRCH):
		return false, nil
	case err != nil:
		return false, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	if !isIt() {
		return false, nil
	}
	err = unix.PidfdSendSignal(fd, s, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	return err == nil, os.NewSyscallError("pidfd_send_signal", err)
}

// SignalDescendants signals all processes that come from this one, and says how
// many there were. Whoever wants to know of those whose parent has ended has to be a
// subreaper.
func SignalDescendants(s unix.Signal) (int, error) {
	all := map[int]status{}
	if err := each(func(pid int) {
		if s, err := stat(pid); err == nil { // else it is gone
			all[pid] = s
		}
	}); err != nil {
		return 0, err
	}
	self := os.Getpid()
	n := 0
	var errs []error
	for pid, p := range all {
		at := p
		for depth := 0; at.parent != self && depth < len(all); depth++ {
			next, ok := all[at.parent]
			if !ok {
				break
			}
			at = next
		}
		if at.parent != self {
			continue
		}
		was, err := Signal(unit.Process{PID: pid, Start: p.start}, s)
		if was {
			n++
		}
		errs = append(errs, err)
	}
	return n, errors.Join(errs...)
}

// KillMarked kills all processes that have a text in their environment, such as
// "NAME=value", and says how many there were. It sees those of its own user, or as
// root all.
func KillMarked(mark string) (int, error) {
	n := 0
	var errs []error
	has := func(pid int) bool {
		env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
		return err == nil && marked(env, mark) // those that cannot be read are others'
	}
	err := each(func(pid int) {
		if pid == os.Getpid() || !has(pid) {
			return
		}
		was, err := signal(unit.Process{PID: pid}, unix.SIGKILL, func() bool { return has(pid) })
		if was {
			n++
		}
		errs = append(errs, err)
	})
	return n, errors.Join(append(errs, err)...)
}

// marked tells whether an environment has a variable with a value.
func marked(env []byte, mark string) bool {
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if string(v) == mark {
			return true
		}
	}
	return false
}

// each calls f with the number of every process.
func each(f func(pid int)) error {
	dir, err := os.Open("/proc")
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			f(pid)
		}
	}
	return nil
}
