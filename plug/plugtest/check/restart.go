package check

import (
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
)

func restartChecks(role string) []Check {
	checks := []Check{
		{ID: "restart/wait", About: "a plug that starts before its core waits for it", run: restartWait},
		{ID: "restart/attach", About: "a plug attaches again when its core comes back, as the same process", run: restartAttach},
	}
	if !connects(role) {
		return checks
	}
	checks = append(
		checks,
		Check{ID: "restart/plug", About: "a plug that is killed and started again attaches as another process under the same name, and serves", run: restartPlug},
		Check{ID: "restart/listener", About: "listeners stay while the core is away, connections wait", run: restartListener, PlaysMedium: true},
	)
	switch role {
	case wire.RoleLink:
		checks = append(checks,
			Check{ID: "restart/links-end", About: "links end with the core", PlaysMedium: true, run: func(s *stand) {
				s.both(func(p pipe) {
					s.exchange(p)
					s.core.Kill()
					_ = s.ends(p.medium, "the medium's connection after the core's death")
				})
			}},
			Check{ID: "restart/links-again", About: "links are made again when the core is back", run: restartLinks, PlaysMedium: true},
		)
	case wire.RoleStream:
		checks = append(checks,
			Check{ID: "restart/bind", About: "services are bound again, under the same name, when the core is back", run: restartBind},
		)
	}
	return checks
}

func restartWait(s *stand) {
	s.prepare(nil)
	s.run()
	s.pause(quiet)
	s.core.Start()
	s.configure(s.session())
}

func restartAttach(s *stand) {
	before := s.attach()
	for range 2 {
		after := s.restart()
		s.oneOf("name in HELLO after a restart of the core", after.Hello.Name, before.Hello.Name)
		s.oneOf("process in HELLO after a restart of the core", after.Hello.Process, before.Hello.Process)
		s.configure(after)
	}
}

func restartPlug(s *stand) {
	core := s.attach()
	serve := s.served(core)
	s.kill()
	wait(s.trial, core.Done(), "the end of the session of a plug that was killed")
	s.run()
	again := s.session()
	s.oneOf("name in HELLO of the next process", again.Hello.Name, core.Hello.Name)
	if again.Hello.Process == core.Hello.Process {
		s.Fatalf("process in HELLO of the next process: expected another, got the same")
	}
	serve(again)
}

// served has the plug serve with an item, and returns what has the next one do so.
func (s *stand) served(core *plugtest.CoreSession) (again func(*plugtest.CoreSession)) {
	if !s.plays() {
		it := s.eitherItem(core)
		again = func(core *plugtest.CoreSession) {
			s.configure(core, it)
			core.WaitItem(it.Item, wire.StateUp)
		}
	} else {
		addr := s.freeAddr()
		it := s.item(core.Hello, in, addr)
		again = func(core *plugtest.CoreSession) {
			s.configure(core, it)
			s.exchange(s.open(addr))
		}
	}
	again(core)
	return again
}

func restartListener(s *stand) {
	core := s.attach()
	it, addr := s.listening(core)
	s.exchange(s.open(addr))
	s.away()
	early := s.connectNow(addr, "while the core is away")
	s.core.Start()
	core = s.session()
	s.configure(core, it)
	s.exchange(pipe{early, s.opened(s.incoming())})
	s.exchange(s.open(addr))
}

func restartLinks(s *stand) {
	core := s.attach()
	l := s.medium()
	it := s.item(core.Hello, out, l.Addr().String())
	s.configure(core, it)
	s.exchange(pipe{s.accept(l), s.opened(s.incoming())})
	core = s.restart()
	s.dropWaiting(l)
	s.configure(core, it)
	p := pipe{medium: s.accept(l)}
	d := s.incoming()
	s.isLink(d, core, it, out)
	p.core = s.opened(d)
	s.exchange(p)
}

func restartBind(s *stand) {
	core := s.attach()
	l := s.medium()
	it := s.item(core.Hello, out, l.Addr().String())
	s.configure(core, it)
	first := s.bind(core, it)
	core = s.restart()
	s.configure(core, it)
	s.oneOf("bind after a restart of the core", s.bind(core, it).Bind, first.Bind)
	s.exchange(s.openOut(core, it, l))
}
