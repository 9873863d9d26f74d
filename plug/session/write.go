package session

import (
	"errors"
	"fmt"
	"time"

	"github.com/project-receptor/receptor/plug/wire"
)

func (s *Session) wakeLocked() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// enqueueLocked hands f to the writer. One frame always fits an empty queue.
func (s *Session) enqueueLocked(f frame) error {
	if s.ended {
		return s.closedLocked()
	}
	if s.queued > 0 && s.queued+f.size() > wire.MaxQueue {
		s.dropLocked()
		s.endLocked(wire.NewError(wire.CodeLimit, "%d bytes wait, the other side does not read", s.queued))
		_ = s.conn.Close()
		return s.closedLocked()
	}
	s.queue = append(s.queue, f)
	s.queued += f.size()
	s.wakeLocked()
	return nil
}

// dropLocked drops what has not been written.
func (s *Session) dropLocked() {
	for _, f := range s.queue {
		f.release()
	}
	s.queue = nil
}

// write is the writer: it alone writes to the connection.
func (s *Session) write() {
	for {
		s.mu.Lock()
		frames, ended := s.queue, s.ended
		s.queue = nil
		s.mu.Unlock()
		for i, f := range frames {
			err := writeFrame(s.conn, f, s.done)
			if errors.Is(err, errNotSent) {
				err = s.notSent(f)
			}
			if err != nil {
				for _, f := range frames[i+1:] {
					f.release()
				}
				s.writeFailed(err)
				return
			}
			s.mu.Lock()
			s.queued -= f.size()
			s.mu.Unlock()
		}
		if ended {
			_ = s.conn.Close() // unblocks the reader
			return
		}
		<-s.wake
	}
}

// notSent fails a frame whose descriptors cannot be sent, and only that: a
// request of ours here, an answer on the other side.
func (s *Session) notSent(f frame) error {
	failed := errorFrame(f.Type, f.ID, wire.NewError(wire.CodeLimit, "the descriptors of %s cannot be sent", f.Type))
	if f.Flags&wire.FlagResponse != 0 {
		return writeFrame(s.conn, failed, nil)
	}
	return s.answered(failed)
}

// writeFailed is the end of the writer. The other side's ERROR, the reason why
// it closed, may still wait to be read: the reader has a moment to find it.
func (s *Session) writeFailed(err error) {
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	if !ended {
		timer := time.NewTimer(farewellTimeout)
		defer timer.Stop()
		select {
		case <-s.done:
		case <-timer.C:
			s.end(fmt.Errorf("plug: write to session: %w", err))
		}
	}
	_ = s.conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropLocked() // nothing is queued after the end
}
