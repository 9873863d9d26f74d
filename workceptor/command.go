package workceptor

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/project-receptor/receptor/workceptor/internal/signing"
)

// Session is what the command work needs of the control conversation that it is
// called in. It is the type of that name in package netceptor/control, too, so that
// the functions of a Command can be registered there as they are.
type Session = interface {
	// Local tells whether the client is on a Unix socket of this node.
	Local() bool
	// Hijack gives the connection to the command, after line has been sent. It has
	// CloseWrite and Reset where its kind has.
	Hijack(line string) (io.ReadWriteCloser, error)
}

// Command is the command work of the control conversation, for which Plain and Own
// are the functions to register.
type Command struct{ w *Workceptor }

// Command returns the command for the units of w.
func (w *Workceptor) Command() *Command { return &Command{w: w} }

// Codes of CommandError, beside those that the conversation has.
const (
	CodeInvalid     = "invalid"
	CodeNotFound    = "not_found"    // there is no such unit
	CodeGone        = "gone"         // released, or nobody has it any more
	CodeUnknownType = "unknown_type" // nobody offers such work here
	CodeUnreachable = "unreachable"  // there is no way to the other node now
	CodeNoRoom      = "no_room"      // try again later, or elsewhere
	CodeDraining    = "draining"     // likewise
	CodeDenied      = "denied"
	CodeCanceled    = "canceled" // the node is stopping
	CodeInternal    = "internal"
)

// CommandError is an error of our own form.
type CommandError struct {
	Code string `json:"code"`
	Msg  string `json:"msg"`
}

// Error implements error.
func (e *CommandError) Error() string { return e.Msg }

// ErrorCode returns the code, for the control conversation.
func (e *CommandError) ErrorCode() string { return e.Code }

// commandError is err with the code for it.
func commandError(err error) *CommandError {
	var e *CommandError
	if errors.As(err, &e) {
		return e
	}
	code := CodeInternal
	switch {
	case errors.Is(err, ErrUnknownUnit):
		code = CodeNotFound
	case errors.Is(err, ErrUnknownType):
		code = CodeUnknownType
	case errors.Is(err, ErrUnknownNode):
		code = CodeUnreachable
	case errors.Is(err, ErrReleased):
		code = CodeGone
	case errors.Is(err, ErrNoRoom):
		code = CodeNoRoom
	case errors.Is(err, ErrDraining):
		code = CodeDraining
	case errors.Is(err, ErrInvalid), errors.Is(err, ErrUnknownTLS):
		code = CodeInvalid
	case errors.Is(err, errNoSigningKey):
		code = CodeDenied
	case errors.Is(err, context.Canceled):
		code = CodeCanceled
	}
	return &CommandError{Code: code, Msg: err.Error()}
}

// payloadIdle is how long a client that is not local may be silent in the middle of
// its payload. Links may be away for a while.
const payloadIdle = 30 * time.Minute

// idleReader reads from a connection that must not be silent for too long.
type idleReader struct {
	io.Reader
	deadline func(time.Time) error // nil: it may
}

func newIdleReader(s Session, conn io.Reader) io.Reader {
	r := idleReader{Reader: conn}
	if c, ok := conn.(interface{ SetReadDeadline(time.Time) error }); ok && !s.Local() {
		r.deadline = c.SetReadDeadline
	}
	return r
}

// Read implements io.Reader.
func (r idleReader) Read(b []byte) (int, error) {
	if r.deadline != nil {
		// A connection that cannot have deadlines says so when it is read.
		_ = r.deadline(time.Now().Add(payloadIdle))
	}
	return r.Reader.Read(b)
}

// drain reads on a little, so that a last word is not overtaken by a reset.
func drain(conn io.ReadWriteCloser) {
	const most = 4 << 20
	if c, ok := conn.(interface{ CloseWrite() error }); !ok || c.CloseWrite() != nil {
		return
	}
	if c, ok := conn.(interface{ SetReadDeadline(time.Time) error }); ok {
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
	}
	_, _ = io.CopyN(io.Discard, conn, most)
}

// reset aborts a connection: what was sent on it must not look whole.
func reset(conn io.ReadWriteCloser) {
	if c, ok := conn.(interface{ Reset() error }); ok {
		_ = c.Reset()
		return
	}
	_ = conn.Close()
}

// untilReset returns a context that is done when the client is gone: it says no more,
// and the end of what it says is not the end of its listening. The function ends
// that; the connection is closed before.
func untilReset(ctx context.Context, conn io.Reader) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	read := make(chan struct{})
	go func() {
		defer close(read)
		if _, err := io.Copy(io.Discard, conn); err != nil {
			cancel()
		}
	}()
	return ctx, func() {
		cancel()
		<-read
	}
}

// verify checks a signature.
type verify func(key *rsa.PublicKey, node, token string) error

// legacySignature is for requests in the legacy forms.
func (c *Command) legacySignature(key *rsa.PublicKey, node, token string) error {
	return signing.VerifyLegacy(key, node, token, c.w.c.Now())
}

// signatureOf is for those in our own form: of this request and no other.
func (c *Command) signatureOf(r signing.Request) verify {
	return func(key *rsa.PublicKey, node, token string) error {
		return signing.Verify(key, node, token, r, c.w.nonces)
	}
}

// authorize tells whether a request for work may be made.
func (c *Command) authorize(s Session, secure bool, signature string, check verify) error {
	switch {
	case !secure && signature != "":
		return &CommandError{CodeDenied, "work type did not expect a signature"}
	case !secure || s.Local():
		return nil
	case signature == "":
		return errNoSignature
	case c.w.c.VerifyingKey == nil:
		return &CommandError{CodeDenied, "could not verify signature: verifying key not specified"}
	}
	if err := check(c.w.c.VerifyingKey, c.w.c.NodeID, signature); err != nil {
		return &CommandError{CodeDenied, "could not verify signature: " + err.Error()}
	}
	return nil
}

// errNoSignature has the words of legacy nodes.
var errNoSignature = &CommandError{CodeDenied, "could not verify signature: signature is empty"}

// isSecure tells whether work of a type here must be signed.
func (c *Command) isSecure(typ string) bool {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	t := c.w.types[typ]
	return t != nil && t.Secure
}

// maySign tells whether this node signs for a client.
func (c *Command) maySign(s Session) error {
	switch {
	case !s.Local():
		return &CommandError{CodeDenied, "a node signs work for clients on its Unix socket only"}
	case c.w.c.SigningKey == nil:
		return errNoSigningKey
	}
	return nil
}

// unknownUnit is err as clients know it: a released unit is unknown to them.
func unknownUnit(id string, err error) error {
	if gone(err) {
		return fmt.Errorf("%w %s", ErrUnknownUnit, id)
	}
	return err
}

// isLocal tells whether a name is that of this node.
func (c *Command) isLocal(node string) bool {
	return node == c.w.c.NodeID || strings.EqualFold(node, "localhost")
}

// jsonString decodes raw if it is a string; null is none.
func jsonString(raw json.RawMessage) (s string, ok bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal(raw, &s) == nil
}
