package check

import (
	"sync/atomic"
	"time"

	"github.com/project-receptor/receptor/plug/wire"
)

func authorisationChecks(role string) []Check {
	checks := []Check{
		{ID: "authorisation/hello-back-off", About: "a plug that is denied pauses between its attempts", run: helloBackOff},
		{ID: "authorisation/retry-after", About: "retry_after_ms of a refusal is kept", run: retryAfter},
		{ID: "authorisation/secret", About: "objects are opened with the secret of the session that lives, never an older one", run: secret},
	}
	switch role {
	case wire.RoleLink:
		checks = append(checks, Check{ID: "authorisation/link-back-off", About: "an item whose links are denied pauses between its attempts", run: linkBackOff})
	case wire.RoleStream:
		checks = append(checks, Check{ID: "authorisation/bind-back-off", About: "an item whose service is denied pauses between its attempts", run: bindBackOff})
	}
	return checks
}

func helloBackOff(s *stand) {
	tick := make(chan struct{}, 4096)
	s.prepare(func(*wire.Welcome) error {
		select {
		case tick <- struct{}{}:
		default: // more than enough
		}
		return wire.NewError(wire.CodeDenied, "receptor-plugcheck denies it")
	})
	s.start()
	s.attempts("HELLO", func(within time.Duration) bool {
		select {
		case <-tick:
			return true
		case <-time.After(within):
			return false
		}
	})
}

func retryAfter(s *stand) {
	const pause = 1500 * time.Millisecond
	var refused, early atomic.Int64 // when, in ns; how early the next came
	s.prepare(func(*wire.Welcome) error {
		if refused.CompareAndSwap(0, time.Now().UnixNano()) {
			e := wire.NewError(wire.CodeBusy, "receptor-plugcheck is busy")
			e.RetryAfterMS = pause.Milliseconds()
			return e
		}
		if waited := time.Duration(time.Now().UnixNano() - refused.Load()); waited < pause {
			early.CompareAndSwap(0, int64(waited))
		}
		return nil
	})
	s.start()
	s.session()
	if d := time.Duration(early.Load()); d > 0 {
		s.Fatalf("next HELLO after a refusal with retry_after_ms: expected not before %v, got %v", pause, d)
	}
}

func secret(s *stand) {
	core := s.attach()
	it, addr := s.listening(core)
	s.exchange(s.open(addr))
	for range 3 {
		s.away()
		s.core.Start()
		core = s.session()
		s.configure(core, it)
		s.exchange(s.open(addr))
		if n := len(s.core.Denied()); n > 0 {
			s.Fatalf("session of an object: expected the secret of the last WELCOME, got %d times another", n)
		}
	}
}

func linkBackOff(s *stand) {
	core := s.attach()
	l := s.medium()
	it := s.item(core.Hello, out, l.Addr().String())
	go func() {
		for !s.datagrams() {
			c, err := l.Accept()
			if err != nil {
				return // at the end of the check
			}
			s.overTCP(c, false)
		}
	}()
	s.configure(core, it)
	s.attempts("LINK", func(within time.Duration) bool {
		o, _ := s.core.Opening(within)
		if o != nil {
			o.Refuse(wire.NewError(wire.CodeDenied, "receptor-plugcheck denies it"))
		}
		return o != nil
	})
}

func bindBackOff(s *stand) {
	tick := make(chan struct{}, 4096)
	s.prepare(nil)
	s.core.OnBind = func(wire.Bind) error {
		select {
		case tick <- struct{}{}:
		default: // more than enough
		}
		return wire.NewError(wire.CodeDenied, "receptor-plugcheck denies it")
	}
	s.start()
	core := s.session()
	it := s.item(core.Hello, out, s.freeAddr())
	s.configure(core, it)
	s.attempts("BIND", func(within time.Duration) bool {
		select {
		case <-tick:
			return true
		case <-time.After(within):
			return false
		}
	})
}
