package workceptor_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/workceptor"
	"github.com/project-receptor/receptor/workceptor/workertest"
)

// talk is a client's side of a control conversation whose only command is work. The
// server's side does what package control does with a line, no more.
type talk struct {
	*testing.T
	*net.UnixConn
	in *bufio.Reader
}

// converse begins a conversation, with a client that is on a Unix socket of the node
// or says that it is not.
func converse(t *testing.T, n *node, local bool) *talk {
	t.Helper()
	dir, err := os.MkdirTemp("", "wc") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		defer s.Close()
		serve(t, n.Command(), &session{UnixConn: s, in: bufio.NewReader(s), local: local})
	}()
	t.Cleanup(func() {
		c.Close()
		<-served
	})
	c.SetDeadline(time.Now().Add(settle))
	return &talk{T: t, UnixConn: c, in: bufio.NewReader(c)}
}

// session implements workceptor.Session.
type session struct {
	*net.UnixConn
	in       *bufio.Reader
	local    bool
	hijacked bool
}

func (s *session) Read(b []byte) (int, error) { return s.in.Read(b) }
func (s *session) Local() bool                { return s.local }

func (s *session) Hijack(line string) (io.ReadWriteCloser, error) {
	s.hijacked = true
	_, err := s.Write([]byte(line + "\n"))
	return s, err
}

func serve(t *testing.T, c *workceptor.Command, s *session) {
	for !s.hijacked {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return
		}
		var result any
		switch {
		case strings.Contains(line, `"v":1`):
			var r struct{ Args json.RawMessage }
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Error(err)
			}
			result, err = c.Own(t.Context(), s, r.Args, func(event any) error {
				b, _ := json.Marshal(event)
				_, err := s.Write(append(b, '\n'))
				return err
			})
		case line[0] == '{':
			var keys map[string]json.RawMessage
			if err := json.Unmarshal([]byte(line), &keys); err != nil {
				t.Error(err)
			}
			delete(keys, "command")
			result, err = c.Plain(t.Context(), s, nil, keys)
		default:
			_, args, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			result, err = c.Plain(t.Context(), s, &args, nil)
		}
		if s.hijacked {
			return
		}
		answer, _ := json.Marshal(result)
		if err != nil {
			answer = []byte("ERROR: " + err.Error())
		}
		if _, err := s.Write(append(answer, '\n')); err != nil {
			return
		}
	}
}

func (c *talk) send(s string) {
	c.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		c.Fatal(err)
	}
}

func (c *talk) line() string {
	c.Helper()
	s, err := c.in.ReadString('\n')
	if err != nil {
		c.Fatalf("after %q: %v", s, err)
	}
	return s
}

// ask sends a line and expects an answer, in which <ID> is any unit's.
func (c *talk) ask(line, want string) (id string) {
	c.Helper()
	c.send(line + "\n")
	return c.expect(want + "\n")
}

func (c *talk) expect(want string) (id string) {
	c.Helper()
	got := c.line()
	pattern := strings.ReplaceAll(regexp.QuoteMeta(want), "<ID>", "([A-Za-z0-9]{8})")
	m := regexp.MustCompile("^" + pattern + "$").FindStringSubmatch(got)
	if m == nil {
		c.Fatalf("answer %q, want %q", got, want)
	}
	if len(m) > 1 {
		id = m[1]
	}
	return id
}

func (c *talk) rest() string {
	c.Helper()
	b, err := io.ReadAll(c.in)
	if err != nil {
		c.Fatal(err)
	}
	return string(b)
}

// work submits in the legacy way.
func work(t *testing.T, n *node, line, payload, result string) (id string) {
	t.Helper()
	c := converse(t, n, true)
	id = c.ask(line, "Work unit created with ID <ID>. Send stdin data and EOF.")
	c.send(payload)
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, want := c.rest(), fmt.Sprintf(`{"result":%q,"unitid":%q}`+"\n", result, id); got != want {
		t.Fatalf("answer %q, want %q", got, want)
	}
	return id
}

type step struct {
	From, Text, Event string
	Conn              int
}

func vector(t *testing.T, name string, v any) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

