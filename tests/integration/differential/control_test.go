package differential

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor/control"
	"github.com/project-receptor/receptor/tests/legacy"
	"github.com/project-receptor/receptor/workceptor"
)

// talk is a connection over a Unix socket whose other end has said all that it says.
type talk struct {
	in     *bytes.Reader
	out    bytes.Buffer
	closed chan struct{}
}

func newTalk(in []byte) *talk { return &talk{in: bytes.NewReader(in), closed: make(chan struct{}, 1)} }

func (c *talk) Read(b []byte) (int, error)       { return c.in.Read(b) }
func (c *talk) Write(b []byte) (int, error)      { return c.out.Write(b) }
func (c *talk) LocalAddr() net.Addr              { return &net.UnixAddr{Net: "unix"} }
func (c *talk) RemoteAddr() net.Addr             { return c.LocalAddr() }
func (c *talk) SetDeadline(time.Time) error      { return nil }
func (c *talk) SetReadDeadline(time.Time) error  { return nil }
func (c *talk) SetWriteDeadline(time.Time) error { return nil }

func (c *talk) Close() error {
	select {
	case c.closed <- struct{}{}:
	default:
	}
	return nil
}

// talks is a listener of talks.
type talks chan *talk

func (l talks) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l talks) Close() error   { return nil }
func (l talks) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// heard is what a command was told, as both answer it.
type heard struct {
	Command string
	Text    string
	Fields  map[string]any
}

// The commands that only tell what they have heard. The command work is that of each,
// with no unit and no type of work.
var commands = []string{"ping", "status", "connect", "traceroute"}

const nodeID = "node"

