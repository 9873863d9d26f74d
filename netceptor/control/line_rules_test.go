package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/project-receptor/receptor/netceptor/control"
)

const (
	pong    = `{"From":"beta","Success":true,"Time":200000,"TimeStr":"200µs"}` + "\n"
	unknown = "ERROR: Unknown command\n"
)

// extraCommands are there to see what a command gets, and what becomes of one that
// fails.
var extraCommands = []control.Command{
	{
		Name: "show",
		Plain: func(_ context.Context, s control.Session, args *string, params map[string]json.RawMessage) (any, error) {
			return map[string]any{"args": args, "params": params, "local": s.Local()}, nil
		},
	},
	{
		Name: "fail",
		Plain: func(context.Context, control.Session, *string, map[string]json.RawMessage) (any, error) {
			return nil, errors.New("two\r\nlines")
		},
		Own: func(context.Context, control.Session, json.RawMessage, func(any) error) (any, error) {
			return nil, errors.New("two\nlines")
		},
	},
	{
		Name: "panic",
		Plain: func(context.Context, control.Session, *string, map[string]json.RawMessage) (any, error) {
			panic("at once")
		},
		Own: func(_ context.Context, _ control.Session, _ json.RawMessage, emit func(any) error) (any, error) {
			if err := emit("soon"); err != nil {
				return nil, err
			}
			panic("now")
		},
	},
	{
		Name: "unwritable",
		Plain: func(context.Context, control.Session, *string, map[string]json.RawMessage) (any, error) {
			return func() {}, nil
		},
		Own: func(context.Context, control.Session, json.RawMessage, func(any) error) (any, error) {
			return func() {}, nil
		},
	},
	{
		Name: "nothing",
		Own: func(context.Context, control.Session, json.RawMessage, func(any) error) (any, error) {
			return nil, nil
		},
	},
}

