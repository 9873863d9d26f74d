package check

import (
	"github.com/project-receptor/receptor/plug/wire"
)

func restartChecks(role string) []Check {
	checks := []Check{
		{"restart/wait", "a plug that starts before its core waits for it", restartWait},
		{"restart/attach", "a plug attaches again when its core comes back, as the same process", restartAttach},
		{"restart/listener", "listeners stay while the core is away, connections wait", restartListener},
	}
	switch role {
	case wire.RoleLink:
		checks = append(checks,
			Check{"restart/links-end", "links end with the core", func(s *stand) {
				s.both(func(p pipe) {
					s.exchange(p)
					s.core.Kill()
					_ = s.ends(p.medium, "the medium's connection after the core's death")
				})
			}},
			Check{"restart/links-again", "links are made again when the core is back", restartLinks},
		)
	case wire.RoleStream:
		checks = append(checks,
			Check{"restart/bind", "services are bound again, under the same name, when the core is back", restartBind},
		)
	}
	return checks
}

func restartWait(s *stand) {
	s.prepare(nil)
	s.run()
	s.pause(quiet)
	s.core.Start()
	s.configure(s.core.Session())
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

func restartListener(s *stand) {
	core := s.attach()
	it, addr := s.listening(core)
	s.exchange(s.open(addr))
	s.away()
	early := s.connectNow(addr, "while the core is away")
	s.core.Start()
	core = s.core.Session()
	s.configure(core, it)
	s.exchange(pipe{early, s.opened(s.incoming())})
	s.exchange(s.open(addr))
}

func restartLinks(s *stand) {
	core := s.attach()
	it, next := s.dialing(core)
	p := next()
	p.core = s.opened(s.core.Link())
	s.exchange(p)
	core = s.restart()
	s.configure(core, it)
	p = next()
	d := s.core.Link()
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
