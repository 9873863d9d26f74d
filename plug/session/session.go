// Package session is the request and response engine of a plug session, the
// same code on both sides: frames in, handlers called, answers out. It owns one
// connection after the preamble and HELLO/WELCOME have gone over it.
//
// It holds the starts of all connections as well: Attach and Open on the plug's
// side, Accept on the core's.
package session

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/project-receptor/receptor/plug/wire"
)

// farewellTimeout bounds what is written after a session was closed here, and
// the search for the other side's reason after a write has failed.
const farewellTimeout = time.Second

// Side says who numbers requests how: plugs odd, cores even.
type Side uint8

// The two sides of a session.
const (
	SidePlug Side = iota
	SideCore
)

// Request is a message from the other side that a Handler is called for. Its
// body is the handler's.
type Request struct {
	Type         wire.Type
	Body         json.RawMessage // one JSON object
	Notification bool            // no answer is sent

	// Files are the descriptors that came with the message: who knows what they
	// are. They are close-on-exec, and closed when the handler returns unless it
	// has taken them by TakeFiles.
	Files []*os.File

	reply *reply // nil: a notification
	later bool   // Later was called
}

// AnswerFunc sends the answer that a Handler would have returned. The error is
// code canceled if the other side has withdrawn the request, ErrClosed if the
// session has ended: then nobody knows of what was done. It is called once.
type AnswerFunc func(body any, err error) error

// Later lets the Handler return before there is an answer: what it returns is
// ignored then, and the answer is sent by the returned function. Until then the
// request counts, and withdrawn is called if the other side withdraws it; the
// context ends with the Handler, and the end of the session does not wait. Not for
// notifications.
func (r *Request) Later(withdrawn func()) AnswerFunc {
	r.later = true
	r.reply.later(withdrawn)
	return r.reply.send
}

// TakeFiles makes the caller the owner of Files and returns them.
func (r *Request) TakeFiles() []*os.File {
	files := r.Files
	r.Files = nil
	return files
}

// Answer is what a Handler returns to send descriptors with its response. The
// session owns those from then on, and closes them when they are sent or cannot be.
type Answer struct {
	Body   any
	Files  []*os.File // at most wire.MaxFDs
	Socket Descriptor // in place of Files: one socket, of which no file is made before
}

// send is what goes with the answer.
func (a Answer) send() []Descriptor {
	if a.Socket != nil {
		return []Descriptor{a.Socket}
	}
	return descriptors(a.Files)
}

// Descriptor is what can be sent: an open file or socket of package os or net.
type Descriptor interface {
	syscall.Conn
	io.Closer
}

func descriptors(files []*os.File) []Descriptor {
	var d []Descriptor
	for _, f := range files {
		d = append(d, f)
	}
	return d
}

// Decode unmarshals the body into v. Its error is a *wire.Error with code
// invalid, fit to be returned by a Handler.
func (r *Request) Decode(v any) error {
	if err := json.Unmarshal(r.Body, v); err != nil {
		return wire.NewError(wire.CodeInvalid, "decode %s: %v", r.Type, err)
	}
	return nil
}

// Handler answers the other side's messages. Requests run each in a goroutine
// of their own, bounded; their context ends when the other side withdraws the
// request, or the session ends. Notifications run in order on the reader, which
// waits: they must not block, and must not Call.
//
// What is returned is marshalled as the response body (nil means {}); an error
// that is not a *wire.Error is sent as code internal. Unknown types: return
// ErrUnsupported. Any other error for a notification, which has no answer,
// closes the session with that error. An Answer is a body with descriptors.
type Handler func(ctx context.Context, r *Request) (any, error)

// Config is what a Session needs.
type Config struct {
	Conn    net.Conn
	Side    Side
	Handler Handler // nil: all is unsupported

	// Prompt names requests for which Handler does not block, since it answers
	// Later. It is called for them on the reader, as for notifications, and with the
	// context of the session. Nil: none.
	Prompt func(wire.Type) bool

	// Heartbeat is how often the other side is asked for a sign of life; 0: never.
	Heartbeat time.Duration

	// OnStall, if set, is told when the other side has left a PING unanswered
	// for HeartbeatMisses intervals (true), and when it answers again (false).
	// It must not block. A stalled session goes on: only its end ends it.
	OnStall func(stalled bool)
}

