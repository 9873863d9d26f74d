package ctl

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/control"
)

// What a legacy node says to our own form of a command.
const (
	ownPing       = `{"args":{"node":"b"},"command":"ping","id":1,"v":1}`
	ownTraceroute = `{"args":{"node":"b"},"command":"traceroute","id":1,"v":1}`
	ownConnect    = `{"args":{"node":"b","service":"x"},"command":"connect","id":1,"v":1}`
	ownStatusLine = `{"args":{},"command":"status","id":1,"v":1}`
)

func TestPing(t *testing.T) {
	t.Parallel()
	m := threeNodes()
	line := m.OnPing
	m.OnPing = func(ctx context.Context, node string, hops uint8) (netceptor.PingResult, error) {
		if node == "lost" {
			return netceptor.PingResult{From: "b", Time: 200 * time.Microsecond}, netceptor.ErrExpired
		}
		if node == "mute" {
			return netceptor.PingResult{Time: time.Second}, context.DeadlineExceeded
		}
		return line(ctx, node, hops)
	}
	path := serve(t, m, nil)
	for _, tc := range []struct {
		name string
		args []string
		want outcome
	}{
		{"answered", []string{"b", "--count", "2", "--delay", "0.001"}, outcome{0, "Reply from b in 200µs\nReply from b in 200µs\n", ""}},
		{"count 0", []string{"b", "--count=0"}, outcome{0, "", ""}},
		{"expired", []string{"lost", "--count=2", "--delay=0"}, outcome{2, "", "ERROR: message expired from b in 200µs\nERROR: message expired from b in 200µs\n"}},
		{"timeout", []string{"mute", "--count=1"}, outcome{2, "", "ERROR: timeout\n"}},
		{"JSON", []string{"b", "--json", "--count=1"}, outcome{0, `{"seq":1,"from":"b","time_ns":200000,"time":"200\u00b5s"}` + "\n", ""}},
		{"JSON of a failure", []string{"lost", "--json", "--count=1"}, outcome{2, `{"seq":1,"from":"b","time_ns":200000,"time":"200\u00b5s","error":{"code":"unreachable","msg":"message expired"}}` + "\n", ""}},
		{"no node", nil, outcome{2, "", "ERROR: Missing parameter: node\n"}},
		{"empty node", []string{""}, outcome{1, "", "ERROR: node is missing\n"}},
		{"two nodes", []string{"b", "c"}, outcome{2, "", "ERROR: Got unexpected extra argument (c)\n"}},
		{"negative count", []string{"b", "--count=-1"}, outcome{2, "", "ERROR: --count and --delay may not be negative, nor endless\n"}},
		{"line end in the name", []string{"b\nstatus", "--count=1"}, outcome{2, "", "ERROR: no route to node\n"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := run(t, "", append([]string{"--socket", path, "ping"}, tc.args...)...)
			if tc.name == "timeout" || tc.name == "line end in the name" { // the time is not ours to know
				got.stderr, _, _ = strings.Cut(got.stderr, " in ")
				got.stderr = strings.TrimSuffix(got.stderr, "\n") + "\n"
			}
			got.check(t, tc.want)
		})
	}
}

// With a legacy node the plain forms are used, and what they say is kept.
func TestLegacyNode(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		args  []string
		steps []step
		want  outcome
	}{
		{
			"ping",
			[]string{"ping", "b", "--count=1"},
			[]step{{ownPing, "ERROR: no ping target\n"}, {"ping b", `{"From":"b","Success":true,"Time":308387,"TimeStr":"308.387µs"}` + "\n"}},
			outcome{0, "Reply from b in 308.387µs\n", ""},
		},
		{
			"ping fails",
			[]string{"ping", "b", "--count=1"},
			[]step{{ownPing, "ERROR: no ping target\n"}, {"ping b", `{"Error":"no route to node","Success":false}` + "\n"}},
			outcome{2, "", "ERROR: no route to node\n"},
		},
		{
			"ping is refused",
			[]string{"ping", "b"},
			[]step{{ownPing, "ERROR: no ping target\n"}, {"ping b", "ERROR: not today\n"}},
			outcome{1, "", "ERROR: not today\n"},
		},
		{
			"traceroute",
			[]string{"traceroute", "b"},
			[]step{
				{ownTraceroute, "ERROR: no traceroute target\n"},
				{"traceroute b", `{"0":{"From":"a","TimeStr":"1ms"},"10":{"From":"b","TimeStr":"3ms","Error":"no route to node"},"2":{"From":"x","TimeStr":"2ms"}}` + "\n"},
			},
			outcome{0, "0: a in 1ms\n2: x in 2ms\n", "ERROR: 10: Error no route to node from b in 3ms\n"},
		},
		{
			"connect",
			[]string{"connect", "b", "x"},
			[]step{{ownConnect, "ERROR: no connect target\n"}, {"connect b x ", "Connecting\nhello"}},
			outcome{0, "hello", ""},
		},
		{
			"connect fails",
			[]string{"connect", "b", "x"},
			[]step{{ownConnect, "ERROR: no connect target\n"}, {"connect b x ", "ERROR: context canceled\n"}},
			outcome{1, "", "ERROR: context canceled\n"},
		},
		{
			"version",
			[]string{"version"},
			[]step{{`{"command":"status","requested_fields":["Version"]}`, `{"Version":"1.4.9"}` + "\n"}},
			outcome{0, "receptorctl  9.9\nreceptor     1.4.9\n", ""},
		},
		{
			"version in JSON",
			[]string{"version", "--json"},
			[]step{{`{"command":"status","requested_fields":["Version"]}`, `{"Version":"1.4.9"}` + "\n"}},
			outcome{0, "{\n    \"receptor\": \"1.4.9\",\n    \"receptorctl\": \"9.9\"\n}\n", ""},
		},
		{
			"the node goes",
			[]string{"ping", "b"},
			nil,
			outcome{1, "", "ERROR: read answer: EOF\n"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := script(t, greeting, tc.steps...)
			got := run(t, "", append([]string{"--socket", path}, tc.args...)...)
			if tc.steps == nil && strings.Contains(got.stderr, "send command") {
				return // it was gone even before the command
			}
			got.check(t, tc.want)
		})
	}
}

