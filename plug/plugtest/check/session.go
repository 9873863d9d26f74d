package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// unknownType is of a message that no version has.
const unknownType wire.Type = 0x7e

// unknownKind is of an item that no plug has.
const unknownKind = "receptor-plugcheck-unknown"

var plugName = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

func programChecks() []Check {
	return []Check{
		{ID: "program/describe", About: "\"describe\" prints as JSON what HELLO says", run: describes},
	}
}

// connects says whether a role carries connections. Workers carry nothing, and packet
// services are looked at in a group of their own.
func connects(role string) bool { return role == wire.RoleLink || role == wire.RoleStream }

// playing marks checks that play the medium: all but those that are named.
func playing(checks []Check, but ...string) []Check {
	for i := range checks {
		checks[i].PlaysMedium = !slices.Contains(but, checks[i].ID)
	}
	return checks
}

// carried says which of these need a connection that is carried.
func carried(id string) bool {
	switch id {
	case "session/config-remove", "session/config-diff", "session/drain", "session/drain-deadline":
		return true
	default:
		return false
	}
}

func sessionChecks(role string) []Check {
	checks := []Check{
		{ID: "session/preamble", About: "a connection begins with the preamble and HELLO, a request with id 1, within 5 s", run: preamble},
		{ID: "session/hello", About: "HELLO has a name of 1 to 63 of a-z, 0-9 and -, and names its process", run: hello},
		{ID: "session/roles", About: "HELLO asks for the role, and lists its versions", run: roles},
		{ID: "session/kinds", About: "HELLO describes its kinds, each of one of its roles", run: kinds},
		{ID: "session/unknown-notification", About: "a notification that is not known is ignored", run: unknownNotification},
		{ID: "session/unknown-request", About: "a request that is not known is answered by unsupported", run: unknownRequest},
		{ID: "session/ping", About: "PING is answered", run: ping},
		{ID: "session/config", About: "CONFIG is answered and made so", run: config},
		{ID: "session/config-remove", About: "an item that CONFIG does not name any more is stopped", run: configRemove},
		{ID: "session/config-diff", About: "an item that has not changed is not touched", run: configDiff},
		{ID: "session/config-refused", About: "one wrong item is named, and everything stays as it was", run: configRefused},
		{ID: "session/wrong-parameter", About: "an item with a parameter that makes no sense is named, in the answer or in STATUS", run: wrongParameter},
		{ID: "session/status", About: "STATUS names each item, up or with the reason", run: status},
		{ID: "session/drain", About: "after DRAIN nothing new is opened, and what runs goes on", run: drain},
		{ID: "session/drain-deadline", About: "what is relayed after DRAIN ends at its deadline", run: drainDeadline},
	}
	if !connects(role) {
		return slices.DeleteFunc(checks, func(c Check) bool { return carried(c.ID) })
	}
	for i := range checks {
		checks[i].PlaysMedium = carried(checks[i].ID)
	}
	return checks
}

func describes(s *stand) {
	if s.o.Describe == nil {
		s.skip("it is not run as a program")
	}
	text, err := s.o.Describe(s.ctx)
	s.must(err, "describe")
	var told wire.Hello
	s.must(json.Unmarshal(text, &told), "decode what describe prints")
	said := s.attach().Hello
	if told.Name != said.Name || told.Program != said.Program {
		s.Fatalf("expected name and program of HELLO, %s and %s, got %s and %s", said.Name, said.Program, told.Name, told.Program)
	}
	a, err := json.Marshal(told.Kinds)
	s.must(err, "encode kinds")
	b, err := json.Marshal(said.Kinds)
	s.must(err, "encode kinds")
	if !bytes.Equal(a, b) {
		s.Fatalf("expected the kinds of HELLO, %s, got %s", b, a)
	}
}

func preamble(s *stand) {
	verdict := make(chan error, 1)
	s.prepare(nil)
	s.core.OnConn = func(c net.Conn) bool {
		select {
		case verdict <- firstFrame(c):
		default: // only the first counts
		}
		return true
	}
	s.start()
	s.must(wait(s.trial, verdict, "a connection"), "the first connection")
}

// firstFrame says what is wrong with how a session begins.
func firstFrame(c net.Conn) error {
	p, f, err := firstOf(c)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	switch {
	case p.Major != wire.Major || p.Kind != wire.ConnSession:
		return fmt.Errorf("preamble: expected major %d and kind 1, a session, got %d and %d", wire.Major, p.Major, p.Kind)
	case f.Type != wire.TypeHello || f.Flags != 0 || f.ID != 1:
		return fmt.Errorf("expected HELLO with flags 0 and id 1, got %s with flags %d and id %d", f.Type, f.Flags, f.ID)
	case f.Length > wire.MaxBodyBeforeWelcome:
		return fmt.Errorf("expected a HELLO of at most %d bytes, got %d", wire.MaxBodyBeforeWelcome, f.Length)
	}
	return json.Unmarshal(f.Body, &wire.Hello{})
}

