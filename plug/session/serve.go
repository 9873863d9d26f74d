package session

import (
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
	r := bufferedReader(s.conn)
	defer r.close()
	for {
		f, err := r.frame(wire.MaxBody)
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

// dispatch does what one frame asks for, and owns its descriptors. An error ends
// the session.
func (s *Session) dispatch(ctx context.Context, handlers *sync.WaitGroup, f frame) error {
	switch {
	case s.hasEnded():
		f.release()
		return net.ErrClosed // the reason is known already
	case f.isError():
		f.release()
		return remoteError(f)
	case f.Flags&wire.FlagResponse != 0:
		return s.answered(f)
	case f.ID == 0:
		return s.notified(ctx, f)
	case (f.ID%2 == 0) != (s.side == SidePlug):
		f.release()
		return protocolErrorf("request id %d of %s has the wrong parity", f.ID, f.Type)
	case f.Type == wire.TypePing:
		f.release()
		_ = s.answer(f.Header, Answer{}, nil) // without anybody who waits for it that is all
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
	if f.short {
		s.lostFiles() // there is no answer to say so
		return nil
	}
	if f.Type == wire.TypeCancel {
		f.release()
		var c wire.Cancel
		if err := decode(f, &c); err != nil {
			return protocolErrorf("%v", err)
		}
		s.canceled(c.ID)
		return nil
	}
	r := &Request{Type: f.Type, Body: f.body, Notification: true, Files: f.files}
	body, err := s.handle(ctx, r)
	body.release()
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

// handle runs the handler for r, whose descriptors it owns.
func (s *Session) handle(ctx context.Context, r *Request) (Answer, error) {
	defer func() { closeFiles(r.Files) }() // those that were not taken
	body, err := s.handler(ctx, r)
	if a, ok := body.(Answer); ok {
		return a, err
	}
	return Answer{Body: body}, err
}

// release closes the descriptors of an answer that is not sent.
func (a Answer) release() { closeFiles(a.send()) }

func (s *Session) lostFiles() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.LostFiles++
}

// canceled withdraws a request of the other side. Its handler goes on until it
// sees its context, and the request counts until then.
func (s *Session) canceled(id uint32) {
	s.mu.Lock()
	p := s.serving[id]
	if p == nil || p.withdrawn {
		s.mu.Unlock()
		return
	}
	p.withdrawn = true
	withdraw := p.withdraw
	s.mu.Unlock()
	withdraw()
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
		f.release()
		return protocolErrorf("request id %d of %s is in use", f.ID, f.Type)
	}
	if f.short {
		s.stats.LostFiles++
		s.mu.Unlock()
		_ = s.answer(f.Header, Answer{}, errLost(f))
		return nil
	}
	if s.inflight[index] == limit {
		s.mu.Unlock()
		f.release()
		_ = s.answer(f.Header, Answer{}, wire.NewError(wire.CodeBusy, "%d requests are unanswered", limit))
		return nil
	}
	p := &reply{session: s, to: f.Header, class: index, withdraw: func() {}}
	s.serving[f.ID] = p
	s.inflight[index]++
	s.mu.Unlock()

	r := &Request{Type: f.Type, Body: f.body, Files: f.files, reply: p}
	if s.prompt(f.Type) {
		s.serve(ctx, r)
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	p.later(cancel)
	handlers.Go(func() {
		defer cancel()
		s.serve(ctx, r)
	})
	return nil
}

// serve runs the handler for a request, and answers it unless that comes later.
func (s *Session) serve(ctx context.Context, r *Request) {
	a, err := s.handle(ctx, r)
	if r.later {
		a.release()
		return
	}
	_ = r.reply.send(a, err) // without anybody who waits for it that is all
}

// reply is where the answer to a request of the other side goes.
type reply struct {
	session *Session
	to      wire.Header // the request's
	class   int         // of class

	// Guarded by Session.mu.
	withdraw  func() // called when the other side withdraws the request
	withdrawn bool
}

// later says what is called when the request is withdrawn.
func (p *reply) later(withdraw func()) {
	p.session.mu.Lock()
	p.withdraw = withdraw
	withdrawn := p.withdrawn // already
	p.session.mu.Unlock()
	if withdrawn {
		withdraw()
	}
}

// send is an AnswerFunc.
func (p *reply) send(body any, err error) error {
	s := p.session
	s.mu.Lock()
	withdrawn := p.withdrawn
	delete(s.serving, p.to.ID)
	s.inflight[p.class]--
	s.mu.Unlock()
	a, ok := body.(Answer)
	if !ok {
		a = Answer{Body: body}
	}
	if withdrawn {
		err = wire.NewError(wire.CodeCanceled, "%s was withdrawn", p.to.Type)
		_ = s.answer(p.to, a, err) // after the end it needs none
		return err
	}
	return s.answer(p.to, a, err)
}

// answer queues the answer to a request: err if that is not nil, else a. It owns
// the descriptors of a. It fails if the session has ended.
func (s *Session) answer(to wire.Header, a Answer, err error) error {
	var r frame
	if err == nil {
		err = s.canPass(a.send())
	}
	if err == nil {
		r, err = newFrame(to.Type, wire.FlagResponse, to.ID, a.Body)
	}
	if err == nil {
		r = r.with(a.send(), true)
	} else {
		a.release()
		r = errorFrame(to.Type, to.ID, asWireError(err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enqueueLocked(r); err != nil {
		r.release()
		return err
	}
	return nil
}
