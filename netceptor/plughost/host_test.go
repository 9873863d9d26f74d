package plughost

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
)

func TestAttach(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	hello := plugtest.Hello("backend-tcp", tcpListener(), tcpPeer())
	hello.Roles = append(hello.Roles, wire.RoleVersions{Role: wire.RoleWorker, Versions: []int{1}})
	hello.Roles[0].Versions = []int{7, 1}
	hello.Kinds = append(hello.Kinds,
		wire.Kind{Kind: "node", Role: wire.RoleLink},
		wire.Kind{Kind: "work-x", Role: wire.RoleWorker},
		wire.Kind{Kind: "own-cost", Role: wire.RoleLink, Params: []wire.Param{{Name: "cost", Type: "int"}}},
		tcpPeer(),
	)
	p := plugtest.AttachPlug(t, r.dial, plugtest.PlugOptions{Hello: hello})

	w := p.Welcome
	if w.Node != "alpha" || w.CoreVersion != "1.2.3" || len(w.Session) != 32 || w.HeartbeatMS != 5000 {
		t.Errorf("welcome %+v", w)
	}
	if w.Limits.Opens != wire.MaxOpens || w.Limits.DataConn != maxDataConns {
		t.Errorf("limits %+v", w.Limits)
	}
	if len(w.Roles) != 2 || w.Roles[0].Version != 1 || w.Roles[1].Refused == "" {
		t.Errorf("roles %+v", w.Roles)
	}
	wants := []string{"a kind of the core's own", "role worker is not granted", "parameter cost", "claimed twice"}
	if len(w.Kinds) != len(wants) {
		t.Fatalf("refused kinds %+v", w.Kinds)
	}
	for i, want := range wants {
		if !strings.Contains(w.Kinds[i].Refused, want) {
			t.Errorf("kind %s: %q, want %q", w.Kinds[i].Kind, w.Kinds[i].Refused, want)
		}
	}
	if c := p.WaitConfig("nothing in it", func(c wire.Config) bool { return c.Revision > 0 }); len(c.Items) != 0 {
		t.Errorf("config %+v", c)
	}

	plugs := r.Plugs()
	if len(plugs) != 1 {
		t.Fatalf("plugs %+v", plugs)
	}
	got := plugs[0]
	if got.Name != "backend-tcp" || got.Program != "receptor-backend-tcp" || got.State != "attached" ||
		got.UID != int(me().UID) || got.PID != me().PID || len(got.Kinds) != 2 || !strings.Contains(got.Err, "core's own") {
		t.Errorf("plug %+v", got)
	}
	p.Kill()
	r.eventually("the plug to be gone", func() bool { return len(r.Plugs()) == 0 })
}

func TestAttachRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	r.attach("first", tcpListener())
	greedy := plugtest.Hello("greedy")
	greedy.Kinds = make([]wire.Kind, maxKinds+1)
	for _, tc := range []struct {
		name  string
		hello wire.Hello
		code  string
		text  string
	}{
		{"empty name", plugtest.Hello(""), wire.CodeInvalid, "expected 1 to 63"},
		{"upper case", plugtest.Hello("First"), wire.CodeInvalid, `"First"`},
		{"long name", plugtest.Hello(strings.Repeat("x", 64)), wire.CodeInvalid, "expected 1 to 63"},
		{"many kinds", greedy, wire.CodeLimit, "65 kinds"},
		{"name in use", plugtest.Hello("first"), wire.CodeExists, "first is attached"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := plugtest.TryAttachPlug(t, r.dial, plugtest.PlugOptions{Hello: tc.hello})
			wantError(t, err, tc.code, tc.text)
		})
	}
	second := r.attach("second", tcpListener(), tcpPeer())
	if k := second.Welcome.Kinds; len(k) != 1 || k[0].Refused != "claimed by first" {
		t.Errorf("refused kinds %+v", k)
	}
	if s := r.Plugs()[1]; s.Name != "second" || !strings.Contains(s.Err, "tcp-listener: claimed by first") {
		t.Errorf("status %+v", s)
	}
}

