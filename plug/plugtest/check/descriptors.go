package check

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
)

// keepPatience is how long a plug may take to have its listener kept.
const keepPatience = 3 * time.Second

// descriptorsChecks are those of hand-off: the core grants fdpass. A plug need
// not hand over; then they are skipped.
func descriptorsChecks(role string) []Check {
	checks := []Check{
		{ID: "descriptors/probe", About: "HELLO that offers fdpass has a probe, one fresh TCP socket, and else none", run: probe},
		{ID: "descriptors/one-socket", About: "what is handed over is one connected stream socket, of TCP for a link", run: oneSocket},
		{ID: "descriptors/hand-off-bytes", About: "no byte is lost around a hand-off, and 16 MiB each way come as they are", run: handOffBytes},
		{ID: "descriptors/let-go", About: "the plug closes its copy of what it has handed over, and never shuts it down", run: letGo},
		{ID: "descriptors/refused", About: "what the core refuses ends, or is relayed after unsupported or limit; the next goes well", run: handOffRefused},
		{ID: "descriptors/outlives", About: "what was handed over lives on when the session ends, and when the plug is killed", run: outlives},
		{ID: "descriptors/keep", About: "a listener that the core keeps is taken again: none is refused while the plug is killed and started", run: keep},
		{ID: "descriptors/takeover", About: "a second process takes the kept listener over from one that drains: none is refused or lost", run: takeover, connected: true},
	}
	if !connects(role) {
		checks = checks[:1] // it hands nothing over
	}
	switch role {
	case wire.RoleLink:
		checks = append(
			checks,
			Check{ID: "descriptors/closed", About: "CLOSED is the end of a link: the item makes the next one then, and not before", run: closedLink},
			Check{ID: "descriptors/closed-early", About: "CLOSED may come before the answer to LINK", run: closedEarly},
			Check{ID: "descriptors/live", About: "a peer is not dialled while CONFIG names a live link to it, and is when that has ended", run: live},
		)
	case wire.RoleStream:
		checks = append(checks, Check{ID: "descriptors/armed", About: "the last close of an application's socket is a reset", run: armed})
	}
	for i := range checks {
		checks[i].Handoff = true
	}
	return playing(checks, "descriptors/probe")
}

func probe(s *stand) {
	verdict := make(chan error, 1)
	s.prepare(nil)
	s.core.OnConn = func(c net.Conn) bool {
		select {
		case verdict <- probeOf(c):
		default: // only the first counts
		}
		return true
	}
	s.start()
	s.must(wait(s.trial, verdict, "a connection"), "HELLO")
}

// probeOf says what is wrong with the probe of a HELLO.
func probeOf(c net.Conn) error {
	_, f, err := firstOf(c)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	var h wire.Hello
	if err := json.Unmarshal(f.Body, &h); err != nil {
		return err
	}
	if int(f.FDs) != len(f.Files) {
		return fmt.Errorf("expected as many descriptors as fds says, %d, got %d", f.FDs, len(f.Files))
	}
	if !slices.Contains(h.Features, wire.FeatureFDPass) {
		if len(f.Files) > 0 {
			return errors.New("it does not offer fdpass: expected no descriptor, got some")
		}
		return nil
	}
	if len(f.Files) != 1 {
		return fmt.Errorf("it offers fdpass: expected 1 descriptor, got %d", len(f.Files))
	}
	sock, err := net.FileConn(f.Files[0])
	if err != nil {
		return fmt.Errorf("probe: expected a TCP socket: %w", err)
	}
	defer func() { _ = sock.Close() }()
	if _, tcp := sock.(*net.TCPConn); !tcp || sock.RemoteAddr() != nil || plugtest.Listens(f.Files[0]) {
		return errors.New("probe: expected a fresh TCP socket, got something else")
	}
	return nil
}

// handed is a connection that the plug has handed over; skip if it relays.
func (s *stand) handed(o plugtest.Incoming) *plugtest.HandedOver {
	h, ok := o.(*plugtest.HandedOver)
	if !ok {
		s.skip("the plug relays this")
	}
	return h
}

// isHanded says whether a pipe is carried by the core.
func (p pipe) isHanded() bool {
	_, tcp := p.core.(*net.TCPConn)
	return tcp
}

