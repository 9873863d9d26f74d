package store

import "slices"

// publish tells those who wait that u has changed. The caller holds s.mu.
func (s *Store) publish(u *unit) {
	s.seq++
	u.seq = s.seq
	if u.element == nil {
		u.element = s.recent.PushBack(u)
	} else {
		s.recent.MoveToBack(u.element)
	}
	if !u.released {
		s.stale[u.id] = struct{}{}
	}
	s.wakeWaiting(u)
	close(s.more)
	s.more = make(chan struct{})
	s.poke()
}

// wakeWaiting wakes those who wait for u. The caller holds s.mu.
func (s *Store) wakeWaiting(u *unit) {
	if u.more != nil {
		close(u.more)
		u.more = nil
	}
}

// watch returns what is closed at the next change of u. The caller holds s.mu.
func (s *Store) watch(u *unit) <-chan struct{} {
	if u.more == nil {
		u.more = make(chan struct{})
	}
	return u.more
}

// Watch returns a unit, and a channel that is closed when it changes.
func (s *Store) Watch(id string) (Unit, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.find(id)
	if err != nil {
		return Unit{}, nil, err
	}
	return u.view(), s.watch(u), nil
}

// Changes returns the units that have changed after seq, in the order of their last
// change, with the seq to ask for next, and a channel that is closed when there is
// more. 0 is the beginning: all units. Who is slow misses nothing but what was
// overtaken: a unit comes once, as it is, with its history. A seq of an earlier run is
// the beginning, too, even if the clock was set back since.
func (s *Store) Changes(seq uint64) (changed []Unit, next uint64, more <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq > s.seq {
		seq = 0
	}
	e := s.recent.Back()
	for ; e != nil && e.Value.(*unit).seq > seq; e = e.Prev() {
		changed = append(changed, e.Value.(*unit).view())
	}
	slices.Reverse(changed)
	return changed, s.seq, s.more
}

// Touch has those who watch look at units again of which something else is known now.
func (s *Store) Touch(ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if u := s.units[id]; u != nil && u.shown != nil {
			s.publish(u)
		}
	}
}