func TestTraceroute(t *testing.T) {
	t.Parallel()
	path := serve(t, threeNodes(), nil)
	run(t, "", "--socket", path, "traceroute", "c").
		check(t, outcome{0, "0: a in 100µs\n1: b in 200µs\n2: c in 300µs\n", ""})
	run(t, "", "--socket", path, "traceroute", "b", "--json").
		check(t, outcome{0, `{"hop":0,"from":"a","time_ns":100000,"time":"100\u00b5s"}` + "\n" + `{"hop":1,"from":"b","time_ns":200000,"time":"200\u00b5s"}` + "\n", ""})
	got := run(t, "", "--socket", path, "traceroute", "nobody")
	if got.code != 0 || got.out != "" || !strings.HasPrefix(got.stderr, "ERROR: 0: Error no route to node from a in ") {
		t.Errorf("got %+v", got)
	}
}

func TestConnect(t *testing.T) {
	t.Parallel()
	m := threeNodes()
	m.OnStream = map[string]func(control.Stream){
		"b:echo": func(s control.Stream) { // after the end of the input
			b, err := io.ReadAll(s)
			if err == nil {
				_, _ = s.Write(b)
			}
			_ = s.Close()
		},
		"b:early": func(s control.Stream) { // ends first, and reads on
			_, _ = io.WriteString(s, "early")
			_ = s.CloseWrite()
			_, _ = io.Copy(io.Discard, s)
			_ = s.Close()
		},
	}
	path := serve(t, m, nil)
	payload := strings.Repeat("bytes \x00\xff\r\n", 100_000)
	run(t, payload, "--socket", path, "connect", "b", "echo").check(t, outcome{0, payload, ""})
	run(t, payload, "--socket", path, "connect", "b", "early").check(t, outcome{0, "early", ""})
	run(t, "", "--socket", path, "connect", "b", "nope").check(t, outcome{1, "", "ERROR: service unknown\n"})
	run(t, "", "--socket", path, "connect", "nope", "x").check(t, outcome{1, "", "ERROR: no route to node\n"})
	run(t, "", "--socket", path, "connect", "b").check(t, outcome{2, "", "ERROR: Missing parameter: service\n"})
	run(t, "x", "--socket", path, "connect", "b", "echo", "--raw").check(t, outcome{0, "x", ""}) // no terminal: nothing to make raw
}

func TestSocketChoice(t *testing.T) {
	t.Parallel()
	path := serve(t, threeNodes(), nil)
	gone := filepath.Join(t.TempDir(), "gone")
	const version = "receptorctl  9.9\nreceptor     1.2.3\n"
	env := func(s string) map[string]string { return map[string]string{"RECEPTORCTL_SOCKET": s} }
	for _, tc := range []struct {
		name  string
		args  []string
		env   map[string]string
		found []string
		want  outcome
	}{
		{"option", []string{"--socket", path}, env(gone), []string{gone}, outcome{0, version, ""}},
		{"option after the command", []string{"version", "--socket=unix:" + path}, nil, nil, outcome{0, version, ""}},
		{"unix URL", []string{"--socket", "unix://" + path}, nil, nil, outcome{0, version, ""}},
		{"environment", nil, env(path), []string{gone}, outcome{0, version, ""}},
		{"the only one", nil, env(""), []string{path}, outcome{0, version, ""}},
		{"none", nil, nil, nil, outcome{2, "", "ERROR: Missing parameter: socket (no running node was found; use --socket or RECEPTORCTL_SOCKET)\n"}},
		{"several", nil, nil, []string{"/a", "/b"}, outcome{2, "", "ERROR: several nodes run here, choose one with --socket: /a, /b\n"}},
		{"not there", []string{"--socket", gone}, nil, nil, outcome{1, "", "ERROR: Socket path does not exist: " + gone + "\n"}},
		{"no address", []string{"--socket", "ftp:x"}, nil, nil, outcome{2, "", "ERROR: Invalid socket address ftp:x\n"}},
		{"unknown command", []string{"frobnicate"}, nil, nil, outcome{2, "", "ERROR: No such command 'frobnicate'.\n"}},
		{"unknown option", []string{"--frob"}, nil, nil, outcome{2, "", "ERROR: unknown flag: --frob\n"}},
		{"wrong value", []string{"ping", "b", "--count", "x"}, nil, nil, outcome{2, "", `ERROR: invalid argument "x" for "--count" flag: strconv.ParseInt: parsing "x": invalid syntax` + "\n"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			args := tc.args
			if len(args) != 1 && (len(args) == 0 || strings.HasPrefix(args[0], "-")) {
				args = append(args, "version")
			}
			runWith(t, tc.found, tc.env, "", args...).check(t, tc.want)
		})
	}
}

