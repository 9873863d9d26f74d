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
	}
	if connects(role) {
		checks = append(checks, Check{ID: "authorisation/secret", About: "objects are opened with the secret of the session that lives, never an older one", run: secret, PlaysMedium: true})
	}
	switch role {
	case wire.RoleWorker:
		checks = append(checks, Check{ID: "authorisation/offer-back-off", Handoff: true, About: "an item whose type of work is denied pauses between its attempts", run: offerBackOff})
	case wire.RolePacket:
		checks = append(checks, Check{ID: "authorisation/packet-back-off", About: "an item whose packet service is denied pauses between its attempts", run: packetBackOff})
	case wire.RoleLink:
		checks = append(checks, Check{ID: "authorisation/link-back-off", About: "an item whose links are denied pauses between its attempts", run: linkBackOff, PlaysMedium: true})
	case wire.RoleStream:
		checks = append(checks, Check{ID: "authorisation/bind-back-off", About: "an item whose service is denied pauses between its attempts", run: bindBackOff})
	}
	return checks
}

func helloBackOff(s *stand) {
	denied := newDenials()
	s.prepare(func(*wire.Welcome) error { return denied.deny() })
	s.start()
	s.attempts("HELLO", denied.next)
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
	denied := newDenials()
	s.prepare(nil)
	s.core.OnBind = func(wire.Bind) error { return denied.deny() }
	s.start()
	core := s.session()
	s.configure(core, s.item(core.Hello, out, s.freeAddr()))
	s.attempts("BIND", denied.next)
}

func offerBackOff(s *stand) {
	denied := newDenials()
	s.prepare(nil)
	s.core.OnWorkType = func(wire.WorkType) error { return denied.deny() }
	s.start()
	core := s.session()
	s.configure(core, s.eitherItem(core))
	s.attempts("WORKTYPE", denied.next)
}

// denials are attempts that are refused.
type denials chan struct{}

func newDenials() denials { return make(denials, 4096) }

func (d denials) deny() error {
	select {
	case d <- struct{}{}:
	default: // more than enough
	}
	return wire.NewError(wire.CodeDenied, "receptor-plugcheck denies it")
}

func (d denials) next(within time.Duration) bool {
	select {
	case <-d:
		return true
	case <-time.After(within):
		return false
	}
}
