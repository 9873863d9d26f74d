package check

import (
	"encoding/json"
	"io"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
)

func linkChecks() []Check {
	return playing([]Check{
		{ID: "link/open-in", About: "a connection to a listener is opened as LINK, with the session's secret and the item", run: linkIn},
		{ID: "link/open-out", About: "a connection that the item makes is opened as LINK, with the session's secret and the item", run: linkOut},
		{ID: "link/quiet-before-answer", About: "nothing is sent between LINK and its answer", run: quietBeforeAnswer},
		{ID: "link/relay-bytes", About: "bytes are relayed as they are, 16 MiB each way; over datagrams, messages of all sizes", run: func(s *stand) { s.both(s.carryBulk) }},
		{ID: "link/back-pressure", About: "who is not read from is not read for: little waits in the plug, and nothing is lost", run: func(s *stand) { s.both(s.backPressure) }, connected: true},
		{ID: "link/relay-two", About: "links of one listener are apart", run: linkTwo},
		{ID: "link/refused", About: "a refused link leaves nothing on the medium", run: linkRefused},
		{ID: "link/end-by-core", About: "the end of the data connection ends the medium's", run: func(s *stand) {
			s.both(func(p pipe) {
				s.exchange(p)
				s.must(p.core.Close(), "close the data connection")
				_ = s.ends(p.medium, "the medium's connection after the end of the data connection")
			})
		}},
		{ID: "link/end-by-medium", About: "the end of the medium's connection ends the data connection", connected: true, run: func(s *stand) {
			s.both(func(p pipe) {
				s.exchange(p)
				s.must(p.medium.Close(), "close the medium's connection")
				_ = s.ends(p.core, "the data connection after the end of the medium's")
			})
		}},
		{ID: "link/redial", About: "an item that makes links makes the next when one has ended", run: linkRedial},
	})
}

// isLink checks the body of LINK.
func (s *stand) isLink(d plugtest.Incoming, core *plugtest.CoreSession, it wire.ConfigItem, dir string) {
	b := d.LinkBody()
	if b.Session != core.Welcome.Session {
		s.Fatalf("session of LINK: expected the secret of WELCOME, got another")
	}
	if b.Item != it.Item {
		s.Fatalf("item of LINK: expected %q, got %q", it.Item, b.Item)
	}
	s.oneOf("dir of LINK", b.Dir, dir)
}

func linkIn(s *stand) {
	core := s.attach()
	it, addr := s.listening(core)
	m := s.connect(addr)
	d := s.incoming()
	s.isLink(d, core, it, in)
	s.exchange(pipe{m, s.opened(d)})
}

// dialing configures an item of direction out and returns it with its medium.
func (s *stand) dialing(core *plugtest.CoreSession) (wire.ConfigItem, func() pipe) {
	l := s.medium()
	it := s.item(core.Hello, out, l.Addr().String())
	s.configure(core, it)
	return it, func() pipe { return pipe{medium: s.accept(l)} }
}

func linkOut(s *stand) {
	core := s.attach()
	it, next := s.dialing(core)
	p := next()
	d := s.incoming()
	s.isLink(d, core, it, out)
	p.core = s.opened(d)
	s.exchange(p)
}

func linkTwo(s *stand) {
	core := s.attach()
	_, addr := s.listening(core)
	p, q := s.open(addr), s.open(addr)
	s.exchange(p)
	s.exchange(q)
	if s.datagrams() {
		s.must(p.core.Close(), "close the data connection")
		_ = s.ends(p.medium, "the first link")
	} else {
		s.must(p.medium.Close(), "close the medium's connection")
		_ = s.ends(p.core, "the data connection of the first link")
	}
	s.exchange(q)
}

// quietBeforeAnswer is of DIAL as well.
func quietBeforeAnswer(s *stand) {
	core := s.attach()
	_, addr := s.listening(core)
	m := s.connect(addr)
	d := s.incoming().(*plugtest.DataConn) // all is relayed here
	const early = "\x05\x00early"
	_, err := m.Write([]byte(early))
	s.must(err, "write to the medium")
	watch := d.WithHangup(s.ctx)
	if s.comes(quiet, func() bool { return watch.Err() != nil }) {
		s.Fatalf("before the answer to %s: expected nothing, got bytes or the end", d.Type)
	}
	c := s.opened(d)
	got := make([]byte, len(early))
	n, err := c.Read(got)
	if err != nil || string(got[:n]) != early[:n] {
		s.Fatalf("after the answer to %s: expected what the medium has said, got %q, %v", d.Type, got[:n], err)
	}
}

func linkRefused(s *stand) {
	core := s.attach()
	_, addr := s.listening(core)
	m := s.connect(addr)
	s.incoming().Refuse(wire.NewError(wire.CodeDenied, "receptor-plugcheck refuses it"))
	_ = s.ends(m, "the medium's connection of a refused link")
	s.exchange(s.open(addr)) // the next one is another matter
}

func linkRedial(s *stand) {
	core := s.attach()
	it, next := s.dialing(core)
	for _, end := range []string{"the medium", "the core"} {
		if end == "the medium" && s.datagrams() {
			end = "the core"
		}
		p := next()
		d := s.incoming()
		s.isLink(d, core, it, out)
		p.core = s.opened(d)
		s.exchange(p)
		var closing io.Closer = p.core
		if end == "the medium" {
			closing = p.medium
		}
		s.must(closing.Close(), "close a link by "+end)
	}
	next()
}

// param is the text of an item's parameter.
func param(it wire.ConfigItem, name string) string {
	var params map[string]any
	if json.Unmarshal(it.Params, &params) != nil {
		return ""
	}
	text, _ := params[name].(string)
	return text
}
