package check

import (
	"errors"

	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

func streamChecks() []Check {
	return []Check{
		{"stream/dial", "a connection to a listener is opened as DIAL, to the node and service of its item", streamDial},
		{"stream/dial-refused", "a connection whose DIAL is refused ends", streamDialRefused},
		{"stream/quiet-before-answer", "nothing is sent between DIAL and its answer", quietBeforeAnswer},
		{"stream/bind", "BIND asks for the service of the item", func(s *stand) {
			core := s.attach()
			it := s.item(core.Hello, out, s.freeAddr())
			s.configure(core, it)
			s.bind(core, it)
		}},
		{"stream/unbind", "UNBIND gives up the service of an item that is gone", func(s *stand) {
			core := s.attach()
			it := s.item(core.Hello, out, s.freeAddr())
			s.configure(core, it)
			b := s.bind(core, it)
			s.configure(core)
			core.WaitUnbind(b.Service)
		}},
		{"stream/accept", "ACCEPT is answered once the target is reached, ATTACH follows", streamAccept},
		{"stream/accept-refused", "ACCEPT is answered by an error where the target cannot be reached", streamAcceptRefused},
		{"stream/accept-unknown", "ACCEPT for a bind that there is not is answered by an error", streamAcceptUnknown},
		{"stream/records-bytes", "bytes are carried as they are, 16 MiB each way", func(s *stand) { s.both(s.carryBulk) }},
		{"stream/half-close-application", "the application's end of one direction is END, the other goes on", func(s *stand) {
			s.both(func(p pipe) {
				s.must(p.medium.CloseWrite(), "end one direction")
				s.endsCleanly(p.core, "direction that the application has ended")
				s.pass("from the core to the application, after the other direction's end", p.medium, p.core)
				s.must(p.core.(*recordconn.Conn).CloseWrite(), "send END")
				s.endsCleanly(p.medium, "the other direction")
			})
		}},
		{"stream/half-close-mesh", "END is the application's end of one direction, the other goes on", func(s *stand) {
			s.both(func(p pipe) {
				s.must(p.core.(*recordconn.Conn).CloseWrite(), "send END")
				s.endsCleanly(p.medium, "direction after END")
				s.pass("from the application to the core, after the other direction's END", p.core, p.medium)
				s.must(p.medium.CloseWrite(), "end the other direction")
				s.endsCleanly(p.core, "the other direction")
			})
		}},
		{"stream/reset-to-application", "RESET is a reset at the application", func(s *stand) {
			s.both(func(p pipe) {
				s.exchange(p)
				s.must(p.core.(*recordconn.Conn).Reset(wire.Reset{Code: wire.CodeRefused, Msg: "receptor-plugcheck"}), "send RESET")
				s.isReset(p.medium, "application after RESET")
			})
		}},
		{"stream/gone-to-application", "the end of the data connection without END is a reset at the application", func(s *stand) {
			s.both(func(p pipe) {
				s.exchange(p)
				s.core.Kill()
				s.isReset(p.medium, "application after the core's death")
			})
		}},
		{"stream/reset-from-application", "the application's reset is one for the core", func(s *stand) {
			s.both(func(p pipe) {
				s.exchange(p)
				s.must(p.medium.SetLinger(0), "arm a reset")
				s.must(p.medium.Close(), "reset")
				s.isReset(p.core, "stream after the application's reset")
			})
		}},
	}
}

func streamDial(s *stand) {
	core := s.attach()
	it, addr := s.listening(core)
	m := s.connect(addr)
	d := s.core.DialRequest()
	b := d.DialBody()
	if b.Session != core.Welcome.Session {
		s.Fatalf("session of DIAL: expected the secret of WELCOME, got another")
	}
	if b.Item != "" {
		s.oneOf("item of DIAL", b.Item, it.Item)
	}
	if node := paramOfType(core.Hello, it, schema.TypeNode); node != "" {
		s.oneOf("node of DIAL", b.Node, node)
	}
	if service := paramOfType(core.Hello, it, schema.TypeService); service != "" {
		s.oneOf("service of DIAL", b.Service, service)
	}
	s.exchange(pipe{m, s.opened(d)})
}

func streamDialRefused(s *stand) {
	core := s.attach()
	_, addr := s.listening(core)
	m := s.connect(addr)
	s.core.DialRequest().Refuse(wire.NewError(wire.CodeUnreachable, "receptor-plugcheck refuses it"))
	_ = s.ends(m, "the application's connection after a refusal")
	s.exchange(s.open(addr))
}

func streamAccept(s *stand) {
	core := s.attach()
	l := s.medium()
	it := s.item(core.Hello, out, l.Addr().String())
	s.configure(core, it)
	m, done := s.offer(core, s.bind(core, it).Bind, "object-7", l)
	s.must(wait(s.trial, done, "the answer to ACCEPT"), "ACCEPT")
	d := s.core.Attach()
	b := d.AttachBody()
	if b.Session != core.Welcome.Session {
		s.Fatalf("session of ATTACH: expected the secret of WELCOME, got another")
	}
	s.oneOf("object of ATTACH", b.Object, "object-7")
	s.exchange(pipe{m, s.opened(d)})
}

// refused checks that ACCEPT is answered by an error and nothing follows.
func (s *stand) refused(err error, why string) {
	var e *wire.Error
	if !errors.As(err, &e) {
		s.Fatalf("ACCEPT %s: expected an error, got %s", why, outcome(err))
	}
	if d := s.core.Opening(quiet); d != nil {
		s.Fatalf("after ACCEPT was refused: expected nothing, got %s", d.Type)
	}
}

func streamAcceptRefused(s *stand) {
	core := s.attach()
	it := s.item(core.Hello, out, s.freeAddr())
	s.configure(core, it)
	err := core.Accept(s.ctx, s.bind(core, it).Bind, "o", wire.RemoteAddr{Node: farNode, Service: "client"})
	s.refused(err, "while nobody listens at the target")
}

func streamAcceptUnknown(s *stand) {
	core := s.attach()
	it := s.item(core.Hello, out, s.freeAddr())
	s.configure(core, it)
	s.bind(core, it)
	err := core.Accept(s.ctx, "no such bind", "o", wire.RemoteAddr{Node: farNode, Service: "client"})
	s.refused(err, "for a bind that there is not")
}
