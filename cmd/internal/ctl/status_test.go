package ctl

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor"
)

// recorded is the status of a legacy node, and legacyText what the legacy client
// makes of it.
const recorded = `{"Advertisements":[` +
	`{"NodeID":"a","Service":"control","Time":"2026-11-22T18:32:55.5+02:00","ConnType":1,"Tags":{"type":"Control Service"},"WorkCommands":[{"WorkType":"echo","Secure":false},{"WorkType":"sec","Secure":true},{"WorkType":"fail","Secure":false}]},` +
	`{"NodeID":"a","Service":"other","Time":"2026-11-22T18:32:55Z","ConnType":0,"Tags":null,"WorkCommands":[{"WorkType":"late","Secure":false}]},` +
	`{"NodeID":"b","Service":"longerthan9","Time":"2026-11-22T18:32:45Z","ConnType":2,"Tags":{"b":"it's","a":"\"q\""},"WorkCommands":null}],` +
	`"Connections":[{"NodeID":"b","Cost":1.5}],"KnownConnectionCosts":{"b":{"a":1.5},"a":{"c":2,"b":1.5}},"NodeID":"a",` +
	`"RoutingTable":{"b":"b"},"SystemCPUCount":2,"SystemMemoryMiB":24105,"Version":"1.4.9"}` + "\n"

const legacyText = `Node ID: a
Version: 1.4.9
System CPU Count: 2
System Memory MiB: 24105

Connection   Cost
b            1.5

Known Node   Known Connections
a            b: 1.5 c: 2~
b            a: 1.5~

Route        Via
b            b

Node         Service   Type       Last Seen             Tags
a            control   Stream     2026-11-22 18:32:55   {'type': 'Control Service'}
a            other     Datagram   2026-11-22 18:32:55   -               
b            longerthan9 StreamTLS  2026-11-22 18:32:45   {'a': '"q"', 'b': "it's"}

Node         Work Types
a            echo, fail

Node         Secure Work Types
a            sec
`

func TestLegacyStatus(t *testing.T) {
	t.Parallel()
	want := strings.ReplaceAll(legacyText, "~", " ")
	long := strings.Repeat("n", 20)
	for _, tc := range []struct{ name, answer, want string }{
		{"all there is", recorded, want},
		{
			"nothing", `{"NodeID":"a","Version":"","SystemCPUCount":0,"SystemMemoryMiB":0,"Connections":null,"RoutingTable":{}}` + "\n",
			"Node ID: a\nVersion: \nSystem CPU Count: 0\nSystem Memory MiB: 0\n",
		},
		{
			"more", `{"NodeID":"a","Version":"","SystemCPUCount":0,"SystemMemoryMiB":0,"Zeal":{"é":1}}` + "\n",
			"Node ID: a\nVersion: \nSystem CPU Count: 0\nSystem Memory MiB: 0\nAdditional data returned from Receptor:\n{\n    \"Zeal\": {\n        \"\\u00e9\": 1\n    }\n}\n",
		},
		{
			"long name", `{"NodeID":"a","Version":"","SystemCPUCount":0,"SystemMemoryMiB":0,"Connections":[{"NodeID":"` + long + `","Cost":1}],"RoutingTable":{"b":"c"}}` + "\n",
			"Node ID: a\nVersion: \nSystem CPU Count: 0\nSystem Memory MiB: 0\n\nConnection           Cost\n" + long + " 1\n\nRoute                Via\nb                    c\n",
		},
		{
			"name with an escape sequence", `{"NodeID":"\u001b[2J","Version":"","SystemCPUCount":0,"SystemMemoryMiB":0}` + "\n",
			"Node ID: \\x1b[2J\nVersion: \nSystem CPU Count: 0\nSystem Memory MiB: 0\n",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			// A legacy node takes our form for its own.
			path := script(t, greeting, step{"status", tc.answer}, step{ownStatusLine, tc.answer})
			run(t, "", "--socket", path, "status").check(t, outcome{0, tc.want, ""})
		})
	}
	path := script(t, greeting, step{"status", `{"NodeID":"a"}` + "\n"}, step{ownStatusLine, "{}\n"})
	if got := run(t, "", "--socket", path, "status"); got.code != 1 || !strings.HasPrefix(got.stderr, "ERROR: the node's answer lacks '") {
		t.Errorf("got %+v", got)
	}
}

