package plugtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// HandedOver is a socket that a plug has handed over, with a request that waits
// for its answer: Open or Refuse.
type HandedOver struct {
	*session.Request
	body

	conn   net.Conn
	extra  func(body any) any // adds the core's extra fields
	answer chan func() (any, error)
}

// Incoming is what opens an object: a *DataConn or a *HandedOver.
type Incoming interface {
	LinkBody() wire.Link
	DialBody() wire.Dial
	Refuse(err error)
}

// handedOver answers LINK and DIAL on a session.
func (s *CoreSession) handedOver(ctx context.Context, r *session.Request) (any, error) {
	c, err := s.conn(r.TakeFiles())
	if err != nil {
		s.core.breach(fmt.Errorf("%s on the session: %w", r.Type, err))
		return nil, wire.NewError(wire.CodeInvalid, "%v", err)
	}
	h := &HandedOver{Request: r, body: body{s.t, r}, conn: c, extra: s.core.withExtra, answer: make(chan func() (any, error), 1)}
	s.core.handed[r.Type] <- h
	select {
	case answer := <-h.answer:
		return answer()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Conn makes a connection of the one connected stream socket in files, which it
// closes. The core's death closes the connection.
func (s *CoreSession) Conn(files []*os.File) (net.Conn, error) {
	c, err := s.conn(files)
	if err != nil {
		s.core.breach(err)
	}
	return c, err
}

// conn is Conn for whoever tells of a breach himself.
func (s *CoreSession) conn(files []*os.File) (net.Conn, error) {
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	if len(files) != 1 {
		return nil, fmt.Errorf("expected 1 descriptor, got %d", len(files))
	}
	c, _ := net.FileConn(files[0])
	switch c.(type) { // nil: not even a socket
	case *net.TCPConn, *net.UnixConn:
		if c.RemoteAddr() != nil && !strings.HasSuffix(c.LocalAddr().Network(), "gram") {
			s.core.own(s.life, c)
			return c, nil
		}
	}
	if c != nil {
		_ = c.Close() // a duplicate
	}
	return nil, errors.New("expected a connected stream socket, got something else")
}

// Open answers with the object's name and returns the socket, which is the
// caller's.
func (h *HandedOver) Open(object string) net.Conn {
	h.answer <- func() (any, error) { return h.extra(wire.Opened{Object: object}), nil }
	return h.conn
}

// Refuse answers with err, after the socket was closed.
func (h *HandedOver) Refuse(err error) {
	h.t.Helper()
	if e := h.conn.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
		h.t.Error(e)
	}
	h.answer <- func() (any, error) { return nil, err }
}
