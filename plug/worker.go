package plug

import (
	"context"
	"os"
	"time"

	"github.com/project-receptor/receptor/plug/wire"
)

// Worker runs units of work. A plug brings one to Item.Work; to a core it is what
// an attached plug offers. Calls for different units come concurrently, and must
// return when ctx is done.
//
// A worker outlives the core, and its units outlive it. It keeps, durably and before
// it runs a unit, that it has it: a unit that it had once is never run again, and
// Start for it says what has become of it. It forgets a unit at Release only.
type Worker interface {
	// Start has a unit run. The files are the worker's from then on, to pass on and
	// to close, whatever it returns. An error says that it has not got the unit: one
	// of class retry that the same may work later, any other that the unit is refused.
	Start(ctx context.Context, s StartUnit) (wire.Unit, error)
	// Stop has a unit end: it is asked to, and killed after grace. It returns without
	// waiting for the end. A unit that there is not, or that has ended, is fine.
	Stop(ctx context.Context, unit string, grace time.Duration) error
	// Release has a unit forgotten, killed if it runs. One that there is not is fine.
	Release(ctx context.Context, unit string) error
	// Recover tells what has become of units. Those that it does not name the
	// worker has never had, or cannot say anything of.
	Recover(ctx context.Context, units []wire.KnownUnit) ([]wire.Unit, error)
}

// StartUnit is a unit to be run.
type StartUnit struct {
	wire.Start

	// Stdin is the payload, whole and at its start. Stdout and Stderr are open for
	// appending; of a unit that is Merged Stderr is nil.
	Stdin, Stdout, Stderr *os.File
}

// Files are those of the unit that are open.
func (s *StartUnit) Files() []*os.File {
	files := make([]*os.File, 0, 3)
	for _, f := range []*os.File{s.Stdin, s.Stdout, s.Stderr} {
		if f != nil {
			files = append(files, f)
		}
	}
	return files
}

// Close closes the files of the unit here. Errors of files that were only read, or
// passed on, tell nothing that their reader does not learn.
func (s *StartUnit) Close() {
	for _, f := range s.Files() {
		_ = f.Close()
	}
}

// WorkType is a type of work that an item offers.
type WorkType struct {
	Name   string
	Slots  int  // units that run at a time; 0: no limit. Others wait in the core's queue
	Params bool // the submitter may give parameters
}

// WorkerHost has work for workers: a core's units, to whoever attaches plugs.
type WorkerHost interface {
	// AttachWorker takes in a worker, whose name is for people, until Detach.
	AttachWorker(name string, w Worker) AttachedWorker
}

// AttachedWorker is a worker that a WorkerHost has. Its methods do not call the
// worker, and do not block but for Report.
type AttachedWorker interface {
	// Offer has the worker get units of a type, and asks it for those that it should
	// have from before. Another offer of the same type changes the rest.
	Offer(t OfferedWork) error
	// Withdraw ends an offer. Units that the worker has are not concerned.
	Withdraw(name string)
	// Report takes what the worker tells of a unit. It may wait for a disk.
	Report(u wire.Unit) error
	// Detach ends it. The units that the worker has go on.
	Detach()
}

// OfferedWork is a type of work as a core sees it.
type OfferedWork struct {
	WorkType
	Secure bool // work of this type must be signed
}
