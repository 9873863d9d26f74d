package unit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// Suffixes of the files of a unit.
const (
	RecordSuffix = ".unit"
	TraceSuffix  = ".run"
	EndSuffix    = ".end"
	SocketSuffix = ".sock"

	temporary = ".tmp" // after another suffix: being written
)

// fileMode: what units are given, and how they fare, is nobody else's business.
const fileMode fs.FileMode = 0o600

// maxFile bounds a file that is read: they are a few hundred bytes.
const maxFile = 64 << 10

var validID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// CheckID refuses what cannot be part of a file's name. Cores give 8 letters and
// digits.
func CheckID(id string) error {
	if !validID.MatchString(id) {
		return fmt.Errorf("unit ID %.80q is not 1 to 64 letters, digits, - or _", id)
	}
	return nil
}

// SplitName is the unit and the suffix of a file of the state directory; not ok for
// files of others.
func SplitName(name string) (id, suffix string, ok bool) {
	id, suffix, ok = strings.Cut(name, ".")
	return id, "." + suffix, ok && CheckID(id) == nil
}

// Record says that the worker has a unit.
type Record struct {
	Unit   string `json:"unit"`
	Type   string `json:"type"`
	Boot   string `json:"boot"`             // boot ID of the machine
	Token  string `json:"token"`            // in the environment of all of its processes
	Cgroup string `json:"cgroup,omitempty"` // directory of its own cgroup
	Merged bool   `json:"merged,omitempty"`
	Detail string `json:"detail,omitempty"` // for people
}

// Trace says what runs. Without a job it is about to be made.
type Trace struct {
	Supervisor Process `json:"supervisor"`
	Job        Process `json:"job"`
}

// Process is a process that cannot be taken for another one of the same boot.
type Process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // in clock ticks since the boot
}

// How a unit can end.
const (
	Exited  = "exited"
	Refused = "refused" // it has not run
	Lost    = "lost"
)

// End says how a unit ended.
type End struct {
	State  string    `json:"state"`
	Boot   string    `json:"boot"`
	Job    Process   `json:"job"`
	Began  time.Time `json:"began,omitzero"`
	Ended  time.Time `json:"ended"`
	Code   int       `json:"code"`
	Signal string    `json:"signal,omitempty"` // "SIGKILL"
	OOM    bool      `json:"oom,omitempty"`    // memory was what it was killed for
	Reason string    `json:"reason,omitempty"`
	Stdout int64     `json:"stdout"`
	Stderr int64     `json:"stderr"`
}

// Write gives a file of a unit its content: whoever reads it sees the old one or
// the new one, whole.
func Write(dir *os.Root, id, suffix string, content any) error {
	if err := CheckID(id); err != nil {
		return err
	}
	name := id + suffix
	f, err := dir.OpenFile(name+temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	if err := errors.Join(Encode(f, content), f.Close()); err != nil {
		return errors.Join(err, dir.Remove(name+temporary))
	}
	return dir.Rename(name+temporary, name)
}

// Full tells of an error whether it is for want of room on the disk: what it has kept
// from being done can be done when there is some again.
func Full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// Sync makes a file of a unit durable. Before, the end of the machine may leave an
// empty one, or none.
func Sync(dir *os.Root, id, suffix string) error {
	f, err := dir.Open(id + suffix)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return SyncDir(dir)
}

// SyncDir makes names of the directory durable.
func SyncDir(dir *os.Root) error {
	d, err := dir.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Read reads a file of a unit; an error that is fs.ErrNotExist says that there is
// none.
func Read(dir *os.Root, id, suffix string, content any) error {
	if err := CheckID(id); err != nil {
		return err
	}
	f, err := dir.Open(id + suffix)
	if err != nil {
		return err
	}
	defer f.Close()
	return Decode(f, content)
}

// Remove removes what there is of a unit, the record first: without that there is
// no unit, and what else is left is nobody's.
func Remove(dir *os.Root, id string) error {
	if err := CheckID(id); err != nil {
		return err
	}
	if err := removeFile(dir, id+RecordSuffix); err != nil {
		return err
	}
	return RemoveRests(dir, id)
}

// RemoveRests removes what is left of a unit beside its record.
func RemoveRests(dir *os.Root, id string) error {
	var errs []error
	for _, suffix := range []string{TraceSuffix, TraceSuffix + temporary, EndSuffix, EndSuffix + temporary, SocketSuffix} {
		errs = append(errs, removeFile(dir, id+suffix))
	}
	return errors.Join(errs...)
}

func removeFile(dir *os.Root, name string) error {
	if err := dir.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
