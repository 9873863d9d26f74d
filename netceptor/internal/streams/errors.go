package streams

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/quic-go/quic-go"
)

// The error codes of receptor-mux/1, on streams. See docs/wire-streams.md.
const (
	codeDone           quic.StreamErrorCode = 0 // STOP_SENDING of a stream that was closed in order
	codeServiceUnknown quic.StreamErrorCode = 1
	codeRefused        quic.StreamErrorCode = 2
	codeBusy           quic.StreamErrorCode = 3
	codeReset          quic.StreamErrorCode = 4
	codeViolation      quic.StreamErrorCode = 5
	codeStale          quic.StreamErrorCode = 6 // by another connection it may be taken
)

// codeLegacyStop is the code that existing nodes use on streams.
const codeLegacyStop quic.StreamErrorCode = 499

// The error codes of connections, with both protocols.
const (
	connNormal    quic.ApplicationErrorCode = 0   // no more use for it
	connGoingAway quic.ApplicationErrorCode = 1   // the node stops
	connBusy      quic.ApplicationErrorCode = 3   // too many connections
	connReset     quic.ApplicationErrorCode = 499 // a stream of netceptor was aborted, or its node has restarted
	connLegacyErr quic.ApplicationErrorCode = 500 // what existing nodes say when a stream of netceptor cannot be had
)

// normalClose is the reason that existing nodes take for a normal end.
const normalClose = "normal close"

// lostError is the end of a stream that was not ended in order. It matches
// ErrReset.
type lostError struct {
	cause   string
	timeout bool
	conn    bool // with its whole connection
}

func (e *lostError) Error() string {
	if e.cause == "" {
		return ErrReset.Error()
	}
	return ErrReset.Error() + ": " + e.cause
}

func (e *lostError) Is(target error) bool { return target == ErrReset }

// Timeout tells that the far side was not heard of.
func (e *lostError) Timeout() bool { return e.timeout }

// Temporary is false: the stream is gone. It makes the error a net.Error.
func (e *lostError) Temporary() bool { return false }

var _ net.Error = (*lostError)(nil)

// dialError is a dial that failed, without naming quic-go's types.
type dialError struct {
	cause     string
	timeout   bool
	untrusted bool // for what TLS made of one side's certificate
}

func (e *dialError) Error() string { return "opening a stream: " + e.cause }

func (e *dialError) Is(target error) bool { return e.untrusted && target == ErrUntrusted }

// Timeout tells that no answer came.
func (e *dialError) Timeout() bool { return e.timeout }

// Temporary is false. It makes the error a net.Error.
func (e *dialError) Temporary() bool { return false }

var _ net.Error = (*dialError)(nil)

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// lost describes the end of a stream or of its connection.
func lost(err error) error {
	var s *quic.StreamError
	if errors.As(err, &s) {
		if s.ErrorCode == codeDone {
			return &lostError{cause: "it no longer reads"}
		}
		return &lostError{}
	}
	return &lostError{cause: err.Error(), timeout: isTimeout(err), conn: true}
}

// isConnLost tells that a stream ended with its connection, not by itself.
func isConnLost(err error) bool {
	var l *lostError
	return errors.As(err, &l) && l.conn
}

// refusal is what the code of a stream that was never accepted means, or nil.
func refusal(err error) error {
	var s *quic.StreamError
	if !errors.As(err, &s) || !s.Remote {
		return nil
	}
	switch s.ErrorCode {
	case codeServiceUnknown:
		return ErrServiceUnknown
	case codeRefused:
		return ErrRefused
	case codeStale:
		return errStale
	case codeBusy:
		return fmt.Errorf("%w: too many streams wait for it", ErrRefused)
	}
	return lost(err)
}

// unwelcome is what it means that a connection ended with a dialler's first stream
// for the sake of TLS: a server looks at the dialler's certificate when that takes
// the connection for made. Else it is nil.
func unwelcome(err error) error {
	var t *quic.TransportError
	if !errors.As(err, &t) || !t.Remote || !t.ErrorCode.IsCryptoError() {
		return nil
	}
	return &dialError{cause: "the service does not accept our certificate, or that there is none: " + t.Error(), untrusted: true}
}

// isUntrusted tells that a handshake failed for a certificate.
func isUntrusted(err error) bool {
	var t *quic.TransportError
	if !errors.As(err, &t) || !t.ErrorCode.IsCryptoError() {
		return false
	}
	// The alerts of TLS about certificates are 42 to 46.
	const cryptoErrors, badCertificate, certificateUnknown, unknownCA, certificateRequired = 0x100, 42, 46, 48, 116
	alert := t.ErrorCode - cryptoErrors
	return badCertificate <= alert && alert <= certificateUnknown || alert == unknownCA || alert == certificateRequired
}

// isDeadline tells that a stream's own deadline has passed.
func isDeadline(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
