package watch

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// children are those of this process. A number stays a child's until it was waited for,
// so while mu is held no other process is signalled in its place.
type children struct{ mu sync.Mutex }

// reap waits for all children there are and will be. ended gets how the one with that
// number has ended; all is closed when none is left.
func (c *children) reap(pid int) (ended <-chan unix.WaitStatus, all <-chan struct{}) {
	status, none := make(chan unix.WaitStatus, 1), make(chan struct{})
	go func() { // until there is no child
		defer close(none)
		for {
			err := unix.Waitid(unix.P_ALL, 0, &unix.Siginfo{}, unix.WEXITED|unix.WNOWAIT, nil)
			switch {
			case errors.Is(err, unix.EINTR):
			case err != nil: // ECHILD
				return
			default:
				c.take(pid, status)
			}
		}
	}()
	return status, none
}

// take waits for a child that has ended.
func (c *children) take(pid int, status chan<- unix.WaitStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var s unix.WaitStatus
	if child, err := unix.Wait4(-1, &s, unix.WNOHANG, nil); err == nil && child == pid {
		status <- s
	}
}

// signal signals every child that lives, and says how many there were. Children of a
// child come when that has ended.
func (c *children) signal(signals ...unix.Signal) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	pids, err := living(os.Getpid())
	for _, pid := range pids {
		for _, s := range signals {
			// (One that has ended meanwhile is there until it was waited for.)
			if kerr := unix.Kill(pid, s); kerr != nil {
				err = errors.Join(err, fmt.Errorf("signal process %d: %w", pid, kerr))
			}
		}
	}
	return len(pids), err
}

// living are the children of a process that have not ended.
func living(parent int) ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + name + "/stat")
		if err == nil && livesUnder(b, parent) { // else it is gone
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// livesUnder tells whether what the kernel says of a process is that it lives, as the child
// of another: after the name in parentheses, which may be anything, its state and its
// parent.
func livesUnder(stat []byte, parent int) bool {
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	return len(f) > 1 && f[0] != "Z" && f[0] != "X" && f[1] == strconv.Itoa(parent)
}