// TestLegacyConversation replays conversations recorded with a legacy node. What it
// ran on another node ours runs itself; but for that the bytes are the same.
func TestLegacyConversation(t *testing.T) {
	t.Parallel()
	var v struct {
		Connections []struct{ Conversation []step }
	}
	vector(t, "06-work-submit-control-conversation.json", &v)
	n := newNode(t, &workertest.Worker{})
	ids := map[string]string{} // of the recording, and ours
	ours := strings.NewReplacer(`"node":"beta"`, `"node":"alpha"`, `"WorkType":"remote"`, `"WorkType":"echo"`)
	extra := regexp.MustCompile(`"ExtraData":\{[^}]*\{\}[^}]*\}`)
	for i, conversation := range v.Connections {
		c := converse(t, n, true)
		for _, s := range conversation.Conversation[2:] { // after the greeting
			text := ours.Replace(extra.ReplaceAllString(s.Text, `"ExtraData":null`))
			for theirs, our := range ids {
				text = strings.ReplaceAll(text, theirs, our)
			}
			switch {
			case s.From == "client":
				if id, ok := strings.CutPrefix(text, "work status "); ok {
					n.untilState(strings.TrimSpace(id), workceptor.Succeeded)
				}
				c.send(text)
			case s.From == "server":
				created := regexp.MustCompile(`with ID (\w+)\.`).FindStringSubmatch(text)
				if created == nil {
					c.expect(text)
					continue
				}
				ids[created[1]] = c.expect(strings.ReplaceAll(text, created[1], "<ID>"))
			case s.Event == "client half-close":
				if err := c.CloseWrite(); err != nil {
					t.Fatal(err)
				}
			case s.Event == "server half-close":
				if rest := c.rest(); rest != "" {
					t.Errorf("connection %d: %q is left", i, rest)
				}
			}
		}
	}
	if len(ids) != 2 {
		t.Errorf("%d units", len(ids))
	}
}

// TestLegacyNodeSubmitsToOurs has a legacy node's words for work that it has sent
// here, as they were recorded.
func TestLegacyNodeSubmitsToOurs(t *testing.T) {
	t.Parallel()
	var v struct{ Unsigned struct{ Events []step } }
	vector(t, "06b-mesh-work-conversation.json", &v)
	let, over := gate()
	defer over()
	told := make(chan struct{}) // the node knows the size of what is there to be read
	n := newNode(t, &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		if stdin, err := io.ReadAll(u.Stdin); err != nil || string(stdin) != "hello stdin" || u.Params["params"] != "-n x" || u.Params["foo"] != "bar" || len(u.Params) != 2 {
			t.Errorf("stdin %q, %v; parameters %v", stdin, err, u.Params)
		}
		_, _ = u.Write([]byte("hello\n"))
		close(told)
		<-let
		_, _ = u.Write([]byte("world\n"))
		return workceptor.Exit{}
	}})
	said := map[int][]string{} // per connection
	for _, s := range v.Unsigned.Events {
		if strings.HasPrefix(s.From, "upstream") {
			said[s.Conn] = append(said[s.Conn], s.Text)
		}
	}
	say := func(c *talk, text, id string) {
		text = strings.ReplaceAll(text, "FAKEUNIT", id)
		c.send(strings.ReplaceAll(text, `"node":"gamma"`, `"node":"alpha"`))
	}
	submit := converse(t, n, false)
	say(submit, said[1][0], "")
	id := submit.expect("Work unit created with ID <ID>. Send stdin data and EOF.\n")
	say(submit, said[1][1], "")
	if err := submit.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	submit.expect(`{"result":"Job Started","unitid":"` + id + `"}` + "\n")

	results := converse(t, n, false)
	say(results, said[3][0], id)
	results.expect("Streaming results for work unit " + id + "\n")
	results.expect("hello\n")
	<-told
	status := converse(t, n, false)
	say(status, said[2][0], id)
	status.expect(`{"Detail":"Running: PID 1000","ExtraData":{"Pid":1000,"Params":"-n x"},"State":1,"StateName":"Running","StdoutSize":6,"WorkType":"echo"}` + "\n")
	over()
	if rest := results.rest(); rest != "world\n" {
		t.Errorf("then %q", rest)
	}
	say(status, said[2][1], id)
	done := `{"Detail":"exit status 0","ExtraData":null,"State":2,"StateName":"Succeeded","StdoutSize":12,"WorkType":"echo"}` + "\n"
	status.expect(done)
	again := converse(t, n, false)
	say(again, said[4][0], id)
	again.expect("Streaming results for work unit " + id + "\n")
	if rest := again.rest(); rest != "world\n" {
		t.Errorf("from byte 6: %q", rest)
	}
	cancel := converse(t, n, false)
	say(cancel, said[5][0], id)
	cancel.expect(`{"cancelled":"` + id + `"}` + "\n")
	release := converse(t, n, false)
	say(release, said[6][0], id)
	release.expect(`{"released":"` + id + `"}` + "\n")
	// Until it hears this, a legacy node keeps its own unit.
	say(status, said[7][0], id)
	status.expect("ERROR: unknown work unit " + id + "\n")
}

