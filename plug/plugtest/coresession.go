package plugtest

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// CoreSession is the core's side of an attached plug. It answers BIND, UNBIND,
// KEEP, TAKE, WORKTYPE, UNIT and DRAIN, and keeps the last STATUS.
type CoreSession struct {
	*session.Session
	Hello   wire.Hello
	Welcome wire.Welcome

	t          TB
	core       *FakeCore
	life       *life                     // of the core
	onBind     func(wire.Bind) error     // nil: all is bound
	onWorkType func(wire.WorkType) error // nil: all is taken
	revision   atomic.Uint64
	state      watched[coreState]
}

// coreState is what a plug has told its core.
type coreState struct {
	Status  wire.Status
	Binds   map[string]wire.Bind // by Bind
	Drained bool
	Kept    map[wire.Keep]bool
	Work    map[string]wire.WorkType // by type
	Units   map[string]wire.Unit     // the last word on each
}

func (s *CoreSession) handle(ctx context.Context, r *session.Request) (any, error) {
	switch r.Type {
	case wire.TypeStatus:
		var b wire.Status
		if err := r.Decode(&b); err != nil {
			return nil, err
		}
		s.state.update(func(c *coreState) { c.Status = b })
		return nil, nil
	case wire.TypeBind:
		var b wire.Bind
		if err := r.Decode(&b); err != nil {
			return nil, err
		}
		if s.onBind != nil {
			if err := s.onBind(b); err != nil {
				return nil, err
			}
		}
		s.state.update(func(c *coreState) {
			if c.Binds == nil {
				c.Binds = make(map[string]wire.Bind)
			}
			c.Binds[b.Bind] = b
		})
		return wire.Bound{Service: b.Service}, nil
	case wire.TypeUnbind:
		var b wire.Unbind
		if err := r.Decode(&b); err != nil {
			return nil, err
		}
		s.state.update(func(c *coreState) { delete(c.Binds, b.Bind) })
		return nil, nil
	case wire.TypeDrain:
		s.state.update(func(c *coreState) { c.Drained = true })
		return nil, nil
	case wire.TypeKeep:
		return nil, s.keep(r)
	case wire.TypeTake:
		return s.take(r)
	case wire.TypeWorkType:
		return nil, s.workType(r)
	case wire.TypeUnit:
		return nil, s.units(r)
	case wire.TypeLink, wire.TypeDial:
		return s.handedOver(ctx, r)
	default:
		return nil, session.ErrUnsupported
	}
}

// Configure sends CONFIG with the next revision and returns the answer. What the
// core keeps of items that are not among these is dropped before.
func (s *CoreSession) Configure(items ...wire.ConfigItem) wire.ConfigResult {
	s.t.Helper()
	ctx, cancel := patient(s.t)
	defer cancel()
	if items == nil {
		items = []wire.ConfigItem{}
	}
	s.core.configured(items)
	var r wire.ConfigResult
	if err := s.Call(ctx, wire.TypeConfig, wire.Config{Revision: s.revision.Add(1), Items: items}, &r); err != nil {
		s.t.Fatalf("plugtest: CONFIG: %v", err)
	}
	return r
}

// WaitStatus waits for a STATUS that ok accepts.
func (s *CoreSession) WaitStatus(what string, ok func(wire.Status) bool) wire.Status {
	s.t.Helper()
	var found wire.Status
	s.state.wait(s.t, "STATUS with "+what, func(c coreState) bool {
		found = c.Status
		return ok(c.Status)
	})
	return found
}

// WaitItem waits until the plug reports item in that state.
func (s *CoreSession) WaitItem(item, state string) wire.ItemStatus {
	s.t.Helper()
	var found wire.ItemStatus
	s.WaitStatus(item+" "+state, func(st wire.Status) bool {
		for _, found = range st.Items {
			if found.Item == item && found.State == state {
				return true
			}
		}
		return false
	})
	return found
}

// WaitCount waits until the plug tells that a counter of STATUS is n.
func (s *CoreSession) WaitCount(counter string, n uint64) {
	s.t.Helper()
	s.WaitStatus(fmt.Sprintf("%d of %s", n, counter), func(st wire.Status) bool { return st.Counters[counter] == n })
}

// WaitBind waits until the plug has bound service.
func (s *CoreSession) WaitBind(service string) wire.Bind {
	s.t.Helper()
	var found wire.Bind
	s.state.wait(s.t, "BIND of "+service, func(c coreState) bool {
		for _, found = range c.Binds {
			if found.Service == service {
				return true
			}
		}
		return false
	})
	return found
}

// WaitUnbind waits until the plug has no bind of service.
func (s *CoreSession) WaitUnbind(service string) {
	s.t.Helper()
	s.state.wait(s.t, "UNBIND of "+service, func(c coreState) bool {
		for _, b := range c.Binds {
			if b.Service == service {
				return false
			}
		}
		return true
	})
}

// WaitDrain waits until the plug has sent DRAIN.
func (s *CoreSession) WaitDrain() {
	s.t.Helper()
	s.state.wait(s.t, "DRAIN", func(c coreState) bool { return c.Drained })
}

// Accept offers an incoming stream to the plug: nil means that it will ATTACH.
func (s *CoreSession) Accept(ctx context.Context, bind, object string, remote wire.RemoteAddr) error {
	return s.Call(ctx, wire.TypeAccept, wire.Accept{Bind: bind, Object: object, Remote: remote}, nil)
}

// AcceptHandedOver offers an incoming stream to the plug, which answers with the
// socket of its target; that is the caller's.
func (s *CoreSession) AcceptHandedOver(ctx context.Context, bind, object string, remote wire.RemoteAddr) (net.Conn, error) {
	files, err := s.CallFiles(ctx, wire.TypeAccept, wire.Accept{Bind: bind, Object: object, Remote: remote}, nil, nil)
	if err != nil {
		return nil, err
	}
	return s.Conn(files)
}

// EndLink tells the plug that a link which it has handed over has ended; no code
// means in order.
func (s *CoreSession) EndLink(object, code string) {
	s.t.Helper()
	if err := s.Notify(wire.TypeClosed, wire.Closed{Object: object, Code: code}); err != nil {
		s.t.Fatalf("plugtest: CLOSED: %v", err)
	}
}
