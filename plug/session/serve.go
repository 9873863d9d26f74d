package session

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/project-receptor/receptor/plug/wire"
)

// read is the reader: it runs until the end.
func (s *Session) read(ctx context.Context, handlers *sync.WaitGroup) {
	r := bufio.NewReader(s.conn)
	for {
		f, err := readFrame(r, wire.MaxBody)
		if err == nil {
			err = s.dispatch(ctx, handlers, f)
		}
		var broken *ProtocolError
		switch {
		case err == nil:
			continue
		case errors.As(err, &broken):
			s.refuse(broken)
		case errors.Is(err, syscall.ECONNRESET):
			// How a Unix socket tells that the other side closed with bytes of
			// ours unread. For a session that is an end like any other.
			s.end(io.EOF)
		default:
			s.end(err)
		}
		return
	}
}

// refuse ends the session for a breach of the protocol.
func (s *Session) refuse(e *ProtocolError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastWordLocked(wire.NewError(wire.CodeInvalid, "%s", e.Reason))
	s.endLocked(e)
}

// dispatch does what one frame asks for. An error ends the session.
func (s *Session) dispatch(ctx context.Context, handlers *sync.WaitGroup, f frame) error {
	switch {
	case s.hasEnded():
		return net.ErrClosed // the reason is known already
	case f.isError():
		return remoteError(f)
	case f.Flags&wire.FlagResponse != 0:
		return s.answered(f)
	case f.ID == 0:
		return s.notified(ctx, f)
	case (f.ID%2 == 0) != (s.side == SidePlug):
		return protocolErrorf("request id %d of %s has the wrong parity", f.ID, f.Type)
	case f.Type == wire.TypePing:
		s.answer(f, nil, nil)
		return nil
	}
	return s.requested(ctx, handlers, f)
}

func (s *Session) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// notified handles a notification.
func (s *Session) notified(ctx context.Context, f frame) error {
	if f.Type == wire.TypeCancel {
		var c wire.Cancel
		if err := decode(f, &c); err != nil {
			return protocolErrorf("%v", err)
		}
		s.canceled(c.ID)
		return nil
	}
	_, err := s.handler(ctx, &Request{Type: f.Type, Body: f.body, Notification: true})
	var e *wire.Error
	switch {
	case err == nil:
	case errors.As(err, &e) && e.Code == wire.CodeUnsupported:
		s.mu.Lock()
		s.stats.UnknownNotifications++
		s.mu.Unlock()
	default:
		s.Close(asWireError(err))
	}
	return nil
}

// canceled withdraws a request of the other side. Its handler goes on until it
// sees its context, and the request counts until then.
func (s *Session) canceled(id uint32) {
	s.mu.Lock()
	cancel := s.serving[id]
	if cancel != nil {
		s.serving[id] = nil
	}
	s.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

// class is the index of t in inflight, and how many there may be.
func class(t wire.Type) (index, limit int) {
	if t.Opens() {
		return 1, wire.MaxOpens
	}
	return 0, wire.MaxRequests
}

// requested runs the handler for a request.
func (s *Session) requested(ctx context.Context, handlers *sync.WaitGroup, f frame) error {
	index, limit := class(f.Type)
	s.mu.Lock()
	if _, twice := s.serving[f.ID]; twice {
		s.mu.Unlock()
		return protocolErrorf("request id %d of %s is in use", f.ID, f.Type)
	}
	if s.inflight[index] == limit {
		s.mu.Unlock()
		s.answer(f, nil, wire.NewError(wire.CodeBusy, "%d requests are unanswered", limit))
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	s.serving[f.ID] = cancel
	s.inflight[index]++
	s.mu.Unlock()

	handlers.Go(func() {
		defer cancel()
		body, err := s.handler(ctx, &Request{Type: f.Type, Body: f.body})
		s.mu.Lock()
		withdrawn := s.serving[f.ID] == nil
		delete(s.serving, f.ID)
		s.inflight[index]--
		s.mu.Unlock()
		if withdrawn {
			body, err = nil, wire.NewError(wire.CodeCanceled, "%s was withdrawn", f.Type)
		}
		s.answer(f, body, err)
	})
	return nil
}

// answer queues the answer to the request f.
func (s *Session) answer(f frame, body any, err error) {
	var r frame
	if err == nil {
		r, err = newFrame(f.Type, wire.FlagResponse, f.ID, body)
	}
	if err != nil {
		r = errorFrame(f.Type, f.ID, asWireError(err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.enqueueLocked(r) // fails only after the end, when nobody waits for it
}
