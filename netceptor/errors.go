package netceptor

import (
	"errors"
	"fmt"
	"net"

	"github.com/project-receptor/receptor/netceptor/internal/streams"
	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// Errors that callers branch on. Calls on addresses wrap them in a *net.OpError
// with the address. All network errors match net.ErrClosed where the local end was
// closed, and implement Timeout.
var (
	ErrNoRoute        = errors.New("no route to node")
	ErrExpired        = errors.New(wire.ProblemExpired)  // out of hops on the way
	ErrBlocked        = errors.New(wire.ProblemFirewall) // by a firewall rule, here or on the way
	ErrServiceUnknown = streams.ErrServiceUnknown
	ErrRefused        = streams.ErrRefused
	ErrReset          = streams.ErrReset
	ErrInUse          = streams.ErrInUse
	ErrTooLong        = errors.New("service name is longer than 8 bytes")
)

// opError adds to err what was being done, and with whom.
func opError(op string, addr net.Addr, err error) error {
	return &net.OpError{Op: op, Net: network, Addr: addr, Err: err}
}

// problem is the error for the problem of a notice. Its text is that of the notice.
func problem(text string) error {
	switch text {
	case wire.ProblemExpired:
		return ErrExpired
	case wire.ProblemServiceUnknown:
		return ErrServiceUnknown
	case wire.ProblemFirewall:
		return ErrBlocked
	default:
		return errors.New(text)
	}
}

// reportedError is the problem of a dial as a node reported it.
type reportedError struct {
	problem error
	node    string
}

// reported adds to a problem who reported it, where callers would not know.
func reported(problem error, node string) error {
	if errors.Is(problem, ErrServiceUnknown) {
		return problem // by the node that was dialled
	}
	return &reportedError{problem, node}
}

// Error implements error.
func (e *reportedError) Error() string {
	if errors.Is(e.problem, ErrBlocked) {
		return fmt.Sprintf("%v of node %s", e.problem, e.node)
	}
	return fmt.Sprintf("%v at node %s", e.problem, e.node)
}

// Unwrap gives the problem to errors.Is.
func (e *reportedError) Unwrap() error { return e.problem }

// timeoutError is the error of an operation that took too long; net.Error.
type timeoutError struct{}

func (timeoutError) Error() string   { return "timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }
