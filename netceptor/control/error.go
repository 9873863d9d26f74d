package control

import (
	"context"
	"errors"
	"net"
	"os"

	"github.com/project-receptor/receptor/netceptor"
)

// Codes of errors in our own form. Clients branch on them; texts may change.
const (
	CodeUnknownCommand = "unknown_command"
	CodeUnsupported    = "unsupported" // a version of our own form that we do not speak
	CodeInvalid        = "invalid"     // arguments that make no sense
	CodeNotFound       = "not_found"   // no such thing: a service, a TLS configuration
	CodeUnreachable    = "unreachable" // no way to that node
	CodeBlocked        = "blocked"     // a firewall rule, here or on the way, forbids it
	CodeRefused        = "refused"     // the remote service turned us away
	CodeUntrusted      = "untrusted"   // one side has not proven to the other who it is
	CodeTimeout        = "timeout"
	CodeCanceled       = "canceled" // the node is stopping
	CodeInternal       = "internal"
)

// Error is an error of our own form.
type Error struct {
	Code string `json:"code"`
	Msg  string `json:"msg"`
}

// Error implements error.
func (e *Error) Error() string { return e.Msg }

// ErrorCode returns the code.
func (e *Error) ErrorCode() string { return e.Code }

// CodeOf finds the code for err: that of what in it has an ErrorCode, as an *Error, or
// one for the errors of the mesh.
func CodeOf(err error) string {
	var e interface{ ErrorCode() string }
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	switch {
	case errors.Is(err, netceptor.ErrNoRoute):
		return CodeUnreachable
	case errors.Is(err, netceptor.ErrBlocked):
		return CodeBlocked
	case errors.Is(err, netceptor.ErrUntrusted):
		return CodeUntrusted
	case errors.Is(err, netceptor.ErrServiceUnknown), errors.Is(err, ErrTLSClient):
		return CodeNotFound
	case errors.Is(err, netceptor.ErrRefused), errors.Is(err, netceptor.ErrReset):
		return CodeRefused
	case isTimeout(err):
		return CodeTimeout
	case errors.Is(err, context.Canceled), errors.Is(err, net.ErrClosed):
		return CodeCanceled
	}
	return CodeInternal
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &ne) && ne.Timeout()
}
