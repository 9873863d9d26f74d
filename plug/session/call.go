package session

import (
	"context"
	"fmt"
	"os"

	"github.com/project-receptor/receptor/plug/wire"
)

// call is a request of ours that waits for its answer.
type call struct {
	id        uint32
	answer    chan frame    // capacity 1
	slot      chan struct{} // where its token came from; nil: none
	abandoned bool          // nobody will take the answer; guarded by Session.mu
}

// Call sends a request and waits for the answer, RequestTimeout if ctx has no
// deadline, and unmarshals it into resp (nil: dropped). A context that ends
// sends CANCEL. A remote refusal is a *wire.Error; a lost session is ErrClosed.
//
// At most MaxRequests run at once, MaxOpens for types that open an object; Call
// waits for its turn. A withdrawn request keeps its place until it is answered.
//
// Descriptors that come with the answer are closed: see CallFiles.
func (s *Session) Call(ctx context.Context, t wire.Type, body, resp any) error {
	files, err := s.call(ctx, t, body, resp, nil)
	closeFiles(files)
	return err
}

// CallFiles is Call with descriptors, at most wire.MaxFDs. The caller keeps
// files, and closes them once CallFiles has returned. It owns what is returned:
// those that came with the answer, close-on-exec; none with an error.
//
// Descriptors go over Unix sockets, on systems that can pass them, and only once
// WELCOME has granted FeatureFDPass. An answer whose descriptors were lost on
// their way is an error with code limit, as is a request whose were.
func (s *Session) CallFiles(ctx context.Context, t wire.Type, body, resp any, files []*os.File) ([]*os.File, error) {
	return s.call(ctx, t, body, resp, descriptors(files))
}

// CallSocket is CallFiles with one socket, of which no file is made before, and
// without descriptors that come back.
func (s *Session) CallSocket(ctx context.Context, t wire.Type, body, resp any, sock Descriptor) error {
	files, err := s.call(ctx, t, body, resp, []Descriptor{sock})
	closeFiles(files)
	return err
}

// call is CallFiles with whatever is open.
func (s *Session) call(ctx context.Context, t wire.Type, body, resp any, send []Descriptor) ([]*os.File, error) {
	ctx, cancel := withDefault(ctx, wire.RequestTimeout)
	defer cancel()
	f, err := newFrame(t, 0, 0, body)
	if err == nil {
		err = s.canPass(send)
	}
	if err != nil {
		return nil, err
	}
	f = f.with(send, false)
	slot := s.requests
	if t.Opens() {
		slot = s.opens
	}
	select {
	case slot <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("plug: %s: %w", t, context.Cause(ctx))
	case <-s.done:
		return nil, s.closed()
	}
	c, err := s.send(f, slot)
	if err != nil {
		<-slot
		return nil, err
	}
	select {
	case f = <-c.answer:
	case <-ctx.Done():
		s.withdraw(c)
		return nil, fmt.Errorf("plug: %s: %w", t, context.Cause(ctx))
	case <-s.done:
		select { // it may have come just before the end
		case f = <-c.answer:
		default:
			s.giveUp(c)
			return nil, s.closed()
		}
	}
	if err := f.result(resp); err != nil {
		f.release()
		return nil, err
	}
	return f.files, nil
}

// result is what an answer says: resp is filled in, or it is an error.
func (f frame) result(resp any) error {
	switch {
	case f.Flags&wire.FlagError != 0:
		return remoteError(f)
	case f.short:
		return errLost(f)
	case resp == nil:
		return nil
	}
	return decode(f, resp)
}

// canPass says why descriptors cannot be sent on this session, if they cannot.
func (s *Session) canPass(send []Descriptor) error {
	switch {
	case len(send) > wire.MaxFDs:
		return wire.NewError(wire.CodeLimit, "%d descriptors, a frame has at most %d", len(send), wire.MaxFDs)
	case len(send) > 0 && passing(s.conn) == nil:
		return wire.NewError(wire.CodeUnsupported, "this session cannot pass descriptors")
	}
	return nil
}

// errLost tells that the descriptors of f did not all arrive.
func errLost(f frame) *wire.Error {
	return wire.NewError(wire.CodeLimit, "the %d descriptors of %s did not all arrive", f.FDs, f.Type)
}

// giveUp makes nobody take c's answer: what comes with it is closed.
func (s *Session) giveUp(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveUpLocked(c)
}

func (s *Session) giveUpLocked(c *call) {
	c.abandoned = true
	select {
	case f := <-c.answer:
		f.release()
	default:
	}
}

// Notify queues a notification. It does not block; a full queue closes the
// session, as the other side has stopped reading.
func (s *Session) Notify(t wire.Type, body any) error {
	f, err := newFrame(t, 0, 0, body)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.enqueueLocked(f)
}

// send gives f an ID and queues it as a request.
func (s *Session) send(f frame, slot chan struct{}) (*call, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.calls[s.nextID] != nil || s.nextID <= firstID { // after 2^31 requests
		s.nextID += 2
	}
	f.ID = s.nextID
	s.nextID += 2
	if err := s.enqueueLocked(f); err != nil {
		return nil, err
	}
	c := &call{id: f.ID, answer: make(chan frame, 1), slot: slot}
	s.calls[f.ID] = c
	return c, nil
}

// withdraw sends CANCEL for c, unless it has just been answered.
func (s *Session) withdraw(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveUpLocked(c)
	if s.calls[c.id] != c {
		return
	}
	f, err := newFrame(wire.TypeCancel, 0, 0, wire.Cancel{ID: c.id})
	if err != nil {
		return // a number always fits
	}
	_ = s.enqueueLocked(f) // fails only after the end
}

// answered hands an answer to the call that waits for it.
func (s *Session) answered(f frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.calls[f.ID]
	if c == nil {
		s.stats.LateAnswers++
		f.release()
		return nil
	}
	if f.short {
		s.stats.LostFiles++
	}
	delete(s.calls, f.ID)
	if c.slot != nil {
		<-c.slot
	}
	if c.abandoned {
		f.release()
		return nil
	}
	c.answer <- f
	return nil
}
