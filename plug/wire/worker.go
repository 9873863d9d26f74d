package wire

import "encoding/json"

// WorkType offers a type of work, of an item. It is idempotent by Type: another
// offer of it changes the rest. There is no message that takes an offer back: it
// ends with its item, or with the session.
type WorkType struct {
	Type   string `json:"type"`
	Item   string `json:"item"`
	Slots  int    `json:"slots,omitempty"`  // units that run at a time; 0: no limit
	Params bool   `json:"params,omitempty"` // a submitter may give parameters
}

// Start has a unit run. Descriptors for its stdin, stdout and stderr come with it,
// in this order; without stderr if it is Merged. They are open files: stdin at its
// start and whole, the others for appending. It is idempotent by Unit.
type Start struct {
	Unit   string            `json:"unit"`
	Type   string            `json:"type"`
	Item   string            `json:"item"` // which offered the type
	Params map[string]string `json:"params,omitempty"`
	Merged bool              `json:"merged,omitempty"` // stderr goes to stdout
}

// Units tells how units fare, whenever that changes. At most one such request is
// unanswered: what changes meanwhile comes with the next, so that a core that is
// slow hears less often, and not late.
type Units struct {
	Units []Unit `json:"units"` // at most MaxUnits
}

// Unit is how a unit fares: all that there is to say, each time.
type Unit struct {
	Unit     string          `json:"unit"`
	State    string          `json:"state"`
	PID      int             `json:"pid,omitempty"`    // while it runs; 0: there is none
	Detail   string          `json:"detail,omitempty"` // for people, one line
	Handle   json.RawMessage `json:"handle,omitempty"` // comes back with RECOVER
	Exit     *Exit           `json:"exit,omitempty"`   // if it has exited
	Reason   string          `json:"reason,omitempty"` // if it was refused or lost, or why it was ended
	OutBytes int64           `json:"out_bytes,omitempty"`
	ErrBytes int64           `json:"err_bytes,omitempty"`
}

// The states of a unit at its worker.
const (
	UnitStarting = "starting" // the worker has it, and it does not run yet
	UnitRunning  = "running"
	UnitExited   = "exited"
	UnitRefused  = "refused" // it has not run and will not
	UnitLost     = "lost"    // it ran, and how it ended nobody knows
)

// Exit is how a process ended.
type Exit struct {
	Code      int    `json:"code"`             // meaningless with a signal
	Signal    string `json:"signal,omitempty"` // "SIGKILL"
	OOMKilled bool   `json:"oom_killed,omitempty"`
}

// Stop has a unit end: it is asked to, and killed after the grace. The answer does
// not wait for the end. A unit that there is not, or that has ended, is fine.
type Stop struct {
	Unit    string `json:"unit"`
	GraceMS int64  `json:"grace_ms"`
}

// Release has a unit forgotten, killed if it runs. One that there is not is fine.
type Release struct {
	Unit string `json:"unit"`
}

// Recover asks what has become of units.
type Recover struct {
	Units []KnownUnit `json:"units"` // at most MaxUnits
}

// KnownUnit is a unit that the worker should have.
type KnownUnit struct {
	Unit   string          `json:"unit"`
	Handle json.RawMessage `json:"handle,omitempty"` // as it was told
}

// Recovered answers Recover. Units that it does not name the worker has never had,
// or cannot say anything of. Handles are left out.
type Recovered struct {
	Units []Unit `json:"units"`
}
