package control

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
)

// conversation is one client's. All of it belongs to the goroutine of converse.
type conversation struct {
	server   *Server
	conn     net.Conn
	in       *lineReader
	local    bool
	hijacked bool
	log      hclog.Logger

	firstLine, idle time.Duration // for a line, where the client is not local
}

// converse holds a conversation and closes conn at its end.
func (s *Server) converse(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer func() { _ = conn.Close() }()

	c := &conversation{
		server: s,
		conn:   conn,
		in:     newLineReader(conn),
		log:    s.log.With("remote", conn.RemoteAddr().String()),
	}
	switch conn.LocalAddr().Network() {
	case "unix":
		c.local = true
	case "tcp":
		c.firstLine, c.idle = TCPFirstLineTimeout, TCPIdleTimeout
	default:
		c.firstLine, c.idle = FirstLineTimeout, IdleTimeout
	}
	c.log.Debug("control conversation begins")
	err := c.handshake(ctx)
	if err == nil {
		err = c.run(ctx)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	c.log.Debug("control conversation ends", "error", err)
}

// handshake speaks TLS on a connection that has it. The accept loop is not held up
// by a client that takes its time here.
func (c *conversation) handshake(ctx context.Context) error {
	t, ok := c.conn.(*tls.Conn)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	return nil
}

// run greets and answers line after line. It returns nil after a hijack, else
// what ended the conversation.
func (c *conversation) run(ctx context.Context) error {
	if err := c.write([]byte(c.server.greeting)); err != nil {
		return fmt.Errorf("send greeting: %w", err)
	}
	for wait := c.firstLine; ; wait = c.idle {
		line, err := c.readLine(wait)
		if err != nil {
			return c.sayWhy(err)
		}
		if err := c.answer(ctx, line); err != nil || c.hijacked {
			return err
		}
	}
}

func (c *conversation) readLine(wait time.Duration) ([]byte, error) {
	if !c.local {
		// A connection that cannot have deadlines says so when it is read or closed.
		_ = c.conn.SetReadDeadline(time.Now().Add(wait))
	}
	return c.in.next()
}

// sayWhy tells the client why the conversation ends, where it ends on our side,
// and reads on a little so that the text is not overtaken by a reset.
func (c *conversation) sayWhy(err error) error {
	switch {
	case errors.Is(err, errLineTooLong):
	case isTimeout(err):
		err = errors.New("no command for too long")
	default:
		return err
	}
	if werr := c.write(errorLine(err)); werr != nil {
		return errors.Join(err, werr)
	}
	if closeWrite(c.conn) == nil {
		_ = c.conn.SetReadDeadline(time.Now().Add(lingerTimeout))
		_, _ = io.CopyN(io.Discard, c.in, lingerBytes)
	}
	return err
}

// answer runs the command of one line. An error means that the client is gone.
func (c *conversation) answer(ctx context.Context, line []byte) error {
	r, err := parseRequest(line)
	if r.own {
		return c.answerOwn(ctx, r, err)
	}
	if err != nil {
		return c.write(append(errorLine(err), errorLine(errUnknownCommand)...))
	}
	run := c.server.command(r.name).Plain
	if run == nil {
		return c.write(errorLine(errUnknownCommand))
	}
	result, err := guard(c.log, r.name, func() (any, error) {
		return run(ctx, &session{conversation: c}, r.args, r.params)
	})
	if c.hijacked {
		return nil
	}
	if err != nil {
		return c.write(errorLine(err))
	}
	b, err := json.Marshal(result)
	if err != nil {
		c.log.Error("answer of a control command cannot be written", "command", r.name, "error", err)
		return c.write(errorLine(errInternal))
	}
	return c.write(append(b, '\n'))
}

// answerOwn does the same for a line in our own form, whose parse error is err.
func (c *conversation) answerOwn(ctx context.Context, r request, err error) error {
	if err != nil {
		return c.reply(r.id, "error", asError(err))
	}
	run := c.server.command(r.name).Own
	if run == nil {
		return c.reply(r.id, "error", &Error{CodeUnknownCommand, fmt.Sprintf("unknown command %.100q", r.name)})
	}
	result, err := guard(c.log, r.name, func() (any, error) {
		return run(ctx, &session{conversation: c, own: true, id: r.id}, r.ownArgs,
			func(event any) error { return c.reply(r.id, "event", event) })
	})
	if c.hijacked {
		return nil
	}
	if err != nil {
		return c.reply(r.id, "error", asError(err))
	}
	if result == nil {
		result = struct{}{}
	}
	return c.reply(r.id, "result", result)
}

// reply sends {"id":id,key:v}.
func (c *conversation) reply(id json.RawMessage, key string, v any) error {
	if id == nil {
		id = json.RawMessage("null")
	}
	b, err := json.Marshal(v)
	if err != nil {
		c.log.Error("answer of a control command cannot be written", "error", err)
		return c.reply(id, "error", &Error{CodeInternal, errInternal.Error()})
	}
	line := fmt.Appendf(nil, `{"id":%s,"%s":%s}`+"\n", id, key, b)
	return c.write(line)
}

// write sends b in chunks, each with its own time: what counts is progress.
func (c *conversation) write(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), writeChunk)
		_ = c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := c.conn.Write(b[:n]); err != nil {
			return fmt.Errorf("send answer: %w", err)
		}
		b = b[n:]
	}
	return nil
}

