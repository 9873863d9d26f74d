package plugtest

import (
	"context"
	"maps"
	"os"

	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// workType answers WORKTYPE.
func (s *CoreSession) workType(r *session.Request) error {
	var t wire.WorkType
	if err := r.Decode(&t); err != nil {
		return err
	}
	if s.onWorkType != nil {
		if err := s.onWorkType(t); err != nil {
			return err
		}
	}
	s.state.update(func(c *coreState) {
		c.Work = maps.Clone(c.Work) // whoever waits has seen the map
		if c.Work == nil {
			c.Work = make(map[string]wire.WorkType)
		}
		c.Work[t.Type] = t
	})
	return nil
}

// units answers UNIT.
func (s *CoreSession) units(r *session.Request) error {
	var told wire.Units
	if err := r.Decode(&told); err != nil {
		return err
	}
	s.state.update(func(c *coreState) {
		c.Units = maps.Clone(c.Units)
		if c.Units == nil {
			c.Units = make(map[string]wire.Unit)
		}
		for _, u := range told.Units {
			c.Units[u.Unit] = u
		}
	})
	return nil
}

// WaitWorkType waits until the plug has offered a type of work; with a name, that one.
func (s *CoreSession) WaitWorkType(name string) wire.WorkType {
	s.t.Helper()
	var found wire.WorkType
	s.state.wait(s.t, "WORKTYPE "+name, func(c coreState) bool {
		for _, found = range c.Work {
			if name == "" || found.Type == name {
				return true
			}
		}
		return false
	})
	return found
}

// HasWorkType tells whether the plug has offered any type of work.
func (s *CoreSession) HasWorkType() (has bool) {
	s.state.look(func(c coreState) { has = len(c.Work) > 0 })
	return has
}

// WaitUnit waits until the plug tells something of a unit that ok accepts.
func (s *CoreSession) WaitUnit(unit, what string, ok func(wire.Unit) bool) wire.Unit {
	s.t.Helper()
	var found wire.Unit
	s.state.wait(s.t, "UNIT of "+unit+" "+what, func(c coreState) bool {
		var told bool
		found, told = c.Units[unit]
		return told && ok(found)
	})
	return found
}

// Unit is the plug's last word on a unit.
func (s *CoreSession) Unit(unit string) (u wire.Unit, told bool) {
	s.state.look(func(c coreState) { u, told = c.Units[unit] })
	return u, told
}

// StartUnit sends START. The files stay the caller's.
func (s *CoreSession) StartUnit(ctx context.Context, b wire.Start, files ...*os.File) (u wire.Unit, err error) {
	came, err := s.CallFiles(ctx, wire.TypeStart, b, &u, files)
	for _, f := range came {
		_ = f.Close() // nothing is to come
	}
	return u, err
}
