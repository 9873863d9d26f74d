package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

const (
	cpuPeriod = 100 * time.Millisecond
	cpuShare  = 30 * time.Millisecond // of each period
)

// cpuLimit holds processes to a share of one core: all of them together by a control
// group; where there can be none, each by itself, by signals.
type cpuLimit interface {
	add(pid int) error
	lift() error // before a process ends
	fmt.Stringer // how, and what it has done
}

// newCPULimit makes a limit that ends with the test, after what is started from now on.
func newCPULimit(t *testing.T) cpuLimit {
	t.Helper()
	g, err := newCPUGroup()
	if err == nil {
		t.Cleanup(func() { g.remove(t) })
		return g
	}
	t.Logf("no control group, so processes are stopped and continued: %v", err)
	d := &dutyCycle{stop: make(chan struct{}), done: make(chan struct{})}
	go d.run()
	t.Cleanup(func() { must(t, d.lift()) })
	return d
}

// cpuGroup is a control group with a quota.
type cpuGroup struct {
	version string
	dir     string
	quota   string // its file
	none    string // what is written there for no limit
}

// newCPUGroup makes one below the root, of version 2 or 1: that takes the rights of
// root, and a file system that may be written.
func newCPUGroup() (*cpuGroup, error) {
	name := fmt.Sprintf("receptor-test-%d", os.Getpid())
	period, share := cpuPeriod.Microseconds(), cpuShare.Microseconds()
	var errs []error
	for _, v := range []struct {
		cpuGroup
		limit string
	}{
		{cpuGroup{"v2", "/sys/fs/cgroup", "cpu.max", "max"}, fmt.Sprintf("%d %d", share, period)},
		{cpuGroup{"v1", "/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "-1"}, strconv.FormatInt(share, 10)}, // of 100 ms, unless told
	} {
		g := v.cpuGroup
		g.dir = filepath.Join(g.dir, name)
		if err := os.Mkdir(g.dir, 0o755); err != nil {
			errs = append(errs, err)
			continue
		}
		err := g.write(g.quota, v.limit)
		if err == nil {
			return &g, nil
		}
		errs = append(errs, err, os.Remove(g.dir))
	}
	return nil, errors.Join(errs...)
}

// write writes a file that the kernel has made.
func (g *cpuGroup) write(file, text string) error {
	f, err := os.OpenFile(filepath.Join(g.dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func (g *cpuGroup) add(pid int) error { return g.write("cgroup.procs", strconv.Itoa(pid)) }
func (g *cpuGroup) lift() error       { return g.write(g.quota, g.none) }

func (g *cpuGroup) String() string {
	stat, err := os.ReadFile(filepath.Join(g.dir, "cpu.stat"))
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("control group %s, %v of each %v for all together: %s", g.version, cpuShare, cpuPeriod,
		strings.Join(strings.Split(strings.TrimSpace(string(stat)), "\n"), ", "))
}

// remove waits until all processes of the group have ended.
func (g *cpuGroup) remove(t *testing.T) {
	end := time.Now().Add(patience)
	err := os.Remove(g.dir)
	for ; errors.Is(err, syscall.EBUSY) && time.Now().Before(end); err = os.Remove(g.dir) {
		time.Sleep(pause)
	}
	if err != nil {
		t.Error(err)
	}
}

// dutyCycle stops processes, and has them go on for their share of each period.
type dutyCycle struct {
	stop, done chan struct{}
	lifting    sync.Once

	mu      sync.Mutex
	pids    []int
	periods int
	err     error
}

func (d *dutyCycle) add(pid int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pids = append(d.pids, pid)
	return nil
}

func (d *dutyCycle) run() {
	defer close(d.done)
	for {
		d.signal(syscall.SIGSTOP)
		select {
		case <-d.stop:
			d.signal(syscall.SIGCONT)
			return
		case <-time.After(cpuPeriod - cpuShare):
		}
		d.signal(syscall.SIGCONT)
		select {
		case <-d.stop:
			return
		case <-time.After(cpuShare):
		}
	}
}

func (d *dutyCycle) signal(s syscall.Signal) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s == syscall.SIGSTOP {
		d.periods++
	}
	for _, pid := range d.pids {
		if err := syscall.Kill(pid, s); err != nil && d.err == nil {
			d.err = fmt.Errorf("%v to %d: %w", s, pid, err)
		}
	}
}

func (d *dutyCycle) lift() error {
	d.lifting.Do(func() { close(d.stop) })
	<-d.done
	return d.err
}

func (d *dutyCycle) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return fmt.Sprintf("SIGSTOP and SIGCONT, %v of each %v for each process: %d periods", cpuShare, cpuPeriod, d.periods)
}

// limitNode limits a launcher and all that it has started.
func limitNode(l cpuLimit, launcher *lab.Process) error {
	children, err := lab.Children(launcher.PID())
	if err != nil {
		return err
	}
	err = l.add(launcher.PID())
	for _, c := range children {
		err = errors.Join(err, l.add(c.PID))
	}
	return err
}
