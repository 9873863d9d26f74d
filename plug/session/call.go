package session

import (
	"context"
	"fmt"

	"github.com/project-receptor/receptor/plug/wire"
)

// call is a request of ours that waits for its answer.
type call struct {
	id     uint32
	answer chan frame    // capacity 1
	slot   chan struct{} // where its token came from; nil: none
}

// Call sends a request and waits for the answer, RequestTimeout if ctx has no
// deadline, and unmarshals it into resp (nil: dropped). A context that ends
// sends CANCEL. A remote refusal is a *wire.Error; a lost session is ErrClosed.
//
// At most MaxRequests run at once, MaxOpens for types that open an object; Call
// waits for its turn. A withdrawn request keeps its place until it is answered.
func (s *Session) Call(ctx context.Context, t wire.Type, body, resp any) error {
	ctx, cancel := withDefault(ctx, wire.RequestTimeout)
	defer cancel()
	f, err := newFrame(t, 0, 0, body)
	if err != nil {
		return err
	}
	slot := s.requests
	if t.Opens() {
		slot = s.opens
	}
	select {
	case slot <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("plug: %s: %w", t, context.Cause(ctx))
	case <-s.done:
		return s.closed()
	}
	c, err := s.send(f, slot)
	if err != nil {
		<-slot
		return err
	}
	select {
	case f = <-c.answer:
	case <-ctx.Done():
		s.withdraw(c)
		return fmt.Errorf("plug: %s: %w", t, context.Cause(ctx))
	case <-s.done:
		select { // it may have come just before the end
		case f = <-c.answer:
		default:
			return s.closed()
		}
	}
	if f.Flags&wire.FlagError != 0 {
		return remoteError(f)
	}
	if resp == nil {
		return nil
	}
	return decode(f, resp)
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
		return nil
	}
	delete(s.calls, f.ID)
	if c.slot != nil {
		<-c.slot
	}
	c.answer <- f
	return nil
}
