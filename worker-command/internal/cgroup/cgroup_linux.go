package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/worker-command/internal/proc"
)

// Names below the cgroup that is delegated.
const (
	plugName       = "receptor-plug"        // the worker, where it has to make room
	supervisorName = "receptor-supervisors" // they are not to be killed with their units
	unitPrefix     = "receptor-unit-"
)

// Tree is a cgroup that is delegated to this worker.
type Tree struct {
	dir         string
	controllers []string // that units can be limited by
}

// ErrNone says that no cgroup is delegated to this process.
var ErrNone = errors.New("no cgroup is delegated to this worker")

// Open makes a tree of a cgroup that is delegated: the one with that directory, or if
// it is empty, the one that this process is in, or the one above, if systemd has marked
// it as delegated.
func Open(dir string) (*Tree, error) {
	if dir == "" {
		own, err := own()
		if err != nil {
			return nil, err
		}
		switch {
		case delegated(own):
			dir = own
		case delegated(filepath.Dir(own)):
			dir = filepath.Dir(own)
		default:
			return nil, ErrNone
		}
	}
	t := &Tree{dir: dir}
	if err := t.prepare(); err != nil {
		return nil, fmt.Errorf("use the cgroup %s: %w", dir, err)
	}
	return t, nil
}

// own is the directory of the cgroup that this process is in.
func own() (string, error) {
	root, err := mountPoint()
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return filepath.Join(root, path), nil
		}
	}
	return "", ErrNone
}

// mountPoint is where the tree of version 2 is.
func mountPoint() (string, error) {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		if fields := strings.Fields(in.Text()); len(fields) > 2 && fields[2] == "cgroup2" {
			return fields[1], nil
		}
	}
	return "", ErrNone
}

// delegated tells whether a cgroup is marked as ours to divide.
func delegated(dir string) bool {
	for _, mark := range []string{"trusted.delegate", "user.delegate"} {
		value := make([]byte, 1)
		if n, err := unix.Getxattr(dir, mark, value); err == nil && n == 1 && value[0] == '1' {
			return true
		}
	}
	return false
}

// prepare makes the places for supervisors, and has units limited by all that this
// tree can limit.
func (t *Tree) prepare() error {
	if err := mkdir(t.Supervisors()); err != nil {
		return err
	}
	available, err := t.read("cgroup.controllers")
	if err != nil {
		return err
	}
	var want []string
	for _, c := range []string{"memory", "pids", "cpu"} {
		if slices.Contains(strings.Fields(available), c) {
			want = append(want, c)
		}
	}
	if len(want) == 0 {
		return nil
	}
	// Below a cgroup that divides what it has there must be no process in itself.
	if dir, err := own(); err == nil && dir == t.dir {
		plug := filepath.Join(t.dir, plugName)
		if err := mkdir(plug); err != nil {
			return err
		}
		if err := write(plug, "cgroup.procs", strconv.Itoa(os.Getpid())); err != nil {
			return err
		}
	}
	for _, c := range want {
		if err := write(t.dir, "cgroup.subtree_control", "+"+c); err == nil { // else it is not given to us
			t.controllers = append(t.controllers, c)
		}
	}
	return nil
}

// Controllers are what units can be limited by: memory, pids, cpu.
func (t *Tree) Controllers() []string { return t.controllers }

// Supervisors is the directory of the cgroup of supervisors.
func (t *Tree) Supervisors() string { return filepath.Join(t.dir, supervisorName) }

// Limits are those of a unit; 0: none.
type Limits struct {
	Memory int64 // bytes
	PIDs   int64
	CPU    float64 // processors
}

// cpuPeriod is the time of which a unit gets a part, in microseconds: the kernel's
// own default.
const cpuPeriod = 100_000

// Unit is the directory of the cgroup of a unit.
func (t *Tree) Unit(id string) string { return filepath.Join(t.dir, unitPrefix+id) }

// Make makes the cgroup of a unit.
func (t *Tree) Make(id string, l Limits) error {
	dir := t.Unit(id)
	if err := mkdir(dir); err != nil {
		return err
	}
	set := map[string]string{}
	if l.Memory > 0 {
		set["memory.max"] = strconv.FormatInt(l.Memory, 10)
		set["memory.oom.group"] = "1" // not one process of it, and the rest goes on
	}
	if l.PIDs > 0 {
		set["pids.max"] = strconv.FormatInt(l.PIDs, 10)
	}
	if l.CPU > 0 {
		set["cpu.max"] = fmt.Sprintf("%d %d", max(int64(l.CPU*cpuPeriod), 1000), cpuPeriod)
	}
	for name, value := range set {
		if err := write(dir, name, value); err != nil {
			return errors.Join(err, Remove(dir))
		}
	}
	return nil
}

// Signal signals every process of a cgroup, and says how many there were.
func Signal(dir string, s unix.Signal) (int, error) {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return 0, err
	}
	n := 0
	var errs []error
	for line := range strings.FieldsSeq(string(b)) {
		pid, err := strconv.Atoi(line)
		if err != nil {
			return n, err
		}
		p, err := proc.Find(pid)
		if err != nil {
			continue // it has ended
		}
		was, err := proc.Signal(p, s)
		if was {
			n++
		}
		errs = append(errs, err)
	}
	return n, errors.Join(errs...)
}

// Kill kills every process of a cgroup, at once.
func Kill(dir string) error {
	err := write(dir, "cgroup.kill", "1")
	if errors.Is(err, fs.ErrNotExist) { // gone, or a kernel before 5.14
		if _, err = Signal(dir, unix.SIGKILL); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	return err
}

// OOMKilled tells whether the unit was killed for the memory that it used.
func OOMKilled(dir string) bool {
	b, err := os.ReadFile(filepath.Join(dir, "memory.events"))
	if err != nil {
		return false // memory is not limited
	}
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strings.TrimSpace(n) != "0"
		}
	}
	return false
}

// Remove removes a unit's cgroup. One that is gone is fine; what has just ended may
// be in it for a moment.
func Remove(dir string) error {
	var err error
	for pause := time.Millisecond; pause < time.Second; pause *= 2 {
		if err = unix.Rmdir(dir); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(pause)
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return os.NewSyscallError("rmdir", err)
}

func (t *Tree) read(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(t.dir, name))
	return string(b), err
}

func mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// write gives a file of a cgroup a value. It is not made if it is not there.
func write(dir, name, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