// Rules for plugs that are not installed are no news, until somebody is denied.
func TestPolicyOfUsersThatAreNotThere(t *testing.T) {
	t.Parallel()
	r := newHostOnly(t, "alpha", Config{Policy: Policy{Rules: []Rule{{User: "no-such-user"}, {Group: "no-such-group", User: "4242"}}}})
	for line := range strings.Lines(r.log.String()) {
		if !strings.Contains(line, "[DEBUG]") {
			t.Errorf("at start the log has %s", line)
		}
	}
	const denied = "plugs-policy has no rule for uid 4343"
	_, err := plugtest.TryAttachPlug(t, r.dialAs(socket.Cred{UID: 4343, Known: true}), plugtest.PlugOptions{Hello: plugtest.Hello("tcp")})
	wantError(t, err, wire.CodeDenied, denied)
	if strings.Contains(err.Error(), "no-such") {
		t.Errorf("a stranger is told of the rules: %v", err)
	}
	if want := denied + "; its rules of these match nobody, since they are not there: user no-such-user, group no-such-group"; !strings.Contains(r.log.String(), want) {
		t.Errorf("no %q in the log\n%s", want, r.log)
	}
}

func TestAttachByPolicy(t *testing.T) {
	t.Parallel()
	r := newHostOnly(t, "alpha", Config{Policy: Policy{Rules: []Rule{
		{User: "4242", Name: "tcp*", Kinds: []string{"tcp-l*"}, Roles: map[string]RoleRule{wire.RoleLink: {}}},
	}}})
	stranger := socket.Cred{UID: 4343, GID: 4343, PID: 77, Known: true}
	_, err := plugtest.TryAttachPlug(t, r.dialAs(stranger), plugtest.PlugOptions{Hello: plugtest.Hello("tcp")})
	wantError(t, err, wire.CodeDenied, "plugs-policy has no rule for uid 4343")
	if !strings.Contains(r.log.String(), "uid=4343 gid=4343 pid=77") {
		t.Errorf("log %s", r.log)
	}

	granted := socket.Cred{UID: 4242, Known: true}
	_, err = plugtest.TryAttachPlug(t, r.dialAs(granted), plugtest.PlugOptions{Hello: plugtest.Hello("udp")})
	wantError(t, err, wire.CodeDenied, "plug named udp")
	p := plugtest.AttachPlug(t, r.dialAs(granted), plugtest.PlugOptions{Hello: plugtest.Hello("tcp", tcpListener(), tcpPeer(), tcpServer())})
	if k := p.Welcome.Kinds; len(k) != 2 || k[0].Refused != "not allowed by plugs-policy" || !strings.Contains(k[1].Refused, "role stream") {
		t.Errorf("refused kinds %+v", k)
	}

	// The session's secret is of no use to another user.
	dialAs := r.dialAs(me())
	thief := plugtest.AttachPlug(t, dialAs, plugtest.PlugOptions{Hello: plugtest.Hello("thief", tcpServer())})
	_, err = thief.Dial(t.Context(), wire.Dial{Session: p.Welcome.Session, Node: "alpha", Service: "x"})
	wantError(t, err, wire.CodeDenied, "no session of uid")
	_, err = thief.Dial(t.Context(), wire.Dial{Session: strings.Repeat("0", 32), Node: "alpha", Service: "x"})
	wantError(t, err, wire.CodeDenied, "no session of uid")
	_, err = p.Dial(t.Context(), wire.Dial{Node: "alpha", Service: "x"})
	wantError(t, err, wire.CodeDenied, "role stream is not granted")
}

// A kind that the policy allows brings no other one along as its alias.
func TestAliasByPolicy(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{Policy: Policy{Rules: []Rule{{Kinds: []string{"tcp-server"}}}}})
	r.SetItems([]Item{
		{Kind: "tcp-server", Params: map[string]any{"port": 1}},
		{Kind: "tcp-inbound-proxy", Params: map[string]any{"port": 2}},
	})
	r.attach("proxy", tcpServer()).WaitConfig("one item", func(c wire.Config) bool {
		return len(c.Items) == 1 && c.Items[0].Item == "tcp-server port=1"
	})
	r.itemIs(1, "waiting", "claims tcp-inbound-proxy")
}