var errInternal = errors.New("internal error")

// guard runs a command; a panic in it costs one answer, not the node.
func guard(log hclog.Logger, name string, run func() (any, error)) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("control command panicked", "command", name, "panic", p, "stack", string(debug.Stack()))
			result, err = nil, errInternal
		}
	}()
	return run()
}

// errorLine is an error in the legacy forms, always one line.
func errorLine(err error) []byte {
	return []byte("ERROR: " + oneLine(err.Error()) + "\n")
}

func oneLine(s string) string {
	return strings.NewReplacer("\r", "", "\n", " ").Replace(s)
}

// asError is an error in our own form.
func asError(err error) *Error {
	return &Error{Code: CodeOf(err), Msg: err.Error()}
}

// session is the conversation as the command of one line sees it.
type session struct {
	*conversation
	own bool
	id  json.RawMessage
}

// Local implements Session.
func (s *session) Local() bool { return s.local }

// Hijack implements Session.
func (s *session) Hijack(line string) (io.ReadWriteCloser, error) {
	if s.hijacked {
		return nil, errors.New("the connection is taken already")
	}
	s.hijacked = true
	var err error
	if s.own {
		if line == "" {
			line = "{}"
		}
		err = s.reply(s.id, "result", json.RawMessage(line))
	} else {
		err = s.write([]byte(line + "\n"))
	}
	if err != nil {
		return nil, err
	}
	if err := s.conn.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("lift deadlines: %w", err)
	}
	return &hijacked{in: s.in, Conn: s.conn}, nil
}

// hijacked is the connection with what was read ahead.
type hijacked struct {
	in *lineReader
	net.Conn
}

// Read implements io.Reader.
func (h *hijacked) Read(b []byte) (int, error) { return h.in.Read(b) }

// CloseWrite ends the writing direction.
func (h *hijacked) CloseWrite() error { return closeWrite(h.Conn) }

// Reset aborts the connection, or closes it where its kind knows no abort.
func (h *hijacked) Reset() error {
	switch c := h.Conn.(type) {
	case interface{ Reset() error }:
		return c.Reset()
	case *tls.Conn: // its Close would look like an end in order
		return abort(c.NetConn())
	}
	return abort(h.Conn)
}

// abort closes a connection, on TCP by a reset.
func abort(conn net.Conn) error {
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // if this fails, so does what follows
	}
	return conn.Close()
}

// closeWrite ends the writing direction of a connection that has such.
func closeWrite(c any) error {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}