func TestLegacyErrors(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{OnStart: func(workceptor.Start) error { return fmt.Errorf("no such\nfile") }},
		workceptor.WorkType{Name: "echo"}, workceptor.WorkType{Name: "signed", Secure: true})
	for _, test := range []struct{ line, want string }{
		{"work", "bad command"},
		{"work eat x", "bad command"},
		{`{"command":"work"}`, "field subcommand missing"},
		{`{"command":"work","subcommand":7}`, "field subcommand must be a string"},
		{`{"command":"work","subcommand":"eat"}`, "bad command"},
		{"work submit", "work submit requires a target node and work type"},
		{"work submit localhost", "work submit requires a target node and work type"},
		{"work submit localhost nope", "unknown work type nope"},
		{"work submit localhost echo -n  x", "extra params provided but not allowed"},
		{`{"command":"work","subcommand":"submit","worktype":"echo"}`, "field node missing"},
		{`{"command":"work","subcommand":"submit","node":"alpha"}`, "field worktype missing"},
		{`{"command":"work","subcommand":"submit","node":"alpha","worktype":"echo","x":1}`, "submit parameters must all be strings and x is not"},
		{`{"command":"work","subcommand":"submit","node":"alpha","worktype":"echo","ttl":"1h"}`, "ttl option is intended for remote work only"},
		{`{"command":"work","subcommand":"submit","node":"alpha","worktype":"echo","signature":"x"}`, "work type did not expect a signature"},
		{`{"command":"work","subcommand":"submit","node":"alpha","worktype":"signed"}`, "could not verify signature: signature is empty"},
		{`{"command":"work","subcommand":"submit","node":"alpha","worktype":"signed","signature":"x"}`, "could not verify signature: verifying key not specified"},
		{"work status", "work status requires a unit ID"},
		{"work status a b", "work status does not take parameters after the unit ID"},
		{"work status ../../etc", "unknown work unit ../../etc"},
		{"work list nope", "unknown work unit nope"},
		{"work cancel nope", "unknown work unit nope"},
		{"work release nope", "unknown work unit nope"},
		{"WORK FORCE-RELEASE nope", "unknown work unit nope"},
		{"work results", "work results requires a unit ID"},
		{"work results a 1 2", "work results only takes a unit ID and optional start position"},
		{"work results a x", `error converting start position to integer: strconv.ParseInt: parsing "x": invalid syntax`},
		{"work results nope", "unknown work unit nope"},
		{`{"command":"work","subcommand":"results","unitid":"a"}`, "field startpos missing"},
		{`{"command":"work","subcommand":"results","unitid":"a","startpos":"5"}`, "field startpos value 5 is not convertible to an int"},
		{`{"command":"work","subcommand":"status"}`, "field unitid missing"},
		{`{"command":"work","subcommand":"status","unitid":1}`, "field unitid must be a string"},
	} {
		converse(t, n, false).ask(test.line, "ERROR: "+test.want)
	}
	c := converse(t, n, true)
	c.ask("work list", "{}") // nothing is left of those
	c.ask("work submit LocalHost echo", "Work unit created with ID <ID>. Send stdin data and EOF.")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.expect("ERROR: Error starting worker: no such file\n")
	// On a Unix socket nobody has to sign.
	converse(t, n, true).ask("work submit localhost signed", "Work unit created with ID <ID>. Send stdin data and EOF.")
}

func TestLegacyListCancelAndQueue(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{Run: blocking(nil)}, workceptor.WorkType{Name: "echo", Slots: 1})
	a := work(t, n, "work submit localhost echo", "", "Job Started")
	b := work(t, n, "work submit localhost echo", "", "Job Submitted")
	c := converse(t, n, true)
	c.ask("work list "+b, `{"`+b+`":{"Detail":"Starting Worker","ExtraData":null,"State":0,"StateName":"Pending","StdoutSize":0,"WorkType":"echo"}}`)
	c.ask(`{"command":"work","subcommand":"list","unitid":"`+a+`"}`, `{"`+a+`":{"Detail":"Running: PID 1000","ExtraData":{"Pid":1000,"Params":""},"State":1,"StateName":"Running","StdoutSize":0,"WorkType":"echo"}}`)
	follower := converse(t, n, true)
	follower.ask("work results "+a, "Streaming results for work unit "+a)
	c.ask("work cancel "+a, `{"cancelled":"`+a+`"}`)
	if rest := follower.rest(); rest != "" { // it ends, which a legacy node's does not
		t.Errorf("results of a canceled unit: %q", rest)
	}
	c.ask("work status "+a, `{"Detail":"Canceled","ExtraData":null,"State":4,"StateName":"Canceled","StdoutSize":0,"WorkType":"echo"}`)
	c.ask("work release "+a, `{"released":"`+a+`"}`)
	n.untilState(b, workceptor.Running)
	n.worker.Detach()
	c.ask("work cancel "+b, `{"cancel pending":"`+b+`"}`)
	c.ask("work release "+b, `{"release pending":"`+b+`"}`)
	c.ask("work force-release "+b, `{"released":"`+b+`"}`)
	c.ask("work list", "{}")
	n.attach() // what it still has is stopped and released
	n.worker.Wait()
}