// Stats counts what a session has let pass.
type Stats struct {
	UnknownNotifications uint64
	LateAnswers          uint64 // answers to nothing that was asked
	LostFiles            uint64 // messages whose descriptors did not all arrive
}

// Session is one side of a session.
type Session struct {
	conn    net.Conn
	side    Side
	handler Handler
	prompt  func(wire.Type) bool
	beat    time.Duration
	onStall func(bool)

	requests chan struct{} // a token for each of our unanswered requests
	opens    chan struct{} // the same for those that open an object
	wake     chan struct{} // tells the writer, capacity 1
	done     chan struct{} // closed by end

	mu       sync.Mutex
	nextID   uint32
	calls    map[uint32]*call  // ours, unanswered
	serving  map[uint32]*reply // theirs, unanswered
	inflight [2]int            // sizes of serving: requests, opens
	queue    []frame           // for the writer
	queued   int               // bytes in queue and in the writer's hand
	stats    Stats
	cancel   context.CancelFunc // of what handlers get; nil: not running
	stalled  bool
	ended    bool
	reason   error // why it ended
}

// New prepares a session over c.Conn, which it owns from now on. Run starts it.
func New(c Config) *Session {
	s := &Session{
		conn:     c.Conn,
		side:     c.Side,
		handler:  c.Handler,
		prompt:   c.Prompt,
		beat:     c.Heartbeat,
		onStall:  c.OnStall,
		requests: make(chan struct{}, wire.MaxRequests),
		opens:    make(chan struct{}, wire.MaxOpens),
		wake:     make(chan struct{}, 1),
		done:     make(chan struct{}),
		nextID:   firstID + 2, // firstID was HELLO
		calls:    make(map[uint32]*call),
		serving:  make(map[uint32]*reply),
	}
	if c.Side == SideCore {
		s.nextID = 2
	}
	if s.handler == nil {
		s.handler = func(context.Context, *Request) (any, error) { return nil, ErrUnsupported }
	}
	if s.prompt == nil {
		s.prompt = func(wire.Type) bool { return false }
	}
	if s.onStall == nil {
		s.onStall = func(bool) {}
	}
	return s
}

// Run reads and dispatches until the connection ends, the context is done or
// the other side breaks the protocol, waits for its handlers, and says why.
// io.EOF means that the other side closed in order, a *wire.Error that it said
// ERROR, a *ProtocolError that it was told so; nil and others are what Close
// was given, or the cause of ctx. It is called once.
func (s *Session) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { s.Close(context.Cause(ctx)) })
	defer stop()

	s.mu.Lock()
	s.cancel = cancel
	ended := s.ended
	s.mu.Unlock()

	var background, handlers sync.WaitGroup
	if !ended {
		background.Go(s.write)
		if s.beat > 0 {
			background.Go(s.heartbeat)
		}
		s.read(ctx, &handlers)
	}
	handlers.Wait()
	background.Wait()
	_ = s.conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason
}

// Done is closed when the session has ended: nothing more is sent or received.
func (s *Session) Done() <-chan struct{} { return s.done }

// Stats returns what was counted so far.
func (s *Session) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Close ends the session, with an ERROR message when err is a *wire.Error.
// What was queued is still written, if the other side reads it within a second.
// It is idempotent and does not wait: Run returns when all is over, with err.
func (s *Session) Close(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var e *wire.Error
	if errors.As(err, &e) {
		s.lastWordLocked(e)
	}
	s.endLocked(err)
}

// lastWordLocked queues ERROR, to be followed by the end.
func (s *Session) lastWordLocked(e *wire.Error) {
	if s.ended {
		return
	}
	f := errorFrame(wire.TypeError, 0, e)
	s.queue = append(s.queue, f)
	s.queued += f.size()
}

// endLocked makes this the end: no frame is queued or dispatched after it. The
// writer, if there is one, writes what is queued and closes the connection.
func (s *Session) endLocked(reason error) {
	if s.ended {
		return
	}
	s.ended, s.reason = true, reason
	close(s.done)
	if s.cancel == nil {
		s.dropLocked()
		_ = s.conn.Close()
		return
	}
	s.cancel()
	_ = s.conn.SetWriteDeadline(time.Now().Add(farewellTimeout))
	s.wakeLocked()
}

func (s *Session) end(reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(reason)
}

// closedLocked is what our own callers get after the end.
func (s *Session) closedLocked() error { return &closedError{reason: s.reason} }

func (s *Session) closed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closedLocked()
}