func TestBadFirstBytes(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	session := wire.Preamble{Major: wire.Major, Kind: wire.ConnSession}.Append(nil)
	data := wire.Preamble{Major: wire.Major, Kind: wire.ConnData}.Append(nil)
	huge := binary.BigEndian.AppendUint32(nil, wire.MaxBodyBeforeWelcome+1)
	huge = append(huge, byte(wire.TypeHello), 0, 0, 0, 0, 0, 0, 1)
	for _, tc := range []struct {
		name    string
		bytes   []byte
		counter string
		answer  string // contained in what comes back; empty: nothing comes
	}{
		{"magic", []byte("GET / HTTP/1.1\r\n"), "refused_preamble", ""},
		{"connection kind", []byte("RCPTPLUG\x01\x09\x00\x00"), "refused_preamble", ""},
		{"major", []byte("RCPTPLUG\x63\x01\x00\x00"), "refused_protocol", `"majors":[1]`},
		{"oversize HELLO", append(session, huge...), "refused_protocol", `"code":"invalid"`},
		{"no HELLO", append(session, plugtest.Frame(wire.TypeBind, 0, 1, "{}")...), "refused_protocol", `"code":"invalid"`},
		{"HELLO no JSON", append(session, plugtest.Frame(wire.TypeHello, 0, 1, "hello")...), "refused_protocol", `"code":"invalid"`},
		{"HELLO of other types", append(session, plugtest.Frame(wire.TypeHello, 0, 1, `{"name":1}`)...), "refused_invalid", `"code":"invalid"`},
		{"data of no type", append(data, plugtest.Frame(0x77, 0, 1, "{}")...), "refused_unsupported", `"code":"unsupported"`},
		{"nothing", nil, "refused_incomplete", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := r.Counters()[tc.counter]
			c := plugtest.Raw(t, r.dial, tc.bytes)
			if err := c.(*net.UnixConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if err := c.SetReadDeadline(time.Now().Add(plugtest.Patience)); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(c)
			if errors.Is(err, io.ErrUnexpectedEOF) || isTimeout(err) {
				t.Fatal(err)
			}
			if !strings.Contains(string(got), tc.answer) || tc.answer == "" && len(got) > 0 {
				t.Errorf("answer %q, want %q", got, tc.answer)
			}
			r.eventually(tc.counter, func() bool { return r.Counters()[tc.counter] == before+1 })
		})
	}
	if !strings.Contains(r.log.String(), "plug refused") {
		t.Errorf("log %s", r.log)
	}
	r.attach("healthy").WaitConfig("any", func(c wire.Config) bool { return c.Revision > 0 })
}

func TestSlowPreamble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newHostOnly(t, "alpha", Config{})
		c := plugtest.Raw(t, r.dial, []byte("RCPT"))
		start := time.Now()
		if n, err := c.Read(make([]byte, 1)); err == nil {
			t.Fatalf("got %d bytes", n)
		}
		if d := time.Since(start); d != wire.PreambleTimeout {
			t.Errorf("closed after %v, want %v", d, wire.PreambleTimeout)
		}
		synctest.Wait()
		if r.Counters()["refused_slow"] != 1 {
			t.Errorf("counters %v", r.Counters())
		}
	})
}

// One user's silent connections keep nobody else out.
func TestReadersAreBoundedByUser(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newHostOnly(t, "alpha", Config{Policy: Policy{Rules: []Rule{{User: "1000"}}}})
		for range 2 * readersPerUser {
			plugtest.Raw(t, r.dialAs(socket.Cred{UID: 1000, Known: true}))
		}
		synctest.Wait()
		start := time.Now()
		r.attach("healthy")
		if d := time.Since(start); d != 0 {
			t.Errorf("waited %v for another user's connections", d)
		}
		// That user's own plug has its turn when the first have been given up.
		plugtest.AttachPlug(t, r.dialAs(socket.Cred{UID: 1000, Known: true}), plugtest.PlugOptions{Hello: plugtest.Hello("late")})
		if d := time.Since(start); d == 0 || d > 3*wire.PreambleTimeout {
			t.Errorf("attached after %v", d)
		}
	})
}

func TestConnectionsAreBoundedByUser(t *testing.T) {
	t.Parallel()
	r := newHostOnly(t, "alpha", Config{})
	cred := socket.Cred{UID: 1000, Known: true}
	for range connsPerUser {
		if _, ok := r.userEnters(cred); !ok {
			t.Fatal("refused too early")
		}
	}
	if _, ok := r.userEnters(cred); ok {
		t.Error("no bound")
	}
	if _, ok := r.userEnters(me()); !ok {
		t.Error("another user is refused")
	}
	for range connsPerUser {
		r.userLeaves(cred)
	}
	r.userLeaves(me())
	if len(r.accounts) != 0 {
		t.Errorf("%d accounts left", len(r.accounts))
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	r := newRig(t, "alpha", Config{})
	p := r.attach("proxy-tcp", tcpServer())
	p.WaitConfig("anything", func(c wire.Config) bool { return c.Revision > 0 }) // the session runs: it can be told
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	wantError(t, p.WaitEnd(), wire.CodeDraining, "stopping")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := plugtest.TryAttachPlug(t, r.dial, plugtest.PlugOptions{Hello: plugtest.Hello("late")}); err == nil {
		t.Error("attached to a closed host")
	}
}

func TestNewChecksItsConfig(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "Config.Node") {
		t.Errorf("got %v", err)
	}
}
