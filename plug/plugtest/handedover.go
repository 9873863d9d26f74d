package plugtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// HandedOver is a socket that a plug has handed over, with a request that waits
// for its answer: Open or Refuse.
type HandedOver struct {
	*session.Request

	t      TB
	conn   net.Conn
	answer chan func() (any, error)
}

// handedOver answers LINK and DIAL on a session.
func (s *CoreSession) handedOver(ctx context.Context, r *session.Request) (any, error) {
	c, err := s.conn(r.TakeFiles())
	if err != nil {
		return nil, wire.NewError(wire.CodeInvalid, "%v", err)
	}
	h := &HandedOver{Request: r, t: s.t, conn: c, answer: make(chan func() (any, error), 1)}
	s.core.handed[r.Type] <- h
	select {
	case answer := <-h.answer:
		return answer()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// conn makes a connection of the one socket in files, which it closes.
func (s *CoreSession) conn(files []*os.File) (net.Conn, error) {
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	if len(files) != 1 {
		return nil, fmt.Errorf("%d descriptors where 1 was expected", len(files))
	}
	c, err := net.FileConn(files[0])
	if err == nil {
		s.core.own(s.life, c)
	}
	return c, err
}

// LinkBody returns the body of LINK.
func (h *HandedOver) LinkBody() (b wire.Link) {
	h.t.Helper()
	h.decode(&b)
	return b
}

// DialBody returns the body of DIAL.
func (h *HandedOver) DialBody() (b wire.Dial) {
	h.t.Helper()
	h.decode(&b)
	return b
}

func (h *HandedOver) decode(v any) {
	h.t.Helper()
	if err := h.Decode(v); err != nil {
		h.t.Fatal(err)
	}
}

// Open answers with the object's name and returns the socket, which is the
// caller's.
func (h *HandedOver) Open(object string) net.Conn {
	h.answer <- func() (any, error) { return wire.Opened{Object: object}, nil }
	return h.conn
}

// Refuse answers with err, after the socket was closed.
func (h *HandedOver) Refuse(err *wire.Error) {
	h.t.Helper()
	if e := h.conn.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
		h.t.Error(e)
	}
	h.answer <- func() (any, error) { return nil, err }
}
