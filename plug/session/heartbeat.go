package session

import (
	"time"

	"github.com/project-receptor/receptor/plug/wire"
)

// Stalled reports whether the other side has left a PING unanswered for
// HeartbeatMisses intervals. Nothing new should be opened then.
func (s *Session) Stalled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stalled
}

// heartbeat asks the other side for signs of life, one at a time.
func (s *Session) heartbeat() {
	ticker := time.NewTicker(s.beat)
	defer ticker.Stop()
	for {
		ping, err := newFrame(wire.TypePing, 0, 0, nil)
		if err != nil {
			return
		}
		c, err := s.send(ping, nil)
		if err != nil {
			return
		}
		for missed := 0; ; missed++ {
			if missed == wire.HeartbeatMisses {
				s.setStalled(true)
			}
			select {
			case f := <-c.answer:
				f.release()
				s.setStalled(false)
			case <-s.done:
				return
			case <-ticker.C:
				continue
			}
			break
		}
		select {
		case <-ticker.C:
		case <-s.done:
			return
		}
	}
}

func (s *Session) setStalled(stalled bool) {
	s.mu.Lock()
	changed := s.stalled != stalled
	s.stalled = stalled
	s.mu.Unlock()
	if changed {
		s.onStall(stalled)
	}
}
