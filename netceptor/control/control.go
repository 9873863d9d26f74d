// Package control is the control conversation of a node: a greeting, then
// commands, one a line, answered in order, one at a time.
//
// A command may be given in three forms:
//
//	ping beta                                               plain
//	{"command":"ping","target":"beta"}                      legacy JSON
//	{"v":1,"id":7,"command":"ping","args":{"node":"beta"}}  our own
//
// The first two answer as legacy nodes do, to the byte; the third says what
// those cannot. Commands register with a Server, which knows only lines; the
// package brings ping, traceroute, status, connect and explain (NodeCommands).
//
// A conversation belongs to one goroutine, which reads a line, runs its command
// and writes the answer. So a client that does not read its answers is not read
// from either, and no client costs more than one goroutine, one line and one
// answer at a time. What a conversation may use is bounded by the constants of
// limits.go.
//
// docs/control.md is the description for users and client authors.
package control

import (
	"context"
	"encoding/json"
	"io"
)

// Command is one command of the conversation. Its functions run in the
// conversation's goroutine and must return when ctx is done. A command without
// one of the two functions is unknown in those forms.
type Command struct {
	Name string // lower case

	// Plain answers the legacy forms: exactly one of args (the rest of a plain
	// line) and params (a JSON line's keys but "command") is set. The result is
	// marshalled as one line; an error becomes "ERROR: text".
	Plain func(ctx context.Context, s Session, args *string, params map[string]json.RawMessage) (any, error)

	// Own answers our own form; args is a JSON object, {} if none were given. emit
	// sends an event and must not be called concurrently; its error means that the
	// client is gone. The result is marshalled, nil as {}. CodeOf finds the code of
	// an error.
	Own func(ctx context.Context, s Session, args json.RawMessage, emit func(any) error) (any, error)
}

// Session is what a command may know and do of the conversation it is called in. It
// has no name of its own, so that others can have commands without this package.
type Session = interface {
	// Local tells whether the client is on a Unix socket of this node.
	Local() bool
	// Hijack gives the connection to the command, with what was read ahead, after
	// line has been sent. In our own form line is the JSON of the result (empty:
	// {}). The conversation is over when the command returns, and what it returns
	// is ignored. The connection has CloseWrite, which ends the writing direction,
	// and Reset, which aborts where its kind can do so.
	Hijack(line string) (io.ReadWriteCloser, error)
}
