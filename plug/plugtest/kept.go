package plugtest

import (
	"os"

	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// keep answers KEEP.
func (s *CoreSession) keep(r *session.Request) error {
	var k wire.Keep
	if err := r.Decode(&k); err != nil {
		return err
	}
	if len(r.Files) != 1 {
		return wire.NewError(wire.CodeInvalid, "%d descriptors where 1 was expected", len(r.Files))
	}
	s.core.mu.Lock()
	if old := s.core.kept[k]; old != nil {
		_ = old.Close()
	}
	s.core.kept[k] = r.TakeFiles()[0]
	s.core.mu.Unlock()
	s.state.update(func(c *coreState) {
		if c.Kept == nil {
			c.Kept = make(map[wire.Keep]bool)
		}
		c.Kept[k] = true
	})
	return nil
}

// take answers TAKE: what was kept is kept no longer.
func (s *CoreSession) take(r *session.Request) (any, error) {
	var t wire.Take
	if err := r.Decode(&t); err != nil {
		return nil, err
	}
	s.core.mu.Lock()
	defer s.core.mu.Unlock()
	f := s.core.kept[wire.Keep(t)]
	if f == nil {
		return nil, wire.NewError(wire.CodeNotFound, "nothing is kept as %q", t.Key)
	}
	delete(s.core.kept, wire.Keep(t))
	return session.Answer{Files: []*os.File{f}}, nil
}

// WaitKept waits until the plug has had a socket of item kept.
func (s *CoreSession) WaitKept(item string) wire.Keep {
	s.t.Helper()
	var found wire.Keep
	s.state.wait(s.t, "KEEP of "+item, func(c coreState) bool {
		for found = range c.Kept {
			if found.Item == item {
				return true
			}
		}
		return false
	})
	return found
}
