// Package control is the control conversation of a node: a greeting, then
// commands, one a line, in the legacy forms and in our own. Commands register;
// the package brings ping, status and connect.
//
// docs/control.md is the description for users.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"

	"github.com/hashicorp/go-hclog"
)

var errStub = errors.New("not built yet")

// Command is one command of the conversation. It uses standard types only, so
// that other modules can bring commands without importing this one.
type Command struct {
	Name string // lower case

	// Plain answers the legacy forms: exactly one of args (the rest of a plain
	// line) and params (a JSON line's keys) is set. The result is marshalled as
	// one line; an error becomes "ERROR: text".
	Plain func(ctx context.Context, s Session, args *string, params map[string]json.RawMessage) (any, error)

	// Own answers our own form; emit sends an event. An *Error carries a code.
	Own func(ctx context.Context, s Session, args json.RawMessage, emit func(any) error) (any, error)
}

// Session is what a command may know and do of the conversation it is called in.
type Session interface {
	// Local tells whether the client is on a Unix socket of this node.
	Local() bool
	// Hijack gives the connection to the command, with what was read ahead, after
	// line has been sent; the conversation is over when the command returns.
	Hijack(line string) (io.ReadWriteCloser, error)
}

// Error is an error of our own form.
type Error struct {
	Code string `json:"code"`
	Msg  string `json:"msg"`
}

// Error implements error.
func (e *Error) Error() string { return e.Msg }

// Server holds conversations.
type Server struct{}

// Config is what a Server needs.
type Config struct {
	NodeID string // for the greeting
	Logger hclog.Logger
}

// New makes a server without commands.
func New(c Config) *Server { return &Server{} }

// Register adds a command; the last one of a name wins.
func (s *Server) Register(c Command) {}

// Serve holds a conversation with each connection that l accepts, at most
// MaxSessions at once, until ctx is done; it closes l and waits.
func (s *Server) Serve(ctx context.Context, l net.Listener) error { return errStub }
