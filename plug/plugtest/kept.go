package plugtest

import (
	"fmt"
	"net"
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
	if err := isKeepable(r.Files); err != nil {
		s.core.breach(fmt.Errorf("KEEP: %w", err))
		return wire.NewError(wire.CodeInvalid, "%v", err)
	}
	s.core.mu.Lock()
	if s.core.items != nil && !s.core.items[k.Item] {
		s.core.mu.Unlock()
		return wire.NewError(wire.CodeDenied, "no item %q is configured", k.Item)
	}
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

// take answers TAKE with a duplicate: what was kept stays kept.
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
	another, err := duplicateFile(f)
	if err != nil {
		return nil, wire.NewError(wire.CodeLimit, "%v", err)
	}
	return session.Answer{Files: []*os.File{another}}, nil
}

// configured notes the items that are configured, and drops what is kept of
// others.
func (c *FakeCore) configured(items []wire.ConfigItem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.items = make(map[string]bool, len(items))
	for _, it := range items {
		c.items[it.Item] = true
	}
	for k, f := range c.kept {
		if !c.items[k.Item] {
			_ = f.Close() // a duplicate
			delete(c.kept, k)
		}
	}
}

// isKeepable says what is wrong with what came to be kept.
func isKeepable(files []*os.File) error {
	if len(files) != 1 {
		return fmt.Errorf("expected 1 descriptor, got %d", len(files))
	}
	if Listens(files[0]) {
		return nil
	}
	c, err := net.FilePacketConn(files[0])
	if err != nil {
		return fmt.Errorf("expected a listening stream socket or a bound datagram socket, got something else: %w", err)
	}
	return c.Close()
}

// Kept returns under which name the plug has had a socket of item kept, if it has.
func (s *CoreSession) Kept(item string) (k wire.Keep, ok bool) {
	s.state.look(func(c coreState) {
		for k = range c.Kept {
			if ok = k.Item == item; ok {
				return
			}
		}
	})
	return k, ok
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
