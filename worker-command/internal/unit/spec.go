package unit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Descriptors that a supervisor is started with.
const (
	SpecFD   = 3 + iota // Spec, as JSON
	DirFD               // the state directory
	LockFD              // the record of the unit, locked
	ListenFD            // the socket that it listens on
	StdinFD             // those of the unit
	StdoutFD
	StderrFD // the same file as StdoutFD if they are merged
)

// Spec is what a supervisor is told of the unit that it runs.
type Spec struct {
	Record

	Path      string        `json:"path"` // of the program
	Args      []string      `json:"args"` // the first is its name
	Env       []string      `json:"env"`
	Directory string        `json:"directory"`
	User      *User         `json:"user,omitempty"` // nil: that of the plug
	Timeout   time.Duration `json:"timeout,omitempty"`
	Grace     time.Duration `json:"grace"` // after which it is killed when Timeout has ended it
	Limits    []RLimit      `json:"limits,omitempty"`
}

// User is who a unit runs as.
type User struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups"`
}

// RLimit is a resource limit of the system, for each process of a unit.
type RLimit struct {
	Resource int    `json:"resource"`
	Value    uint64 `json:"value"`
}

// MaxSpec bounds what a supervisor is told: arguments and environment together have
// less than that room in any system.
const MaxSpec = 8 << 20

// Encode writes v as JSON.
func Encode(f io.Writer, v any) error { return json.NewEncoder(f).Encode(v) }

// ErrDamaged says that a file of a unit is not what was written.
var ErrDamaged = errors.New("it is damaged")

// Decode reads the JSON that f has.
func Decode(f io.Reader, v any) error {
	limit := int64(maxFile)
	if _, ok := v.(*Spec); ok {
		limit = MaxSpec
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return err
	}
	if int64(len(data)) > limit {
		return fmt.Errorf("%w: it is longer than %d bytes", ErrDamaged, limit)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}

// Told is what a supervisor tells a plug: all of it, every time. With the first one
// come descriptors: for stdout, and for stderr unless they are merged, the end of the
// pipe that is read and the file that is written, so that the plug can save what is
// in the pipe when the supervisor is killed.
type Told struct {
	Job     Process `json:"job"` // zero: not yet
	Stdout  int64   `json:"stdout"`
	Stderr  int64   `json:"stderr"`
	Trouble string  `json:"trouble,omitempty"` // what it waits for
}

// Order is what a plug tells a supervisor: to end the unit.
type Order struct {
	Grace time.Duration `json:"grace"` // 0: kill it now
}

// MaxMessage bounds a Told or an Order.
const MaxMessage = 4 << 10