func hello(s *stand) {
	h := s.attach().Hello
	if !plugName.MatchString(h.Name) {
		s.Fatalf("name: expected 1 to 63 of a-z, 0-9 and -, got %q", h.Name)
	}
	if h.Process == "" {
		s.Fatalf("process: expected a text that is random for each process, got none")
	}
	if h.Program == "" {
		s.Fatalf("program: expected a name for people, got none")
	}
}

func roles(s *stand) {
	h := s.attach().Hello
	for _, r := range h.Roles {
		if r.Role != s.o.Role {
			continue
		}
		if !slices.Contains(r.Versions, 1) {
			s.Fatalf("versions of role %s: expected 1 among them, got %v", r.Role, r.Versions)
		}
		return
	}
	s.Fatalf("roles: expected %s among them, got %+v", s.o.Role, h.Roles)
}

func kinds(s *stand) {
	h := s.attach().Hello
	if len(h.Kinds) == 0 {
		s.Fatalf("kinds: expected some, got none")
	}
	for i := range h.Kinds {
		k := &h.Kinds[i]
		if err := schema.CheckKind(k); err != nil {
			s.Fatal(err)
		}
		if !slices.ContainsFunc(h.Roles, func(r wire.RoleVersions) bool { return r.Role == k.Role }) {
			s.Fatalf("kind %s: expected one of the roles of HELLO, got %q", k.Kind, k.Role)
		}
		if k.Role != wire.RoleWorker {
			s.oneOf("kind "+k.Kind+": dir", k.Dir, in, out)
		}
	}
}

func ping(s *stand) {
	if err := s.attach().Call(s.ctx, wire.TypePing, nil, nil); err != nil {
		s.Fatalf("PING: expected an answer, got %v", err)
	}
}

func unknownNotification(s *stand) {
	core := s.attach()
	s.must(core.Notify(unknownType, map[string]int{"x": 1}), "send a notification")
	s.configure(core) // an answer to a request after it proves that the session goes on
}

func unknownRequest(s *stand) {
	core := s.attach()
	err := core.Call(s.ctx, unknownType, nil, nil)
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != wire.CodeUnsupported {
		s.Fatalf("expected the error unsupported, got %s", outcome(err))
	}
}

// outcome is an answer to a request in words.
func outcome(err error) string {
	if err == nil {
		return "no error"
	}
	return err.Error()
}

// eitherItem makes an item of whichever direction the plug has.
func (s *stand) eitherItem(core *plugtest.CoreSession) wire.ConfigItem {
	if s.o.Role == wire.RoleWorker {
		return s.item(core.Hello, "", s.freeAddr())
	}
	if s.has(core.Hello, in) {
		return s.item(core.Hello, in, s.freeAddr())
	}
	return s.item(core.Hello, out, s.freeAddr())
}

func config(s *stand) {
	core := s.attach()
	s.configure(core)
	if !connects(s.o.Role) || !s.plays() {
		it := s.eitherItem(core)
		s.configure(core, it)
		core.WaitStatus("item "+it.Item, func(st wire.Status) bool { return len(st.Items) == 1 && st.Items[0].Item == it.Item })
		return
	}
	if s.has(core.Hello, in) {
		_, addr := s.listening(core)
		s.connect(addr)
		return
	}
	l := s.medium()
	it := s.item(core.Hello, out, l.Addr().String())
	s.configure(core, it)
	if s.o.Role == wire.RoleLink {
		s.accept(l)
		return
	}
	s.bind(core, it)
}

// closed waits until nobody listens at addr.
func (s *stand) closed(addr string) {
	for s.ctx.Err() == nil {
		if !s.listens(addr) {
			return
		}
		s.pause(redial)
	}
	s.Fatalf("expected that nobody listens at %s, somebody does", addr)
}

func configRemove(s *stand) {
	core := s.attach()
	_, addr := s.listening(core)
	p := s.open(addr)
	s.configure(core)
	s.closed(addr)
	if err := s.ends(p.medium, "what the item carried"); err == nil && s.o.Role == wire.RoleStream {
		s.Fatalf("stream of an item that is gone: expected a reset, got a clean end")
	}
}

func configDiff(s *stand) {
	core := s.attach()
	stays, addr := s.listening(core)
	p := s.open(addr)
	other := s.freeAddr()
	s.configure(core, stays, s.item(core.Hello, in, other))
	q := s.open(other)
	s.exchange(q)
	s.exchange(p)
	s.configure(core, stays)
	s.closed(other)
	s.exchange(p)
	s.exchange(s.open(addr))
}

