package wire

import "fmt"

// The codes of an Error.
const (
	CodeVersion     = "version"
	CodeUnsupported = "unsupported"
	CodeDenied      = "denied"
	CodeExists      = "exists"
	CodeBusy        = "busy"
	CodeInvalid     = "invalid"
	CodeNotFound    = "notfound"
	CodeGone        = "gone"
	CodeTimeout     = "timeout"
	CodeUnreachable = "unreachable"
	CodeRefused     = "refused"
	CodeLimit       = "limit"
	CodeCanceled    = "canceled"
	CodeDraining    = "draining"
	CodeInternal    = "internal"
)

// The classes of an Error: what the caller should do.
const (
	ClassFix   = "fix"   // the request is wrong: change it
	ClassRetry = "retry" // the same request may work later
	ClassNever = "never" // it will never work
	ClassGone  = "gone"  // what it names is no more
)

// Error is the body of an error response and of the ERROR message. It is
// frozen across majors.
type Error struct {
	Code         string `json:"code"`
	Msg          string `json:"msg"`
	Class        string `json:"class,omitempty"`
	Path         string `json:"path,omitempty"`           // which part of the request
	Majors       []int  `json:"majors,omitempty"`         // code version: those supported
	RetryAfterMS int64  `json:"retry_after_ms,omitempty"` // class retry: not before
}

// NewError returns an Error with the class that is usual for the code. The
// arguments after it are as of fmt.Sprintf.
func NewError(code, format string, args ...any) *Error {
	return &Error{Code: code, Class: classOf(code), Msg: fmt.Sprintf(format, args...)}
}

// classOf is what the caller should do about an error of that code, where the
// side that refuses does not know better.
func classOf(code string) string {
	switch code {
	case CodeDenied, CodeInvalid:
		return ClassFix
	case CodeVersion, CodeUnsupported:
		return ClassNever
	case CodeGone:
		return ClassGone
	default:
		return ClassRetry
	}
}

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Msg }

// Timeout implements the method of net.Error that callers branch on.
func (e *Error) Timeout() bool { return e.Code == CodeTimeout }
