package plughost

import (
	"fmt"
	"os"
	"os/user"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
)

func TestPolicyMatch(t *testing.T) {
	t.Parallel()
	own := uint32(os.Geteuid())
	root, err := user.LookupId("0")
	if err != nil {
		t.Fatal(err)
	}
	rootGroup, err := user.LookupGroupId("0")
	if err != nil {
		t.Fatal(err)
	}
	stranger := socket.Cred{UID: 4242, GID: 4343, Groups: []uint32{4444}, Known: true}
	for _, tc := range []struct {
		name  string
		rules []Rule
		cred  socket.Cred
		plug  string
		want  int // index of the rule; -1: everything; -2: nothing
	}{
		{"root by default", nil, socket.Cred{UID: 0, Known: true}, "x", -1},
		{"own user by default", nil, socket.Cred{UID: own, Known: true}, "x", -1},
		{"stranger by default", nil, stranger, "x", -2},
		{"unknown by default", nil, socket.Cred{}, "x", -1},
		{"unknown where users count", []Rule{{User: "4242"}}, socket.Cred{}, "x", -2},
		{"unknown where groups count", []Rule{{Group: "0"}}, socket.Cred{}, "x", -2},
		{"unknown where names count", []Rule{{Name: "y"}}, socket.Cred{}, "x", -1},
		{"user by number", []Rule{{User: "1"}, {User: "4242"}}, stranger, "x", 1},
		{"user by name", []Rule{{User: root.Username}}, socket.Cred{UID: 0, Known: true}, "x", 0},
		{"group by number", []Rule{{Group: "4343"}}, stranger, "x", 0},
		{"supplementary group", []Rule{{Group: "4444"}}, stranger, "x", 0},
		{"group by name", []Rule{{Group: rootGroup.Name}}, socket.Cred{UID: 4242, GID: 0, Known: true}, "x", 0},
		{"user and group", []Rule{{User: "4242", Group: "1"}, {User: "4242", Group: "4343"}}, stranger, "x", 1},
		{"unknown user", []Rule{{User: "no-such-user"}}, stranger, "x", -2},
		{"unknown group", []Rule{{Group: "no-such-group"}}, stranger, "x", -2},
		{"name", []Rule{{Name: "tcp*"}}, stranger, "tcp-1", 0},
		{"another name", []Rule{{Name: "tcp*"}}, stranger, "udp", -2},
		{"first wins", []Rule{{Name: "t*"}, {User: "4242"}}, stranger, "tcp", 0},
		{"rules narrow root, too", []Rule{{User: "0"}}, socket.Cred{UID: 0, Known: true}, "x", 0},
	} {
		p := Policy{Rules: tc.rules}
		got := -2
		if r := p.match(tc.cred, tc.plug); r == &everything {
			got = -1
		} else if r != nil {
			for i := range p.Rules {
				if r == &p.Rules[i] {
					got = i
				}
			}
		}
		if got != tc.want {
			t.Errorf("%s: rule %d, want %d", tc.name, got, tc.want)
		}
		if tc.want != -2 && !p.knows(tc.cred) {
			t.Errorf("%s: refused before its name is known", tc.name)
		}
	}
	unknown := Policy{Rules: []Rule{{User: "no-such-user", Group: "no-such-group"}, {User: "0"}, {}}}
	if got := fmt.Sprint(unknown.unknownNames()); got != "[user no-such-user group no-such-group]" {
		t.Errorf("unknown names %s", got)
	}
}

func TestRuleAllows(t *testing.T) {
	t.Parallel()
	open, narrow := RoleRule{}, RoleRule{Dial: []string{"*/ssh", "beta/*", "a/b/c"}, Bind: []string{"web*"}}
	for _, tc := range []struct {
		node, service string
		want          bool
	}{
		{"any", "ssh", true},
		{"beta", "x", true},
		{"any", "sshd", false},
		{"alpha", "x", false},
		{"a/b", "c", true},
		{"a/b", "ssh", false}, // * spans no slash
	} {
		if !open.allowsDial(tc.node, tc.service) {
			t.Errorf("no patterns refuse %s/%s", tc.node, tc.service)
		}
		if got := narrow.allowsDial(tc.node, tc.service); got != tc.want {
			t.Errorf("%s/%s: %v", tc.node, tc.service, got)
		}
	}
	for service, want := range map[string]bool{"web": true, "web1": true, "ssh": false, "": false} {
		if !open.allowsBind(service) || narrow.allowsBind(service) != want {
			t.Errorf("bind %q: want %v", service, want)
		}
	}
	rule := Rule{Kinds: []string{"tcp-*"}, Roles: map[string]RoleRule{wire.RoleLink: {Max: 3}}}
	if !rule.allowsKind("tcp-peer") || rule.allowsKind("udp-peer") || !everything.allowsKind("udp-peer") {
		t.Error("kinds")
	}
	if rr, ok := rule.allowsRole(wire.RoleLink); !ok || rr.Max != 3 {
		t.Error("role link")
	}
	if _, ok := rule.allowsRole(wire.RoleStream); ok {
		t.Error("role stream")
	}
	if _, ok := everything.allowsRole(wire.RoleStream); !ok {
		t.Error("everything")
	}
}

