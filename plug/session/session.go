// Package session is the request and response engine of a plug session, the
// same code on both sides: frames in, handlers called, answers out. It owns one
// connection after the preamble and HELLO/WELCOME have gone over it.
package session

import (
	"context"
	"encoding/json"
	"errors"
	"net"

	"github.com/project-receptor/receptor/plug/wire"
)

var errStub = errors.New("not built yet")

// Side says who numbers requests how: plugs odd, cores even.
type Side uint8

// The two sides of a session.
const (
	SidePlug Side = iota
	SideCore
)

// Request is a message from the other side that a Handler is called for.
type Request struct {
	Type         wire.Type
	Body         json.RawMessage
	Notification bool // no answer is sent
}

// Handler answers the other side's messages. Requests run each in a goroutine
// of their own, bounded; notifications run in order on the reader. The returned
// value is marshalled as the response body (nil means {}); an error that is not
// a *wire.Error is sent as code internal. Unknown types: return
// ErrUnsupported.
type Handler func(ctx context.Context, r *Request) (any, error)

// Config is what a Session needs.
type Config struct {
	Conn    net.Conn
	Side    Side
	Handler Handler
}

// Session is one side of a session.
type Session struct{}

// New prepares a session over c.Conn, which it owns from now on. Run starts it.
func New(c Config) *Session { return &Session{} }

// Run reads and dispatches until the connection ends, the context is done or
// the other side breaks the protocol, waits for its handlers, and says why.
// io.EOF means that the other side closed in order.
func (s *Session) Run(ctx context.Context) error { return errStub }

// Call sends a request and waits for the answer, which it unmarshals into resp
// (nil: dropped). A context that ends sends CANCEL. A remote refusal is a
// *wire.Error; a lost session is ErrClosed.
func (s *Session) Call(ctx context.Context, t wire.Type, body, resp any) error { return errStub }

// Notify queues a notification. It does not block; a full queue closes the
// session, as the other side has stopped reading.
func (s *Session) Notify(t wire.Type, body any) error { return errStub }

// Close ends the session with an ERROR message when err is a *wire.Error.
// It is idempotent; Run returns.
func (s *Session) Close(err error) {}

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return nil }