// eachHanded runs f with a pipe through an item of each direction that the plug
// hands over.
func (s *stand) eachHanded(f func(pipe)) {
	tried := false
	s.both(func(p pipe) {
		if p.isHanded() {
			tried = true
			f(p)
		}
	})
	if !tried {
		s.skip("the plug relays everything")
	}
}

func oneSocket(s *stand) {
	s.eachHanded(s.exchange)
	s.must(s.core.Breach(), "descriptors")
}

func handOffBytes(s *stand) {
	core := s.attach()
	if s.has(core.Hello, in) {
		_, addr := s.listening(core)
		const early = "\x05\x00early"
		m := s.connect(addr)
		_, err := io.WriteString(m, early)
		s.must(err, "write to the medium")
		h := s.handed(s.incoming())
		s.idle() // the plug may read it now, if it does that
		var residual []byte
		if s.o.Role == wire.RoleLink {
			residual = h.LinkBody().Residual
		}
		p := pipe{m, s.opened(h)}
		rest := make([]byte, max(len(early)-len(residual), 0))
		_, err = io.ReadFull(p.core, rest)
		if got := string(residual) + string(rest); err != nil || got != early {
			s.Fatalf("residual and socket together: expected what the medium has said, %q, got %q, %v", early, got, err)
		}
		s.carryBulk(p)
	}
	if s.has(core.Hello, out) {
		l := s.medium()
		it := s.item(core.Hello, out, l.Addr().String())
		s.configure(core, it)
		p := s.openOut(core, it, l)
		if !p.isHanded() {
			s.skip("the plug relays this")
		}
		s.carryBulk(p)
	}
}

func letGo(s *stand) {
	s.eachHanded(func(p pipe) {
		s.exchange(p)
		s.must(p.core.Close(), "close the core's copy")
		_ = s.ends(p.medium, "the medium's connection after the core has closed its copy")
	})
}

func armed(s *stand) {
	s.eachHanded(func(p pipe) {
		s.exchange(p)
		s.must(p.core.Close(), "close the core's copy")
		s.isReset(p.medium, "application after the last copy was closed")
	})
}

func handOffRefused(s *stand) {
	core := s.attach()
	_, addr := s.listening(core)
	for _, code := range []string{wire.CodeDenied, wire.CodeUnsupported, wire.CodeLimit} {
		m := s.connect(addr)
		s.handed(s.incoming()).Refuse(wire.NewError(code, "receptor-plugcheck refuses it"))
		switch again, t := s.openedOrOver(m, "the medium's connection of a hand-off that was refused as "+code); {
		case again == nil: // it has ended
		case code == wire.CodeDenied:
			s.Fatalf("after the error denied: expected nothing more of it, got %s", t)
		default:
			if _, twice := again.(*plugtest.HandedOver); twice {
				s.Fatalf("after the error %s: expected the end or a relay, got another hand-off", code)
			}
			s.exchange(pipe{m, s.opened(again)})
		}
	}
	s.exchange(s.open(addr)) // the next one is another matter
}

// openedOrOver waits until the plug opens something, or ends the medium's
// connection, on which nothing is sent before.
func (s *stand) openedOrOver(m mediumConn, what string) (plugtest.Incoming, wire.Type) {
	for s.ctx.Err() == nil {
		if o, t := s.core.Opening(quiet); o != nil {
			s.must(m.SetReadDeadline(time.Time{}), "take a deadline away")
			return o, t
		}
		s.must(m.SetReadDeadline(time.Now().Add(redial)), "set a deadline")
		if _, err := m.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, 0
		}
	}
	s.Fatalf("%s: expected that it is relayed or ends, it does neither", what)
	return nil, 0
}

func outlives(s *stand) {
	core := s.attach()
	it, addr := s.listening(core)
	p := s.open(addr)
	if !p.isHanded() {
		s.skip("the plug relays this")
	}
	core.Close(nil)
	core = s.session()
	s.configure(core, it)
	s.exchange(p)
	q := s.open(addr)
	s.kill()
	wait(s.trial, core.Done(), "the end of the session of a plug that was killed")
	s.exchange(p)
	s.exchange(q)
}