func TestLegacyStatusJSON(t *testing.T) {
	t.Parallel()
	const answer = `{"NodeID":"é😀<","Version":"","SystemCPUCount":12345678901234567890,"SystemMemoryMiB":0,"RoutingTable":{}}` + "\n"
	path := script(t, greeting, step{"status", answer}, step{ownStatusLine, answer})
	run(t, "", "--socket", path, "status", "--json").check(t, outcome{0, `{
    "NodeID": "\u00e9\ud83d\ude00<",
    "RoutingTable": {},
    "SystemCPUCount": 12345678901234567890,
    "SystemMemoryMiB": 0,
    "Version": ""
}
`, ""})
}

// What our own nodes say beyond that follows in sections of its own.
func TestOwnStatus(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 11, 22, 12, 0, 0, 0, time.Local)
	m := threeNodes()
	m.State.Links = []netceptor.LinkStatus{{
		Peer: "b", State: "established", Legacy: true, Cost: 1, Item: "tcp-peer address=b:2222", Dir: "out",
		Remote: "10.0.0.2:2222", Since: since, BytesIn: 1000, BytesOut: 3 << 20, FramesDropped: 7, Authentication: "certificate",
	}, {State: "connecting", Since: since}}
	m.State.Firewall = []netceptor.FirewallRuleStatus{{Number: 1, Rule: "reject toservice=ssh", Messages: 12}, {Rule: "accept (no rule)", Messages: 3}}
	m.State.Alarms = []netceptor.Alarm{{
		Alarm: "link_refused", Msg: "a link was refused", Count: 12, First: since, Last: since, Peer: "c", Detail: "the costs differ",
	}}
	path := serve(t, m, func() map[string]any {
		return map[string]any{
			"items": []map[string]any{
				{"item": "tcp-peer address=b:2222", "kind": "tcp-peer", "state": "up", "addr": "b:2222", "plug": "backend-tcp", "warning": "no TLS"},
				{"item": "ws-peer", "kind": "ws-peer", "state": "waiting", "err": "waiting for a plug that claims ws-peer"},
			},
			"tls": []map[string]any{
				{"kind": "tls-client", "name": "c", "warning": "any server will do"},
				{"kind": "tls-server", "name": "s", "nodes": []string{"a", "aa"}, "days_left": 0, "err": "no such file"},
			},
			"plugs": []map[string]any{
				{"name": "backend-tcp", "version": "0.1.0", "pid": 42, "state": "attached", "kinds": []string{"tcp-listener", "tcp-peer"}, "objects": 2},
			},
		}
	})
	got := run(t, "", "--socket", path, "status")
	_, own, ok := strings.Cut(got.out, "c            b\n") // the last line of the legacy part
	want := `
Link   State                 Since                 Cost   Dir   Remote          Proof         Received   Sent      Dropped   Item
b      established, legacy   2026-11-22 12:00:00   1      out   10.0.0.2:2222   certificate   1000       3.0 MiB   7         tcp-peer address=b:2222
-      connecting            2026-11-22 12:00:00   0      -     -               -             0          0         0         -

Rule   Messages   Firewall
1      12         reject toservice=ssh
-      3          accept (no rule)

Item                      State     Address   Plug          Reason
tcp-peer address=b:2222   up        b:2222    backend-tcp   no TLS
ws-peer                   waiting   -         -             waiting for a plug that claims ws-peer

TLS            Days left   Nodes   Reason
tls-client c   -           -       any server will do
tls-server s   0           a, aa   no such file

Plug          State      PID   Version   Carries   Kinds                    Reason
backend-tcp   attached   42    0.1.0     2         tcp-listener, tcp-peer

Alarm                Times   Last                  Neighbour   Reason
a link was refused   12      2026-11-22 12:00:00   c           the costs differ
`
	if !ok || got.code != 0 || got.stderr != "" || own != want {
		t.Errorf("got %+v\n%s\nwant\n%s", got, own, want)
	}

	var all map[string]any
	if err := json.Unmarshal([]byte(run(t, "", "--socket", path, "status", "--json").out), &all); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		"Advertisements", "Connections", "KnownConnectionCosts", "NodeID", "RoutingTable", "SystemCPUCount", "SystemMemoryMiB", "Version",
		"links", "items", "plugs", "counters", "alarms", "epoch", "authentication", "firewall",
	} {
		if _, ok := all[key]; !ok {
			t.Errorf("--json lacks %s", key)
		}
	}
}

