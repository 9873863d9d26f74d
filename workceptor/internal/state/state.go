// Package state is the life of a unit of work as a pure machine: a unit and an
// event give the unit after it. There is no clock, no disk and no worker in it.
//
//	Pending ──► Running ──► Succeeded, Failed, Canceled, Lost
//	   └──────────────────────────────▲
//
// What holds, whatever events come in whatever order:
//
//   - a state never goes backwards, and a final state never changes again, in no
//     field: late and repeated reports are normal and change nothing;
//   - once a cancel was asked for, the unit ends as Canceled and as nothing else.
//     What else is known of its end (exit, reason) is kept beside that;
//   - Rev grows by one with every change and not otherwise. So of two versions of a
//     unit the later is known, which is what the journal goes by.
//
// Units are values: Next never changes the unit that it is given.
package state

// State is where a unit is in its life. The texts are those of our own form.
type State string

// States of a unit.
const (
	Pending   State = "pending"
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Canceled  State = "canceled"
	Lost      State = "lost" // it ran, or may have, and nobody knows how it ended
)

// Final tells whether s is one of the four that a unit ends in.
func (s State) Final() bool { return s.rank() == 2 }

// rank orders states: a unit's never falls. Unknown ones have none.
func (s State) rank() int {
	switch s {
	case Pending:
		return 0
	case Running:
		return 1
	case Succeeded, Failed, Canceled, Lost:
		return 2
	}
	return -1
}

// Phase is what a pending unit waits for.
type Phase string

// Phases of a pending unit; others have none.
const (
	Receiving Phase = "receiving" // its payload
	Queued    Phase = "queued"    // a worker and a slot
	Starting  Phase = "starting"  // the worker's word that it runs
)
