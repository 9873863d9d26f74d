package launcher

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// canHold: a process that is no child of ours can be held.
const canHold = true

// hold gets hold of a process that is no child of ours: what is done to it from
// here on is done to no other, though its number may be given away.
func hold(pid int) (*os.Process, error) {
	p, err := os.FindProcess(pid)
	if err == nil {
		err = p.WithHandle(func(uintptr) {})
	}
	if err != nil {
		return nil, fmt.Errorf("hold process %d: %w", pid, err)
	}
	return p, nil
}

// awaitEnd waits for the end of a process that is held.
func awaitEnd(p *os.Process) error {
	var fd int
	var failed error
	err := p.WithHandle(func(h uintptr) {
		if fd, failed = unix.FcntlInt(h, unix.F_DUPFD_CLOEXEC, 0); failed == nil {
			failed = unix.SetNonblock(fd, true) // for the poller
		}
	})
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("wait for process %d: %w", p.Pid, err)
	}
	f := os.NewFile(uintptr(fd), "process")
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
	})
}
