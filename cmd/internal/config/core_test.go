package config

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/netceptor/plughost"
	"github.com/project-receptor/receptor/workceptor"
)

func split(t *testing.T, args ...string) (Core, []Item, error) {
	t.Helper()
	line, err := Parse(args)
	if err != nil {
		t.Fatal(err)
	}
	return Split(line.Items)
}

func TestSplit(t *testing.T) {
	t.Parallel()
	c, rest, err := split(t, strings.Fields("--Node id=n DataDir=/d maxidleconnectiontimeout=1m --log-level WARNING --local-only "+
		"--tcp-listener 1 --controlsock filename=/c/s tcplisten=77 --control-service service=ctl permissions=0660 "+
		`--plugs-policy socket=/p/s group=7 mode=0600 rules=[{"user":1000,"group":"g","name":"tcp*","kinds":["tcp-*"],"roles":{"link":{"max":4},"stream":{"dial":["*/a"],"bind":["b"]}}}] `+
		"--tcp-client service=a address=b:1")...)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, c, Core{
		NodeID: "n", DataDir: "/d", MaxIdle: time.Minute, LogLevel: hclog.Warn,
		Control: []ControlService{
			{Service: "control", Filename: "/c/s", Mode: 0o600, TCP: "0.0.0.0:77", Label: "controlsock filename=/c/s tcplisten=77"},
			{Service: "ctl", Mode: 0o660, Label: "control-service service=ctl permissions=0660"},
		},
		Plugs: PlugsPolicy{Socket: "/p/s", Group: 7, ControlGroup: 7, Mode: 0o600, Policy: plughost.Policy{Rules: []plughost.Rule{{
			User: "1000", Group: "g", Name: "tcp*", Kinds: []string{"tcp-*"},
			Roles: map[string]plughost.RoleRule{"link": {Max: 4}, "stream": {Dial: []string{"*/a"}, Bind: []string{"b"}}},
		}}}},
	})
	equal(t, len(rest), 2)
	equal(t, rest[0].Kind, "tcp-listener")
	equal(t, rest[1].Kind, "tcp-client")
}

func TestRetention(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]workceptor.Retention{
		"--work-retention age=168h":                  {Age: 7 * 24 * time.Hour},
		"--work-retention units=1000 size=10GiB":     {Count: 1000, Size: 10 << 30},
		"--work-retention age=1m units=1 size=12345": {Age: time.Minute, Count: 1, Size: 12345},
		"": {},
	} {
		c, _, err := split(t, strings.Fields("--node-id n "+args)...)
		if err != nil {
			t.Errorf("%s: %v", args, err)
		}
		equal(t, c.Retain, want)
	}
	for args, want := range map[string]string{
		"--work-retention":                                 "work-retention: expected age, units or size",
		"--work-retention age=59s":                         "parameter age: expected at least 1m0s, got 59s",
		"--work-retention age=7d":                          "parameter age",
		"--work-retention units=0":                         "parameter units: expected a number from 1, got 0",
		"--work-retention size=0":                          `parameter size: expected bytes, or a number with KiB, MiB, GiB or TiB, got "0"`,
		"--work-retention size=9000000000GiB":              "parameter size",
		"--work-retention size=1GB":                        "parameter size",
		"--work-retention age=1h --work-retention units=1": "there can be one work-retention only",
	} {
		if _, _, err := split(t, strings.Fields("--node-id n "+args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

func TestSplitDefaults(t *testing.T) {
	t.Parallel()
	c, _, err := split(t, "--node-id", "n")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, c.LogLevel, hclog.Info)
	equal(t, c.Plugs, PlugsPolicy{Group: -1, ControlGroup: -1, Mode: 0o660})
	equal(t, c.Control == nil, true)
	if c.DataDir == "" {
		t.Error("no data directory")
	}

	host, err := os.Hostname()
	if err != nil || strings.HasPrefix(host, "localhost") {
		return // this host cannot give a node its name
	}
	c, _, err = split(t)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, c.NodeID, host)
}

func TestSplitLogLevel(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]hclog.Level{
		"":                          hclog.Info,
		"--log-level":               hclog.Error,
		"--log-level error":         hclog.Error,
		"--log-level level=Info":    hclog.Info,
		"--log-level=trace":         hclog.Trace,
		"--debug":                   hclog.Debug,
		"--trace":                   hclog.Trace,
		"--trace --log-level debug": hclog.Trace,
	} {
		c, _, err := split(t, append([]string{"--node-id", "n"}, strings.Fields(args)...)...)
		if err != nil {
			t.Fatal(err)
		}
		if c.LogLevel != want {
			t.Errorf("%s: got %v, want %v", args, c.LogLevel, want)
		}
	}
}

