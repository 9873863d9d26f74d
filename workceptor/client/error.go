package client

import (
	"errors"
	"fmt"
)

// Errors that a node answers with, for errors.Is. In the first group the job is fine,
// and would be taken later, or by another node; in the second it would not; those of
// the third are of units that there are not.
var (
	ErrUnreachable = errors.New("there is no way to the node that is to run it")
	ErrDraining    = errors.New("the node is draining and takes no new work")
	ErrNoRoom      = errors.New("the node has no room for new work")

	ErrUnknownType = errors.New("unknown work type")
	ErrDenied      = errors.New("not permitted")
	ErrInvalid     = errors.New("invalid request")

	ErrNotFound = errors.New("no such unit")
	ErrGone     = errors.New("the unit has been released")
)

// Errors of the client itself.
var (
	// ErrLegacy says that the node does not know our own form of the conversation.
	ErrLegacy = errors.New("the node speaks only the legacy forms")
	// ErrLost says that the node could not be reached, or answered no more.
	ErrLost = errors.New("the node cannot be reached")
	// ErrDamaged says that what was received is not what the unit has written.
	ErrDamaged = errors.New("the results are damaged")
)

// Error is what a node answered instead of a result: one of the errors above, or
// something that no code is known for here. The text is for people.
type Error struct {
	Code string `json:"code"` // docs/control.md and docs/work.md have them
	Msg  string `json:"msg"`
}

// Error implements error.
func (e *Error) Error() string { return e.Msg }

// Is has the codes be those of the errors above.
func (e *Error) Is(target error) bool { return target != nil && target == codes[e.Code] }

// Refusal returns why the node that was to run a unit has not taken it: an *Error, with
// the same classes as if it had been asked itself. nil: it has, or has not answered yet.
func Refusal(u Status) error {
	if u.Refusal == "" {
		return nil
	}
	return &Error{Code: u.Refusal, Msg: u.Reason}
}

var codes = map[string]error{
	"unreachable":  ErrUnreachable,
	"draining":     ErrDraining,
	"no_room":      ErrNoRoom,
	"unknown_type": ErrUnknownType,
	"denied":       ErrDenied,
	"invalid":      ErrInvalid,
	"not_found":    ErrNotFound,
	"gone":         ErrGone,
}

// codeCanceled is the answer of a node that is stopping: the next one may do it.
const codeCanceled = "canceled"

// PayloadError says that a payload did not get to the node whole, and cannot be sent
// again. The unit waits for it, if its submission was chosen by the caller, who may
// submit again with a fresh payload.
type PayloadError struct {
	Unit, Submission string
	Err              error
}

// Error implements error.
func (e *PayloadError) Error() string {
	return fmt.Sprintf("payload of unit %s: %v", e.Unit, e.Err)
}

// Unwrap returns what was wrong.
func (e *PayloadError) Unwrap() error { return e.Err }

// lostError is a conversation that was cut, or did not begin: it may be held again.
type lostError struct{ err error }

func lost(doing string, err error) error { return &lostError{fmt.Errorf("%s: %w", doing, err)} }

// Error implements error.
func (e *lostError) Error() string { return ErrLost.Error() + ": " + e.err.Error() }

// Unwrap has it be ErrLost.
func (e *lostError) Unwrap() []error { return []error{ErrLost, e.err} }