func TestLines(t *testing.T) {
	t.Parallel()
	path := serve(t, newServer(threeNodes(), extraCommands...))

	for _, tc := range []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"plain", "ping beta\n", pong},
		{"any case in plain form", "PiNG beta\n", pong},
		{"two lines at once", "ping beta\nping beta\n", pong + pong},
		{"empty lines", "\n\r\n\nping beta\n\n", pong},
		{"CR anywhere", "pi\rng b\r\reta\r\n", pong},
		{"NUL is a byte like others", "ping be\x00ta\n", `{"Error":"no route to node","Success":false}` + "\n"},
		{"a line cut off is none", "ping beta\nping be", pong},
		{"unknown", "pong beta\n", unknown},
		{"leading space", " ping beta\n", unknown},
		{"leading space before JSON", " {\"command\":\"ping\",\"target\":\"beta\"}\n", unknown},
		{"not UTF-8", "\xff\xfe\n", unknown},
		{"the rest of the line", "show  a  b \n", `{"args":" a  b ","local":true,"params":null}` + "\n"},
		{"no rest", "show\n", `{"args":"","local":true,"params":null}` + "\n"},

		{"JSON", `{"command":"ping","target":"beta"}` + "\n", pong},
		{"JSON keys", `{"b":1,"command":"show","a":"x"}` + "\n", `{"args":null,"local":true,"params":{"a":"x","b":1}}` + "\n"},
		{"exact case in JSON", `{"command":"Ping","target":"beta"}` + "\n", unknown},
		{"exact case of the key", `{"Command":"ping","target":"beta"}` + "\n", "ERROR: JSON did not contain a command\n" + unknown},
		{"no JSON", "{rubbish\n", "ERROR: invalid character 'r' looking for beginning of object key string\n" + unknown},
		{"half a JSON", `{"command":` + "\n", "ERROR: unexpected end of JSON input\n" + unknown},
		{"no command", "{}\n", "ERROR: JSON did not contain a command\n" + unknown},
		{"number as command", `{"command":7}` + "\n", "ERROR: command must be a string\n" + unknown},
		{"null as command", `{"command":null}` + "\n", "ERROR: command must be a string\n" + unknown},
		{"deeper than JSON may be", strings.Repeat(`{"a":`, 20000) + "\n", "ERROR: invalid character '{' exceeded max depth\n" + unknown},
		{"text v is a parameter", `{"command":"ping","target":"beta","v":"1"}` + "\n", pong},

		{"error in one line", "fail\n", "ERROR: two lines\n"},
		{"panic", "panic\nping beta\n", "ERROR: internal error\n" + pong},
		{"unwritable answer", "unwritable\nping beta\n", "ERROR: internal error\n" + pong},
		{"only in our own form", "nothing\n", unknown},

		{"ping without target", "ping\n", "ERROR: no ping target\n"},
		{"ping in JSON without target", `{"command":"ping"}` + "\n", "ERROR: no ping target\n"},
		{"ping number", `{"command":"ping","target":1}` + "\n", "ERROR: ping target must be string\n"},
		{"ping nobody", "ping delta\n", `{"Error":"no route to node","Success":false}` + "\n"},
		{"traceroute without target", "traceroute\n", "ERROR: no traceroute target\n"},
		{"status with parameters", "status now\n", "ERROR: status command does not take parameters\n"},
		{"some of status", `{"command":"status","requested_fields":["Version","Nonsense","NodeID"]}` + "\n", `{"NodeID":"alpha","Version":"1.2.3"}` + "\n"},
		{"nothing of status", `{"command":"status","requested_fields":[]}` + "\n", "{}\n"},
		{"requested_fields is no list", `{"command":"status","requested_fields":"Version"}` + "\n", "ERROR: requested_fields must be a list of strings\n"},
		{"requested_fields is null", `{"command":"status","requested_fields":null}` + "\n", "ERROR: requested_fields must be a list of strings\n"},
		{"requested_fields holds numbers", `{"command":"status","requested_fields":[1]}` + "\n", "ERROR: requested_fields must be a list of strings\n"},
		{"empty lists in status", `{"command":"status","requested_fields":["Advertisements","KnownConnectionCosts"]}` + "\n", `{"Advertisements":[],"KnownConnectionCosts":{}}` + "\n"},
		{"connect to nobody", "connect delta x\nping beta\n", "ERROR: no route to node\n" + pong},
		{"connect to no service", "connect beta x\nping beta\n", "ERROR: service unknown\n" + pong},
		{"connect without service", "connect beta\n", "ERROR: connect takes a node, a service and optionally a TLS client\n"},
		{"connect with TLS", "connect beta x nope\n", "ERROR: unknown TLS config nope\n"},
		{"connect in JSON without node", `{"command":"connect","service":"x"}` + "\n", "ERROR: connect node must be string\n"},
		{"connect in JSON with TLS number", `{"command":"connect","node":"beta","service":"x","tls":1}` + "\n", "ERROR: connect tls must be string\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := talk(t, path, tc.in); got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

// Two spaces make an empty parameter, and a third, empty one is no TLS client.
func TestConnectWords(t *testing.T) {
	t.Parallel()
	m := threeNodes()
	m.OnStream = map[string]func(control.Stream){"beta:x": func(s control.Stream) { _ = s.Close() }}
	path := serve(t, newServer(m))
	for in, want := range map[string]string{
		"connect beta x \n":  "Connecting\n",
		"connect beta  x\n":  "ERROR: unknown TLS config x\n",
		"connect beta x  \n": "ERROR: connect takes a node, a service and optionally a TLS client\n",
	} {
		if got := talk(t, path, in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestTraceroute(t *testing.T) {
	t.Parallel()
	path := serve(t, newServer(threeNodes()))
	for in, want := range map[string]string{
		"traceroute gamma\n": `{"0":{"From":"alpha","Time":100000,"TimeStr":"100µs"},` +
			`"1":{"From":"beta","Time":200000,"TimeStr":"200µs"},"2":{"From":"gamma","Time":300000,"TimeStr":"300µs"}}` + "\n",
		"traceroute alpha\n": `{"0":{"From":"alpha","Time":100000,"TimeStr":"100µs"}}` + "\n",
	} {
		if got := talk(t, path, in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}

	var answer map[string]struct {
		From, TimeStr, Error string
		Time                 int64
	}
	if err := json.Unmarshal([]byte(talk(t, path, "traceroute delta\n")), &answer); err != nil {
		t.Fatal(err)
	}
	if hop := answer["0"]; len(answer) != 1 || hop.From != "alpha" || hop.Error != "no route to node" || hop.Time == 0 {
		t.Errorf("got %+v", answer)
	}
}

func TestLongLines(t *testing.T) {
	t.Parallel()
	path := serve(t, newServer(threeNodes(), extraCommands...))
	const tooLong = "ERROR: line is longer than 1 MiB\n"
	for _, tc := range []struct {
		name, in, want string
	}{
		{"as long as may be", "nope " + strings.Repeat("x", control.MaxLine-6) + "\nping beta\n", unknown + pong},
		{"one more", "nope " + strings.Repeat("x", control.MaxLine-5) + "\nping beta\n", tooLong},
		{"endless", strings.Repeat("x", 3*control.MaxLine), tooLong},
		{"CR counts", strings.Repeat("\r", control.MaxLine+1), tooLong},
		{"other conversations are not affected", "ping beta\n", pong},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := talk(t, path, tc.in); got != tc.want {
				t.Errorf("got %.200q, want %q", got, tc.want)
			}
		})
	}
}

// A conversation that ends anywhere, in a greeting, a line or an answer, ends.
func TestTruncatedConversations(t *testing.T) {
	t.Parallel()
	path := serve(t, newServer(threeNodes()))
	const all = "ping beta\r\n" + `{"v":1,"id":1,"command":"ping","args":{"node":"beta"}}` + "\n"
	for n := range all {
		talk(t, path, all[:n])
		c := dial(t, path)
		send(t, c, all[:n])
		if err := c.Close(); err != nil { // with answers unread
			t.Fatal(err)
		}
	}
	c := dial(t, path)
	expect(t, c, greeting)
}

// A client that writes without reading is not read from, either; and it shuts
// nobody out.
func TestFlood(t *testing.T) {
	t.Parallel()
	path := serve(t, newServer(threeNodes()))
	c := dial(t, path)
	stuck := make(chan int, 1)
	go func() {
		n, _ := io.Copy(c, forever("ping beta\n")) // ended by the close below
		stuck <- int(n)
	}()
	for range 10 {
		if got := talk(t, path, "ping beta\n"); got != pong {
			t.Fatalf("got %q", got)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	<-stuck
}

// forever is an endless repetition.
type forever string

func (f forever) Read(b []byte) (int, error) { return copy(b, f), nil }