// newLines is the control conversation: one line, and what is answered to it.
func newLines(t testing.TB) format {
	model := legacy.Config{ID: nodeID, Control: map[string]legacy.Command{}}
	ours := control.New(control.Config{NodeID: nodeID})
	for _, name := range commands {
		model.Control[name] = func(_ context.Context, _ *legacy.ControlSession, r legacy.Request) (any, error) {
			delete(r.Fields, "command")
			return heard{name, r.Text, r.Fields}, nil
		}
		ours.Register(control.Command{Name: name, Plain: func(_ context.Context, _ control.Session, args *string, params map[string]json.RawMessage) (any, error) {
			if args != nil {
				return heard{name, *args, nil}, nil
			}
			fields := make(map[string]any)
			for key, raw := range params {
				var v any
				if err := json.Unmarshal(raw, &v); err != nil {
					return nil, err
				}
				fields[key] = v
			}
			return heard{name, "", fields}, nil
		}})
	}
	units := legacy.NewWork(nil)
	t.Cleanup(units.Close)
	model.Control["work"] = func(ctx context.Context, s *legacy.ControlSession, r legacy.Request) (any, error) {
		if elsewhere(r) {
			return nil, errElsewhere // which a model would try for ever
		}
		return units.Command(ctx, s, r)
	}
	w := newWork(t, workceptor.Config{})
	ours.Register(control.Command{Name: "work", Plain: w.Command().Plain})
	node, err := legacy.Start(model)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Close() }) // nil
	conns, served := make(talks), make(chan error, 1)
	go func() { served <- ours.Serve(context.Background(), conns) }()
	t.Cleanup(func() {
		close(conns)
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return format{
		read: func(b []byte) reading {
			line := append(bytes.ReplaceAll(b, []byte("\n"), nil), '\n')
			a, c := newTalk(line), newTalk(line)
			conns <- a
			<-a.closed
			node.Converse(context.Background(), c)
			const greeting = "Receptor Control, node " + nodeID + "\n"
			return reading{ours: strings.TrimPrefix(a.out.String(), greeting), model: strings.TrimPrefix(c.out.String(), greeting)}
		},
		deliberate: lineDifferences,
	}
}

var errElsewhere = errors.New("a unit for another node")

// elsewhere tells of a request to have another node do something.
func elsewhere(r legacy.Request) bool {
	sub, _ := r.Fields["subcommand"].(string)
	node, _ := r.Fields["node"].(string)
	if words := r.Plain(); r.Fields == nil && len(words) > 1 {
		sub, node = words[0], words[1]
	}
	return strings.EqualFold(sub, "submit") && node != nodeID && !strings.EqualFold(node, "localhost")
}

// newWork is units of work without a type.
func newWork(t testing.TB, c workceptor.Config) *workceptor.Workceptor {
	t.Helper()
	c.Dir, c.NodeID, c.Reserve = t.TempDir(), nodeID, 1
	w, err := workceptor.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// keys are those of a line of JSON, without what ends lines, which both drop.
func keys(line []byte) map[string]json.RawMessage {
	line = bytes.ReplaceAll(bytes.ReplaceAll(line, []byte("\r"), nil), []byte("\n"), nil)
	var k map[string]json.RawMessage
	if json.Unmarshal(line, &k) != nil {
		return nil
	}
	return k
}

var lineDifferences = []difference{
	{
		"our own form", "no existing client sends a number v",
		`{"command":"ping","v":1}`,
		func(b []byte, _ reading) bool { return bytes.ContainsAny(keys(b)["v"], "0123456789") },
	},
	{
		"work for other nodes", "there are none here",
		"work submit other echo",
		func(_ []byte, r reading) bool {
			return strings.Contains(r.model, errElsewhere.Error())
		},
	},
	{
		"an error of several lines", "a client would take the second line for the answer to its next command",
		`{"command":"work","subcommand":"status","unitid":"a\nb"}`,
		func(_ []byte, r reading) bool {
			return r.ours == strings.NewReplacer("\r", "", "\n", " ").Replace(strings.TrimSuffix(r.model, "\n"))+"\n"
		},
	},
	{
		"a number that no float holds", "ours read only what a command asks for, and no command asks for such a number",
		`{"command":"work","subcommand":"list","x":1e999}`,
		func(_ []byte, r reading) bool { return strings.Contains(r.model, "cannot unmarshal number") },
	},
	{
		"a ttl", "the model has none; existing nodes refuse it with these words for work of their own",
		`{"command":"work","subcommand":"submit","node":"node","worktype":"echo","ttl":"1s"}`,
		func(b []byte, r reading) bool {
			return r.ours == "ERROR: ttl option is intended for remote work only\n" && strings.Contains(r.model, "unknown work type")
		},
	},
	{
		"the position quoted that is no number", "ours quote what was written, existing nodes what Go makes of it",
		`{"command":"work","subcommand":"results","unitid":"x","startpos":null}`,
		func(_ []byte, r reading) bool {
			const text = "is not convertible to an int"
			return strings.Contains(r.ours, text) && strings.Contains(r.model, text)
		},
	},
	{
		"keys that are no text", "a client that means something else by a key is told so; existing nodes take it for missing",
		`{"command":"work","subcommand":"list","unitid":1}`,
		func(b []byte, r reading) bool {
			k := keys(b)
			notText := func(key string) bool { v, ok := k[key]; return ok && !bytes.HasPrefix(v, []byte(`"`)) }
			return strings.Contains(r.ours, "must be a string") && (notText("unitid") || notText("signature"))
		},
	},
}

func FuzzControlLine(f *testing.F) {
	var seeds [][]byte
	for _, line := range []string{
		"ping other", "PING  other ", "ping", " ping", "status", "nosuch", "work", "work status", "work status 12345678 x", "WORK Results a 1",
		"work results a b", "work results a 9223372036854775808", "work submit node echo a b  c", "work submit node", "work list", "work list x", "work cancel x", "work release x",
		"work force-release x", "work nosuch", "{", "{}", `{"command":1}`, `{"command":"ping"} x`, `{"command":"ping","target":"other"}`, `{"command":"PING"}`,
		`{"command":"status","requested_fields":["NodeID",1]}`, `{"command":"work"}`, `{"command":"work","subcommand":1}`, `{"command":"work","subcommand":"Status"}`,
		`{"command":"work","subcommand":"status","unitid":"x"}`, `{"command":"work","subcommand":"results","unitid":"x"}`,
		`{"command":"work","subcommand":"results","unitid":"x","startpos":0}`, `{"command":"work","subcommand":"results","unitid":"x","startpos":"0"}`,
		`{"command":"work","subcommand":"submit","node":"node","worktype":"echo","params":"a"}`, `{"command":"work","subcommand":"submit","node":"node"}`,
		`{"command":"work","subcommand":"submit","node":"node","worktype":"echo","params":1}`, `{"command":"work","subcommand":"list"}`,
		`{"command":"work","subcommand":"submit","node":"LOCALHOST","worktype":"echo","signature":"x"}`, `{"command":"work","subcommand":"list","signature":"x"}`,
		`{"command":"work","subcommand":"submit","node":"node","worktype":"echo","ttl":"1s","signwork":"true","tlsclient":"x"}`,
		`{"command":"work","subcommand":"cancel","unitid":"x","signature":"x"}`, `{"command":"work","subcommand":"status","unitid":"x","signature":"x"}`,
		`{"command":"work","subcommand":"results","unitid":"x","startpos":null}`, `{"command":"work","subcommand":"results","unitid":"x","startpos":[1]}`,
		"{\"command\":\"pi\rng\",\"v\":1}",
		`{"command":"work","subcommand":"results","unitid":"x","startpos":-1.5e300}`, `{"command":"work","subcommand":"results","startpos":"x"}`,
	} {
		seeds = append(seeds, []byte(line), []byte(strings.ReplaceAll(line, "o", "\ro\r")))
	}
	newLines(f).fuzz(f, seeds...)
}

// session is one over TCP, in which there is nothing to take.
type session struct{}

func (session) Local() bool                               { return false }
func (session) Hijack(string) (io.ReadWriteCloser, error) { return nil, net.ErrClosed }