func configRefused(s *stand) {
	core := s.attach()
	if !connects(s.o.Role) || !s.plays() {
		it := s.eitherItem(core)
		s.configure(core, it)
		s.refusesWrong(core, it)
		core.WaitStatus("item "+it.Item, func(st wire.Status) bool { return len(st.Items) == 1 && st.Items[0].Item == it.Item })
		return
	}
	stays, addr := s.listening(core)
	p := s.open(addr)
	other := s.freeAddr()
	s.refusesWrong(core, s.item(core.Hello, in, other))
	s.exchange(p)
	s.exchange(s.open(addr))
	if s.listens(other) {
		s.Fatalf("a configuration that was refused: expected nothing of it, got a listener")
	}
	s.configure(core, stays)
}

// refusesWrong configures an item together with one that no plug has.
func (s *stand) refusesWrong(core *plugtest.CoreSession, it wire.ConfigItem) {
	wrong := plugtest.NewItem(s.trial, unknownKind+" x=1", unknownKind, map[string]int{"x": 1})
	r := core.Configure(it, wrong)
	if !slices.ContainsFunc(r.Errors, func(e wire.ItemError) bool { return e.Item == wrong.Item && e.Msg != "" }) {
		s.Fatalf("item of unknown kind: expected an error that names %q, got %+v", wrong.Item, r.Errors)
	}
}

func wrongParameter(s *stand) {
	core := s.attach()
	it := s.eitherItem(core)
	k := schema.Find(core.Hello.Kinds, it.Kind)
	var params map[string]any
	s.must(json.Unmarshal(it.Params, &params), "decode parameters")
	for _, p := range k.Params {
		if p.Required {
			params[p.Name] = map[string]any{"not": "a value of its type"}
		}
	}
	wrong := plugtest.NewItem(s.trial, it.Item, it.Kind, params)
	r := core.Configure(wrong)
	if slices.ContainsFunc(r.Errors, func(e wire.ItemError) bool { return e.Item == it.Item }) {
		return
	}
	if len(r.Errors) > 0 {
		s.Fatalf("expected an error that names %q, got %+v", it.Item, r.Errors)
	}
	if st := core.WaitItem(it.Item, wire.StateFailed); st.Err == "" {
		s.Fatalf("item failed: expected the reason in err, got none")
	}
}

func status(s *stand) {
	core := s.attach()
	it := s.eitherItem(core)
	s.configure(core, it)
	if s.o.Role == wire.RolePacket {
		s.own(s.core.PacketBind().OpenRecords(wire.PBound{Object: "packets", Node: "fake", Service: "fresh0", MTU: packetMTU}))
	}
	st := core.WaitStatus("item "+it.Item, func(st wire.Status) bool {
		return slices.ContainsFunc(st.Items, func(i wire.ItemStatus) bool { return i.Item == it.Item })
	})
	states := []string{wire.StateWaiting, wire.StateUp, wire.StateDegraded, wire.StateFailed}
	s.oneOf("state of the plug", st.State, states...)
	for _, i := range st.Items {
		s.oneOf("state of "+i.Item, i.State, states...)
	}
	if s.has(core.Hello, in) { // it can only be up, and is bound to something
		if up := core.WaitItem(it.Item, wire.StateUp); up.Addr == "" {
			s.Fatalf("addr of %s, which listens: expected what it is bound to, got none", it.Item)
		}
	}
	s.configure(core)
	core.WaitStatus("no item", func(st wire.Status) bool { return len(st.Items) == 0 })
}

func drain(s *stand) {
	core := s.attach()
	_, addr := s.listening(core)
	p := s.open(addr)
	s.exchange(p)
	err := core.Call(s.ctx, wire.TypeDrain, wire.Drain{DeadlineMS: time.Hour.Milliseconds(), Reason: "receptor-plugcheck"}, nil)
	s.must(err, "DRAIN")
	s.idle() // what was accepted before may still be opened
	if s.datagrams() {
		s.connect(addr)
	} else if c, err := net.DialTimeout("tcp", addr, quiet); err == nil {
		s.overTCP(c, true)
	}
	if o, t := s.opensSoon(); o != nil {
		s.Fatalf("after DRAIN: expected nothing new, got %s", t)
	}
	if !s.datagrams() { // there, a newer process receives on the same socket
		s.exchange(p)
	}
}

func drainDeadline(s *stand) {
	core := s.attach()
	_, addr := s.listening(core)
	p := s.open(addr)
	s.exchange(p)
	s.must(core.Call(s.ctx, wire.TypeDrain, wire.Drain{DeadlineMS: quiet.Milliseconds(), Reason: "receptor-plugcheck"}, nil), "DRAIN")
	_ = s.ends(p.medium, "what is relayed, after the deadline of DRAIN")
}