func TestPolicyValidate(t *testing.T) {
	t.Parallel()
	stream := func(r RoleRule) Rule { return Rule{Roles: map[string]RoleRule{wire.RoleStream: r}} }
	for _, tc := range []struct {
		rule Rule
		want string // empty: fine
	}{
		{Rule{User: "nobody-yet", Name: "a*", Kinds: []string{"*"}}, ""},
		{stream(RoleRule{Max: 1, Dial: []string{"*/*"}, Bind: []string{"web[0-9]"}}), ""},
		{Rule{Name: "a["}, `rule 2: name: "a["`},
		{Rule{Kinds: []string{"ok", "[["}}, `rule 2: kinds: "[["`},
		{Rule{Roles: map[string]RoleRule{"lnik": {}}}, `rule 2: roles: unknown role "lnik"`},
		{Rule{Roles: map[string]RoleRule{wire.RoleLink: {Max: -1}}}, "rule 2: roles.link.max: -1"},
		{Rule{Roles: map[string]RoleRule{wire.RoleLink: {Dial: []string{"a/b"}}}}, "rule 2: roles.link.dial"},
		{stream(RoleRule{Dial: []string{"node"}}), `rule 2: roles.stream.dial: "node", expected node/service`},
		{stream(RoleRule{Dial: []string{"a[/b"}}), "rule 2: roles.stream.dial"},
		{stream(RoleRule{Bind: []string{"["}}), "rule 2: roles.stream.bind"},
	} {
		p := Policy{Rules: []Rule{{}, tc.rule}}
		err := p.Validate()
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%+v: got %v, want %q", tc.rule, err, tc.want)
		}
	}
}

func TestPolicyParams(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		kind wire.Kind
		want string
	}{
		{tcpListener(), "cost allowedpeers nodecost"},
		{tcpPeer(), "cost allowedpeers"},
		{tcpServer(), ""},
	} {
		var names []string
		for _, p := range PolicyParams(tc.kind) {
			names = append(names, p.Name)
		}
		if got := strings.Join(names, " "); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.kind.Kind, got, tc.want)
		}
		full, err := withPolicyParams(tc.kind)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.CheckKind(&full); err != nil {
			t.Error(err)
		}
	}
	full, err := withPolicyParams(tcpListener())
	if err != nil {
		t.Fatal(err)
	}
	v, errs := schema.Check(&full, "tcp-listener", "x", map[string]any{
		"port": 1, "cost": 2, "nodecost": `{"b": 3}`, "allowedpeers": []any{"b", "c"},
	})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	c := takePolicy(&full, v)
	if got := fmt.Sprint(c.Cost, c.NodeCost, c.AllowedPeers, v); got != "2 map[b:3] [b c] map[bindaddr:0.0.0.0 port:1]" {
		t.Errorf("got %s", got)
	}
}

func TestBucket(t *testing.T) {
	t.Parallel()
	var b bucket
	now := time.Now()
	take := func() (n int) {
		for b.take(now, 1) {
			n++
		}
		return n
	}
	if n := take(); n != framesBurst {
		t.Errorf("%d at once, want %d", n, framesBurst)
	}
	now = now.Add(time.Second)
	if n := take(); n != framesPerSecond {
		t.Errorf("%d after a second, want %d", n, framesPerSecond)
	}
	now = now.Add(time.Hour)
	if n := take(); n != framesBurst {
		t.Errorf("%d after an hour, want %d", n, framesBurst)
	}
}

func TestClip(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":                  "plain",
		"two\nlines\x1b[31m":     "two lines [31m",
		"bad \xff bytes":         "bad  bytes",
		strings.Repeat("x", 256): strings.Repeat("x", 256),
		strings.Repeat("x", 257): strings.Repeat("x", 253) + "...",
		strings.Repeat("é", 200): strings.Repeat("é", 126) + "...",
	} {
		if got := clip(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