func TestSplitRulesInYAML(t *testing.T) {
	t.Parallel()
	items, err := ParseYAML("n.yml", []byte(`
- node: {id: n}
- plugs-policy:
    rules:
      - {user: receptor-tcp, name: "tcp*", kinds: ["tcp-*"], roles: {link: {max: 64}}}
      - {group: 12, roles: {stream: {dial: ["*/ssh"]}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := Split(items)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, c.Plugs.Policy.Rules, []plughost.Rule{
		{User: "receptor-tcp", Name: "tcp*", Kinds: []string{"tcp-*"}, Roles: map[string]plughost.RoleRule{"link": {Max: 64}}},
		{Group: "12", Roles: map[string]plughost.RoleRule{"stream": {Dial: []string{"*/ssh"}}}},
	})
}

func TestSplitErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, args, want string }{
		{"two nodes", "--node-id n --node-id n", `node-id n: there can be one node only, and "node-id n" is one already`},
		{"two nodes by two names", "--node id=a --node-id b", `node-id b: there can be one node only, and "node id=a" is one already`},
		{"two log levels", "--node-id n --log-level info --debug", `debug: there can be one log-level only, and "log-level info" is one already`},
		{"two policies", "--node-id n --plugs-policy socket=/a --plugs-policy mode=0600", `plugs-policy mode=0600: there can be one plugs-policy only, and "plugs-policy socket=/a" is one already`},
		{"two control services of one name", "--node-id n --control-service filename=/a --control-service filename=/b", `control-service filename=/b: there can be one control-service service=control only, and "control-service filename=/a" is one already`},
		{"a misspelt parameter", "--node-id n --log-level levl=info", `log-level levl=info: unknown parameter levl; did you mean level? log-level takes level`},
		{"a bare value where none is taken", "--node-id n --control-service ctl", `control-service ctl: control-service takes no value without a name, got "ctl"; control-service takes service, filename, permissions, tls, tcplisten, tcptls`},
		{"a node called localhost", "--node-id localhost", `node-id localhost: parameter id: expected a node ID, got "localhost", which every host is`},
		{"two IDs", "--node a id=b", `node a id=b: parameter id is given twice: "a" and "b"`},
		{"no such level", "--node-id n --log-level loud", `log-level loud: parameter level: expected error, warning, info, debug or trace, got "loud"`},
		{"an idle time too short", "--node id=n maxidleconnectiontimeout=5s", `node id=n maxidleconnectiontimeout=5s: parameter maxidleconnectiontimeout: expected at least 21s, got 5s`},
		{"an idle time that is none", "--node id=n maxidleconnectiontimeout=soon", `node id=n maxidleconnectiontimeout=soon: parameter maxidleconnectiontimeout: expected a duration such as 10s or 1m30s, got "soon"`},
		{"a mode that is none", "--node-id n --control-service permissions=rw", `control-service permissions=rw: parameter permissions: expected a whole number, got "rw"`},
		{"a mode too large", "--node-id n --plugs-policy mode=07777", `plugs-policy mode=07777: parameter mode: expected a mode from 0 to 0777, got 07777`},
		{"a service name too long", "--node-id n --control-service service=ninechars", `control-service service=ninechars: parameter service: expected a service name of 1 to 8 bytes, got "ninechars"`},
		{"no port", "--node-id n --control-service tcplisten=localhost", `control-service tcplisten=localhost: parameter tcplisten: expected a port from 0 to 65535, or host:port, got "localhost"`},
		{"a port too high", "--node-id n --control-service tcplisten=h:65536", `control-service tcplisten=h:65536: parameter tcplisten: expected a port from 0 to 65535, or host:port, got "h:65536"`},
		{"TLS without a port", "--node-id n --control-service tcptls=a", `control-service tcptls=a: parameter tcptls: goes with tcplisten, which is not there`},
		{"TLS that is not there", "--node-id n --control-service tcplisten=1 tcptls=a", `control-service tcplisten=1 tcptls=a: parameter tcptls: there is no tls-server named a`},
		{"two on one port", "--node-id n --control-service tcplisten=1 --control-service service=b tcplisten=0.0.0.0:1", `control-service service=b tcplisten=0.0.0.0:1: there can be one control-service tcplisten=0.0.0.0:1 only, and "control-service tcplisten=1" is one already`},
		{"no such group of the control socket", "--node-id n --plugs-policy controlgroup=no-such-group", `plugs-policy controlgroup=no-such-group: parameter controlgroup: expected a group of this system or its number, got "no-such-group"`},
		{"no such group", "--node-id n --plugs-policy group=no-such-group", `plugs-policy group=no-such-group: parameter group: expected a group of this system or its number, got "no-such-group"`},
		{"an unknown key in a rule", `--node-id n --plugs-policy rules=[{"usr":"a"}]`, `plugs-policy rules=[{"usr":"a"}]: parameter rules: expected a list such as [{"user": "jobs", "kinds": ["tcp-*"]}]: json: unknown field "usr"`},
		{"an unknown role in a rule", `--node-id n --plugs-policy rules=[{"roles":{"links":{}}}]`, `plugs-policy rules=[{"roles":{"links":{}}}]: parameter rules: expected a list such as [{"user": "jobs", "kinds": ["tcp-*"]}]: rule 1: unknown role "links"`},
		{"an action", "--node-id n --cert-init bits=1", `cert-init bits=1: cert-init is an action of the program receptor, and goes with no other items`},
		{"a signing key that is not there", "--node-id n --work-signing /none", `work-signing /none: parameter privatekey: open /none: no such file or directory`},
		{"a verifying key that is none", "--node-id n --work-verification publickey=/dev/null", `work-verification publickey=/dev/null: parameter publickey: there is no PEM block in it`},
		{
			"no such word for what is unsigned", "--node-id n --work-verification publickey=/dev/null unsigned=all",
			`work-verification publickey=/dev/null unsigned=all: parameter publickey: there is no PEM block in it | work-verification publickey=/dev/null unsigned=all: parameter unsigned: expected status, list or none, got "all"`,
		},
		{"a kind of later", "--node-id n --work-python plugin=a", `work-python plugin=a: work-python is not part of this version`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := split(t, strings.Fields(tt.args)...)
			equal(t, lines(t, err), strings.Split(tt.want, " | "))
		})
	}
}

func TestSplitFindsAllErrors(t *testing.T) {
	t.Parallel()
	_, _, err := split(t, strings.Fields("--node id=n x=1 --log-level loud --work-python plugin=a --control-service y=2 z=3")...)
	equal(t, len(lines(t, err)), 5)
}