// kept waits until the plug has had the listener of an item kept.
func (s *stand) kept(core *plugtest.CoreSession, it wire.ConfigItem) {
	if s.comes(keepPatience, func() bool {
		s.must(s.core.Breach(), "descriptors")
		_, ok := core.Kept(it.Item)
		return ok
	}) {
		return
	}
	s.skip("the plug has no listener kept")
}

func keep(s *stand) {
	core := s.attach()
	it, addr := s.listening(core)
	s.exchange(s.open(addr))
	s.kept(core, it)
	s.kill()
	wait(s.trial, core.Done(), "the end of the session of a plug that was killed")
	early := s.connectNow(addr, "that the core keeps while the plug is away")
	s.run()
	core = s.session()
	s.configure(core, it)
	s.exchange(pipe{early, s.opened(s.incoming())})
	s.exchange(s.open(addr))
	s.kept(core, it)
}

func takeover(s *stand) {
	core := s.attach()
	it, addr := s.listening(core)
	before := s.open(addr)
	s.exchange(before)
	s.kept(core, it)
	killOlder := s.kill
	s.run()
	newer := s.session()
	s.oneOf("name of a second process", newer.Hello.Name, core.Hello.Name)
	early := s.connectNow(addr, "before it is taken over")
	s.exchange(pipe{early, s.opened(s.incoming())})
	err := core.Call(s.ctx, wire.TypeDrain, wire.Drain{DeadlineMS: time.Hour.Milliseconds(), Reason: "a newer process takes over"}, nil)
	s.must(err, "DRAIN")
	between := s.connectNow(addr, "between DRAIN and the newer process")
	s.configure(newer, it)
	s.exchange(pipe{between, s.opened(s.incoming())})
	s.exchange(s.open(addr))
	s.exchange(before)
	killOlder()
	s.exchange(s.open(addr))
}

// dialled configures an item that makes links and returns the first, which is
// handed over, before its answer.
func (s *stand) dialled(core *plugtest.CoreSession) (wire.ConfigItem, net.Listener, pipe, *plugtest.HandedOver) {
	l := s.medium()
	it := s.item(core.Hello, out, l.Addr().String())
	s.configure(core, it)
	p := pipe{medium: s.accept(l)}
	return it, l, p, s.handed(s.incoming())
}

// notDialled checks that the plug makes no connection to l for a while.
func (s *stand) notDialled(l net.Listener, why string) {
	tcp := l.(*net.TCPListener)
	if s.comes(2*quiet, func() bool {
		s.must(tcp.SetDeadline(time.Now().Add(redial)), "set a deadline")
		c, err := tcp.Accept()
		if err == nil {
			_ = c.Close()
		} else if !errors.Is(err, os.ErrDeadlineExceeded) {
			s.must(err, "wait for a connection")
		}
		return err == nil
	}) {
		s.Fatalf("%s: expected no connection, got one", why)
	}
	s.must(tcp.SetDeadline(time.Time{}), "set a deadline")
}

func closedLink(s *stand) {
	core := s.attach()
	_, l, p, h := s.dialled(core)
	for _, code := range []string{"", wire.CodeGone} {
		p.core = s.opened(h)
		s.exchange(p)
		s.must(p.core.Close(), "close the core's copy")
		s.notDialled(l, "before CLOSED")
		core.EndLink("o1", code)
		p.medium = s.accept(l)
		h = s.handed(s.incoming())
	}
}

func closedEarly(s *stand) {
	core := s.attach()
	_, l, _, h := s.dialled(core)
	core.EndLink("o1", wire.CodeGone)
	s.must(s.opened(h).Close(), "close the core's copy")
	s.accept(l)
	s.handed(s.incoming())
}

func live(s *stand) {
	core := s.attach()
	it, l, p, h := s.dialled(core)
	it.Live = []wire.Live{{Object: "o1", Remote: h.LinkBody().Remote}}
	p.core = s.opened(h)
	s.exchange(p)
	core.Close(nil)
	core = s.session()
	s.configure(core, it)
	s.notDialled(l, "the same process, with a live link")
	s.kill()
	wait(s.trial, core.Done(), "the end of the session of a plug that was killed")
	s.run()
	core = s.session()
	s.configure(core, it)
	s.notDialled(l, "a new process, with a live link of the earlier one")
	s.exchange(p)
	s.must(p.core.Close(), "close the core's copy")
	core.EndLink("o1", "")
	s.accept(l)
	s.handed(s.incoming())
}
