package workceptor

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"time"

	"github.com/project-receptor/receptor/workceptor/internal/state"
)

// Worker is whoever runs units: for a plug with the role worker, its session. Calls
// for different units come concurrently. They must return when ctx is done.
//
// A worker outlives the node, and its units outlive it. It keeps, durably and before
// it runs a unit, that it has it: a unit that it had once is never run again, and
// Start for it says what has become of it. It forgets a unit at Release only.
type Worker interface {
	// Start has a unit run. The files are the worker's from then on, to pass on and
	// to close, whatever it returns. An error says that the unit will not run;
	// ErrUnavailable, or that of ctx, that nobody knows.
	Start(ctx context.Context, u Start) (Report, error)
	// Stop has a unit end: it is asked to, and killed after grace. It returns without
	// waiting for the end. A unit that there is not, or that has ended, is fine.
	Stop(ctx context.Context, unit string, grace time.Duration) error
	// Release has a unit forgotten, killed if it runs. One that there is not is fine.
	Release(ctx context.Context, unit string) error
	// Recover tells what has become of units. Those that it does not name the
	// worker has never had, or cannot say anything of.
	Recover(ctx context.Context, units []Known) ([]Report, error)
}

// ErrUnavailable is a worker's error when it cannot be reached: whether it has done
// what was asked is not known.
var ErrUnavailable = errors.New("the worker cannot be reached")

// Start is a unit to be run.
type Start struct {
	Unit   string
	Type   string
	Params map[string]string // secrets included

	// Stdin is the payload, at its start. Stdout and Stderr are opened for appending;
	// Merged tells that they are one file. No path is told.
	Stdin, Stdout, Stderr *os.File
	Merged                bool
}

// Known is a unit that a worker should know.
type Known struct {
	Unit   string
	Handle json.RawMessage // as it was reported
}

// Report is what a worker tells of a unit: all of it, every time, so that it does no
// harm if one is lost or comes twice.
type Report struct {
	Unit   string
	State  ReportState
	PID    int             // while it runs; 0: there is none
	Detail string          // for people, one line
	Handle json.RawMessage // comes back with Recover; 16 KiB of JSON at most
	Exit   Exit            // if it has exited
	Reason string          // if it was lost, or refused

	refusal string // the code of another node's answer, if it was refused by that

	// Stdout and Stderr are how much has been written so far. Whoever follows the
	// unit hears of output when this grows.
	Stdout, Stderr int64

	// measured is what another node has measured of both, and is here, durably; nil:
	// that is still to be found out.
	measured *[2]Output
}

// ReportState is how a unit fares at its worker.
type ReportState string

// What a worker can say of a unit.
const (
	ReportStarting ReportState = "starting" // the worker has it, and it does not run yet
	ReportRunning  ReportState = "running"
	ReportExited   ReportState = "exited"
	ReportRefused  ReportState = "refused" // it has not run and will not
	ReportLost     ReportState = "lost"    // it ran, and how it ended nobody knows

	// reportWithdrawn is what another node says: it was canceled there.
	reportWithdrawn ReportState = "withdrawn"
)

// Exit is how a process ended.
type Exit = state.Exit

// WorkType is a type of work that a worker offers.
type WorkType struct {
	Name   string
	Slots  int  // units that run at a time; 0: no limit. Others wait in a queue
	Params bool // the submitter may give parameters
	Secure bool // work of this type must be signed
}