func TestTCP(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, l, threeNodes(), nil)
	for _, scheme := range []string{"tcp:", "tcp://"} {
		run(t, "", "--socket", scheme+l.Addr().String(), "ping", "b", "--count=1").check(t, outcome{0, "Reply from b in 200µs\n", ""})
	}
}

func TestParseAddress(t *testing.T) {
	t.Setenv("HOME", "/home/me")
	for in, want := range map[string]string{
		"/run/x": "unix /run/x", "run/x": "unix run/x", "unix://run/x": "unix run/x", "unix:///run/x": "unix /run/x",
		"~/x": "unix /home/me/x", "unix:~/x": "unix /home/me/x", "~x": "unix ~x",
		"tcp:localhost:88": "tcp localhost:88", "tcp://::1:88": "tcp [::1]:88", "tcp:[::1]:88": "tcp [::1]:88",
		"unix:": "", "unix:a:b": "", "a:b": "", "TCP:a:1": "", "tcp:a": "", "tcp::1": "", "tcp:a:": "", "tls:a:1": "tls a:1", "tls://[::1]:2": "tls [::1]:2", "tls:a": "",
	} {
		a, err := ParseAddress(in)
		if got := strings.TrimSpace(a.network + " " + a.addr); got != want || (err != nil) != (want == "") {
			t.Errorf("%s: got %q, %v; want %q", in, got, err, want)
		}
	}
}

// Whatever is there instead of a control socket is named, in time.
func TestNoControlSocket(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ says, want string }{
		"another protocol": {"SSH-2.0-OpenSSH\r\n", `this is no control socket, it says "SSH-2.0-OpenSSH"`},
		"endless":          {strings.Repeat("x", 10_000), "this is no control socket"},
		"busy":             {"ERROR: too many conversations, try again later\n", "too many conversations, try again later"},
		"hostile":          {"\x1b[2J\n", `this is no control socket, it says "\x1b[2J"`},
		"gone":             {"", "read answer: EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := script(t, tc.says)
			run(t, "", "--socket", path, "status").
				check(t, outcome{1, "", "ERROR: Failed to connect to Receptor socket " + path + ": " + tc.want + "\n"})
		})
	}
	t.Run("mute", func(t *testing.T) {
		t.Parallel()
		l, path := listen(t)
		go func() {
			if c, err := l.Accept(); err == nil {
				_, _ = io.Copy(io.Discard, c) // says nothing until the client goes
				_ = c.Close()
			}
		}()
		run(t, "", "--socket", path, "--timeout=50ms", "status").
			check(t, outcome{1, "", "ERROR: Failed to connect to Receptor socket " + path + ": no answer within 50ms\n"})
	})
}

// An interrupted command ends quietly, as the legacy client does.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	path := serve(t, threeNodes(), nil)
	ctx, interrupt := context.WithCancel(t.Context())
	out := writerFunc(func(b []byte) (int, error) {
		interrupt()
		return len(b), nil
	})
	var stderr strings.Builder
	code := Run(ctx, Env{Stdin: os.Stdin, Stdout: out, Stderr: &stderr, Getenv: func(string) string { return "" }},
		[]string{"--socket", path, "ping", "b", "--delay=1000"})
	if code != 0 || stderr.String() != "\n" {
		t.Errorf("exit %d, %q", code, stderr.String())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"--help"}, {"status", "--help"}} {
		got := run(t, "", args...)
		if got.code != 0 || got.stderr != "" || !strings.Contains(got.out, "Usage:") {
			t.Errorf("%q: got %+v", args, got)
		}
	}
	if got := run(t, "", "--help"); !strings.Contains(got.out, "Exit codes:") {
		t.Errorf("exit codes are not told: %s", got.out)
	}
	run(t, "", "--version").check(t, outcome{0, "receptorctl 9.9 (module)\n", ""})
}