// frames reads the frames of our own form.
func (c *talk) frames() (out, stderr string, end string) {
	c.Helper()
	for {
		var h [5]byte
		if _, err := io.ReadFull(c.in, h[:]); err != nil {
			c.Fatalf("cut off: %v", err)
		}
		data := make([]byte, binary.BigEndian.Uint32(h[1:]))
		if _, err := io.ReadFull(c.in, data); err != nil {
			c.Fatalf("cut off: %v", err)
		}
		switch h[0] {
		case 1:
			out += string(data)
		case 2:
			stderr += string(data)
		case 3:
			return out, stderr, string(data)
		default:
			c.Fatalf("frame of type %d", h[0])
		}
	}
}

func frame(typ byte, data string) string {
	return string(append(binary.BigEndian.AppendUint32([]byte{typ}, uint32(len(data))), data...))
}

func TestOwnForm(t *testing.T) {
	t.Parallel()
	n := newNode(t, &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		_, _ = u.WriteErr([]byte("a warning"))
		return workertest.Echo(u)
	}})
	submit := `{"v":1,"args":{"subcommand":"submit","type":"echo","submission":"c0ffee","params":{"secret_x":"s3cret"}}}`
	cut := converse(t, n, true)
	id := cut.ask(submit, `{"existing":false,"phase":"receiving","state":"pending","unit":"<ID>"}`)
	cut.send(frame(0, "pay") + frame(0, "load")[:6])
	if err := cut.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, _, end := cut.frames(); !strings.Contains(end, `"error"`) || !strings.Contains(end, "unexpected EOF") {
		t.Errorf("a payload that was cut off: %s", end)
	}
	c := converse(t, n, true)
	c.ask(submit, `{"existing":true,"phase":"receiving","state":"pending","unit":"`+id+`"}`)
	c.send(frame(0, "pay") + frame(0, "load") + frame(3, ""))
	if _, _, end := c.frames(); !strings.Contains(end, `"unit":{"unit":"`+id+`"`) {
		t.Errorf("answer %s", end)
	}
	results := converse(t, n, true)
	results.ask(`{"v":1,"args":{"subcommand":"results","unit":"`+id+`","stdout":2}}`, `{"unit":"`+id+`"}`)
	out, stderr, end := results.frames()
	var last struct{ Unit workceptor.Status }
	if err := json.Unmarshal([]byte(end), &last); err != nil {
		t.Fatal(err)
	}
	if out != "yload" || stderr != "a warning" || last.Unit.Stdout != sum("payload") || last.Unit.Stderr != sum("a warning") || last.Unit.State != workceptor.Succeeded {
		t.Errorf("%q, %q, %s", out, stderr, end)
	}
	for _, question := range []string{
		`{"subcommand":"list"}`, `{"subcommand":"status","unit":"` + id + `"}`, `{"subcommand":"watch"}`,
	} {
		c := converse(t, n, true)
		c.send(`{"v":1,"args":` + question + "}\n")
		if answer := c.line(); strings.Contains(answer, "s3cret") || !strings.Contains(answer, id) || !strings.Contains(answer, `"code":0`) {
			t.Errorf("%s: %s", question, answer)
		}
	}
	c = converse(t, n, true)
	c.ask(`{"v":1,"args":{"subcommand":"cancel","unit":"`+id+`"}}`, `{"ended":true,"unit":"`+id+`"}`)
	c.ask(`{"v":1,"args":{"subcommand":"release","unit":"`+id+`"}}`, `{"released":true,"unit":"`+id+`"}`)
	c.ask(`{"v":1,"args":{"subcommand":"status","unit":"`+id+`"}}`, `ERROR: the unit has been released `+id)
	c.ask(`{"v":1,"args":{"subcommand":"eat"}}`, `ERROR: invalid request: subcommand is "eat", not submit, list, status, results, watch, cancel, release, type, nonce, drain or undrain`)
	c.ask(`{"v":1,"args":{"subcommand":"list","sort":1}}`, `ERROR: invalid request: args: json: unknown field "sort"`)
	c.ask(`{"v":1,"args":{"subcommand":"submit","type":"echo","submission":"c0ffee"}}`, `ERROR: the unit has been released`)
}
