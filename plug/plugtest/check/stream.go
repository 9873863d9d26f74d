package check

import (
	"encoding/json"
	"errors"
	"net"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

func streamChecks() []Check {
	return playing([]Check{
		{ID: "stream/dial", About: "a connection to a listener is opened as DIAL, to the node and service of its item", run: streamDial},
		{ID: "stream/dial-refused", About: "a connection whose DIAL is refused ends", run: streamDialRefused},
		{ID: "stream/quiet-before-answer", About: "nothing is sent between DIAL and its answer", run: quietBeforeAnswer},
		{ID: "stream/bind", About: "BIND asks for the service of the item", run: func(s *stand) {
			core := s.attach()
			it := s.item(core.Hello, out, s.freeAddr())
			s.configure(core, it)
			s.bind(core, it)
		}},
		{ID: "stream/unbind", About: "UNBIND gives up the service of an item that is gone", run: func(s *stand) {
			core := s.attach()
			it := s.item(core.Hello, out, s.freeAddr())
			s.configure(core, it)
			b := s.bind(core, it)
			s.configure(core)
			core.WaitUnbind(b.Service)
		}},
		{ID: "stream/accept", About: "ACCEPT is answered once the target is reached, ATTACH follows", run: streamAccept},
		{ID: "stream/accept-refused", About: "ACCEPT is answered by an error where the target cannot be reached", run: streamAcceptRefused},
		{ID: "stream/accept-unknown", About: "ACCEPT for a bind that there is not is answered by an error", run: streamAcceptUnknown},
		{ID: "stream/accept-cancel", About: "ACCEPT that is withdrawn is answered by canceled, soon", run: streamAcceptCancel},
		{ID: "stream/records-bytes", About: "bytes are carried as they are, 16 MiB each way", run: func(s *stand) { s.both(s.carryBulk) }},
		{ID: "stream/back-pressure", About: "who is not read from is not read for: little waits in the plug, and nothing is lost", run: func(s *stand) { s.both(s.backPressure) }},
		{ID: "stream/half-close-application", About: "the application's end of one direction is END, the other goes on", run: func(s *stand) {
			s.both(func(p pipe) {
				s.must(p.medium.CloseWrite(), "end one direction")
				s.endsCleanly(p.core, "direction that the application has ended")
				s.pass("from the core to the application, after the other direction's end", p.medium, p.core)
				s.must(p.core.(*recordconn.Conn).CloseWrite(), "send END")
				s.endsCleanly(p.medium, "the other direction")
			})
		}},
		{ID: "stream/half-close-mesh", About: "END is the application's end of one direction, the other goes on", run: func(s *stand) {
			s.both(func(p pipe) {
				s.must(p.core.(*recordconn.Conn).CloseWrite(), "send END")
				s.endsCleanly(p.medium, "direction after END")
				s.pass("from the application to the core, after the other direction's END", p.core, p.medium)
				s.must(p.medium.CloseWrite(), "end the other direction")
				s.endsCleanly(p.core, "the other direction")
			})
		}},
		{ID: "stream/reset-to-application", About: "RESET is a reset at the application", run: func(s *stand) {
			s.both(func(p pipe) {
				s.exchange(p)
				s.must(p.core.(*recordconn.Conn).Reset(wire.Reset{Code: wire.CodeRefused, Msg: "receptor-plugcheck"}), "send RESET")
				s.isReset(p.medium, "application after RESET")
			})
		}},
		{ID: "stream/gone-to-application", About: "the end of the data connection without END is a reset at the application", run: func(s *stand) {
			s.both(func(p pipe) {
				s.exchange(p)
				s.core.Kill()
				s.isReset(p.medium, "application after the core's death")
			})
		}},
		{ID: "stream/reset-from-application", About: "the application's reset is one for the core", run: func(s *stand) {
			s.both(func(p pipe) {
				s.exchange(p)
				s.must(p.medium.SetLinger(0), "arm a reset")
				s.must(p.medium.Close(), "reset")
				s.isReset(p.core, "stream after the application's reset")
			})
		}},
	}, "stream/bind", "stream/unbind", "stream/accept", "stream/accept-unknown")
}

func streamDial(s *stand) {
	core := s.attach()
	it, addr := s.listening(core)
	m := s.connect(addr)
	d := s.incoming()
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
	s.incoming().Refuse(wire.NewError(wire.CodeUnreachable, "receptor-plugcheck refuses it"))
	_ = s.ends(m, "the application's connection after a refusal")
	s.exchange(s.open(addr))
}

func streamAccept(s *stand) {
	core := s.attach()
	l := s.medium()
	it := s.item(core.Hello, out, l.Addr().String())
	s.configure(core, it)
	m, done := s.offer(core, s.bind(core, it).Bind, "object-7", l)
	s.must(wait(s.trial, done, "the answer to ACCEPT").err, "ACCEPT")
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
	if o, t := s.opensSoon(); o != nil {
		s.Fatalf("after ACCEPT was refused: expected nothing, got %s", t)
	}
}

func streamAcceptRefused(s *stand) {
	core := s.attach()
	it := s.item(core.Hello, out, s.freeAddr())
	s.configure(core, it)
	s.refused(s.sendAccept(core, s.bind(core, it).Bind, "o").err, "while nobody listens at the target")
}

func streamAcceptUnknown(s *stand) {
	core := s.attach()
	it := s.item(core.Hello, out, s.freeAddr())
	s.configure(core, it)
	s.bind(core, it)
	s.refused(s.sendAccept(core, "no such bind", "o").err, "for a bind that there is not")
}

func streamAcceptCancel(s *stand) {
	const accept, timely = 4, 5 * time.Second // well below the 10 s after which ACCEPT fails anyway
	target := s.deafTarget()
	r := s.attachRaw()
	it := s.item(r.hello, out, target)
	r.send(wire.TypeConfig, 0, 2, wire.Config{Revision: 1, Items: []wire.ConfigItem{it}})
	f, _ := r.await(s.o.Timeout, func(f plugtest.RawFrame) bool { return f.Type == wire.TypeBind && f.Flags == 0 })
	var b wire.Bind
	s.must(json.Unmarshal(f.Body, &b), "decode BIND")
	r.send(wire.TypeBind, wire.FlagResponse, f.ID, wire.Bound{Service: b.Service})
	r.send(wire.TypeAccept, 0, accept, wire.Accept{Bind: b.Bind, Object: "o", Remote: wire.RemoteAddr{Node: farNode, Service: "client"}})
	if f, ok := r.answer(quiet, accept); ok {
		s.Fatalf("ACCEPT while the target does not answer: expected no answer yet, got %s", f.Body)
	}
	r.send(wire.TypeCancel, 0, 0, wire.Cancel{ID: accept})
	f, ok := r.answer(timely, accept)
	var e wire.Error
	if !ok || f.Flags&wire.FlagError == 0 || json.Unmarshal(f.Body, &e) != nil || e.Code != wire.CodeCanceled {
		s.Fatalf("after CANCEL of ACCEPT: expected the error canceled, got %q", f.Body)
	}
	r.send(wire.TypePing, 0, accept+2, struct{}{})
	if _, ok := r.answer(timely, accept+2); !ok {
		s.Fatalf("PING after CANCEL: expected an answer, got none")
	}
}

// deafTarget is an address that neither takes a connection nor refuses it: that
// of a listener whose backlog is full.
func (s *stand) deafTarget() string {
	const most, patience = 16, 200 * time.Millisecond
	l := s.medium()
	s.must(shortBacklog(l.(*net.TCPListener)), "shorten a backlog")
	for range most {
		c, err := net.DialTimeout("tcp", l.Addr().String(), patience)
		if err != nil {
			return l.Addr().String()
		}
		s.own(c)
	}
	s.skip("this system takes connections beyond a backlog")
	return ""
}
