package route

import "time"

// seenIDs remembers the UpdateIDs of the last SeenFor, the latest of them if there
// are too many.
type seenIDs struct {
	ids   map[string]struct{}
	order []seenID // oldest first, from head on
	head  int
}

type seenID struct {
	id string
	at time.Time
}

// add remembers id. It tells whether that is news.
func (s *seenIDs) add(now time.Time, id string, limit int) bool {
	for s.head < len(s.order) && (len(s.ids) >= limit || now.Sub(s.order[s.head].at) > SeenFor) {
		delete(s.ids, s.order[s.head].id)
		s.order[s.head] = seenID{}
		s.head++
	}
	if s.head > len(s.order)/2 {
		s.order = append(s.order[:0], s.order[s.head:]...)
		s.head = 0
	}
	if _, ok := s.ids[id]; ok {
		return false
	}
	if s.ids == nil {
		s.ids = make(map[string]struct{})
	}
	s.ids[id] = struct{}{}
	s.order = append(s.order, seenID{id, now})
	return true
}