func TestWaitNode(t *testing.T) {
	t.Parallel()
	t.Run("there already", func(t *testing.T) {
		t.Parallel()
		path := serve(t, threeNodes(), nil)
		for _, node := range []string{"a", "c"} {
			if got := run(t, "", "--socket", path, "status", "--wait-node", node, "--timeout", patience.String()); got.code != 0 || got.stderr != "" {
				t.Errorf("%s: got %+v", node, got)
			}
		}
	})
	t.Run("never", func(t *testing.T) {
		t.Parallel()
		path := serve(t, threeNodes(), nil)
		run(t, "", "--socket", path, "status", "--wait-node", "x", "--timeout", "250ms").
			check(t, outcome{1, "", "ERROR: still waiting: no route to node x\n"})
	})
	t.Run("route comes", func(t *testing.T) {
		t.Parallel()
		const ask = `{"command":"status","requested_fields":["NodeID","RoutingTable"]}`
		// One conversation: the route is there at the third look, then the connection ends.
		path := script(t, greeting,
			step{ask, `{"NodeID":"a","RoutingTable":{}}` + "\n"},
			step{ask, `{"NodeID":"a","RoutingTable":{"y":"y"}}` + "\n"},
			step{ask, `{"NodeID":"a","RoutingTable":{"x":"y"}}` + "\n"})
		c := &app{Env: Env{Getenv: func(string) string { return "" }}, socket: path, timeout: patience}
		if err := c.waitNode(t.Context(), "x"); err != nil {
			t.Error(err)
		}
	})
	t.Run("socket comes", func(t *testing.T) {
		t.Parallel()
		l, path := listen(t)
		_ = l.Close() // nobody listens
		done := make(chan error, 1)
		go func() {
			c := &app{Env: Env{Getenv: func(string) string { return "" }}, socket: path, timeout: patience}
			done <- c.waitNode(t.Context(), "c")
		}()
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		serveOn(t, l, threeNodes(), nil)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Run("wrong address", func(t *testing.T) {
		t.Parallel()
		run(t, "", "--socket", "ftp:x", "status", "--wait-node", "x").check(t, outcome{2, "", "ERROR: Invalid socket address ftp:x\n"})
	})
}

// A node whose answers make no sense is an error, never a crash.
func TestHostileNode(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"no JSON": "what?\n", "list": "[]\n", "half": `{"id":1,"res`, "other id": `{"id":2,"result":{}}` + "\n",
		"event of another kind": `{"id":1,"event":[]}` + "\n", "text": `"x"` + "\n", "nothing": "\n",
	} {
		for _, args := range [][]string{{"ping", "b"}, {"traceroute", "b"}, {"connect", "b", "x"}} {
			t.Run(name+" to "+args[0], func(t *testing.T) {
				t.Parallel()
				l, path := listen(t)
				go func() {
					if c, err := l.Accept(); err == nil {
						_, _ = io.WriteString(c, greeting+answer)
						_ = c.(*net.UnixConn).CloseWrite()
						_, _ = io.Copy(io.Discard, c)
						_ = c.Close()
					}
				}()
				got := run(t, "", append([]string{"--socket", path}, args...)...)
				if got.code != 1 || strings.Count(got.stderr, "\n") != 1 || !strings.HasPrefix(got.stderr, "ERROR: ") {
					t.Errorf("got %+v", got)
				}
			})
		}
	}
}

func TestIsTerminal(t *testing.T) {
	t.Parallel()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if isTerminal(f) {
		t.Error("the null device is no terminal")
	}
}
