package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor/control"
	"github.com/project-receptor/receptor/workceptor"
	"github.com/project-receptor/receptor/workceptor/workertest"
)

// workNode is node a, whose units are functions. Its work types are echo, which may
// have parameters, and slow, which has one slot.
func workNode(t *testing.T, worker *workertest.Worker) (*workceptor.Workceptor, string) {
	t.Helper()
	w, err := workceptor.New(workceptor.Config{Dir: t.TempDir() + "/units", NodeID: "a", Reserve: 1})
	if err == nil {
		err = w.Start()
	}
	if err == nil {
		_, err = worker.Attach(w, workceptor.WorkType{Name: "echo", Params: true}, workceptor.WorkType{Name: "slow", Slots: 1})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		worker.Detach()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		worker.Wait()
	})
	l, path := listen(t)
	s := control.New(control.Config{NodeID: "a"})
	s.Register(control.MeshCommands(threeNodes(), nil)...)
	work := w.Command()
	s.Register(control.Command{Name: "work", Plain: work.Plain, Own: work.Own})
	serveServer(t, s, l)
	return w, path
}

// job is what units of workNode do: with "exit N" as their parameters they exit so,
// with "wait" they do until they are stopped, with "both" they use both streams.
func job(u *workertest.Unit) workceptor.Exit {
	var code int
	switch p := u.Params["params"]; {
	case p == "wait" || u.Type == "slow":
		_, _ = u.Write([]byte("first\n"))
		<-u.Stopped
		return workceptor.Exit{Signal: "SIGTERM"}
	case p == "both":
		_, _ = u.Write([]byte("out \xff\n"))
		_, _ = u.WriteErr([]byte("err\n"))
	case strings.HasPrefix(p, "exit"):
		_, _ = fmt.Sscanf(p, "exit %d", &code)
	}
	if exit := workertest.Echo(u); exit.Code != 0 {
		return exit
	}
	return workceptor.Exit{Code: code}
}

// anyUnit replaces unit IDs by <ID>, where they are expected.
func (o outcome) anyUnit() outcome {
	id := regexp.MustCompile(`(Unit ID: |"unit(?:id)?":"|\()[A-Za-z0-9]{8}\b`)
	o.out = id.ReplaceAllString(o.out, "$1<ID>")
	return o
}

func TestWorkSubmit(t *testing.T) {
	t.Parallel()
	w, path := workNode(t, &workertest.Worker{Run: job, OnStart: func(s workceptor.Start) error {
		if s.Params["params"] == "refuse" {
			return fmt.Errorf("no such program")
		}
		return nil
	}})
	file := filepath.Join(t.TempDir(), "payload")
	if err := os.WriteFile(file, []byte("of a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(file)
	started := "Result: Job Started\nUnit ID: <ID>\n"
	for _, tc := range []struct {
		name, stdin string
		args        []string
		want        outcome
	}{
		{"no payload", "", []string{"-n", "echo"}, outcome{0, started, ""}},
		{"literal", "", []string{"-lhello", "-f", "echo"}, outcome{0, "hello\n", ""}},
		{"file", "", []string{"echo", "--payload", file, "--follow"}, outcome{0, "of a file", ""}},
		{"stdin", "from \x00 there", []string{"echo", "--payload=-", "--follow"}, outcome{0, "from \x00 there", ""}},
		{"our node by its name", "", []string{"--node", "a", "-nf", "echo"}, outcome{0, "", ""}},
		{"JSON", "", []string{"--json", "-n", "echo"}, outcome{0, `{"result":"Job Started","unitid":"<ID>"}` + "\n", ""}},
		{"parameters", "", []string{"-n", "echo", "-f", "-a", "params=exit", "--", "3"}, outcome{1, "", "ERROR: Remote unit failed: exit status 3\n\n"}},
		{"both streams in one", "", []string{"-n", "echo", "-f", "both"}, outcome{0, "out \xff\nerr\n", ""}},
		{"removed", "", []string{"-n", "echo", "--rm"}, outcome{0, started + "(<ID>, released)\n", "Warning: using --rm without --follow. Unit results will never be seen.\n"}},
		{"removed after it has failed", "", []string{"-l", "x", "echo", "--rm", "-f", "exit", "1"}, outcome{1, "x\n(<ID>, released)\n", "ERROR: Remote unit failed: exit status 1\n\n"}},
		{"refused by the worker", "", []string{"-n", "echo", "refuse"}, outcome{101, "", "ERROR: Remote error: ERROR: Error starting worker: no such program\n"}},
		{"unknown type", "", []string{"-n", "nope"}, outcome{101, "", "ERROR: Failed to start work unit: unknown work type nope\n"}},
		{"parameters that are not allowed", "", []string{"-n", "slow", "x"}, outcome{101, "", "ERROR: Failed to start work unit: extra params provided but not allowed\n"}},
		{"TTL of local work", "", []string{"-n", "echo", "--ttl", "1h"}, outcome{101, "", "ERROR: Failed to start work unit: ttl option is intended for remote work only\n"}},
		{"a TTL that is none", "", []string{"-n", "echo", "--node", "b", "--ttl", "zz"}, outcome{101, "", "ERROR: Failed to start work unit: time: invalid duration \"zz\"\n"}},
		{"no TTL at all", "", []string{"-n", "echo", "--node", "b", "--ttl", "0s"}, outcome{101, "", "ERROR: Failed to start work unit: ttl is 0s, and must be more than 0\n"}},
		{"local work is not disconnected", "", []string{"-n", "echo", "--on-disconnect", "fail"}, outcome{101, "", "ERROR: Failed to start work unit: --on-disconnect is for work on other nodes only\n"}},
		{"a node that gives no work to others", "", []string{"-n", "echo", "--node", "b", "--on-disconnect", "wait"}, outcome{101, "", "ERROR: Failed to start work unit: this node gives no work to others\n"}},
		{"on disconnect something", "", []string{"-n", "echo", "--on-disconnect", "die"}, outcome{1, "", "ERROR: Option '--on-disconnect' is wait, fail or fail:TIME such as fail:30m, not 'die'.\n"}},
		{"wait has no time", "", []string{"-n", "echo", "--on-disconnect", "wait:1m"}, outcome{1, "", "ERROR: Option '--on-disconnect' is wait, fail or fail:TIME such as fail:30m, not 'wait:1m'.\n"}},
		{"a time that is none", "", []string{"-n", "echo", "--on-disconnect", "fail:-1m"}, outcome{1, "", "ERROR: Option '--on-disconnect' is wait, fail or fail:TIME such as fail:30m, not 'fail:-1m'.\n"}},
		{"no choice of a payload", "", []string{"echo"}, outcome{1, "", "ERROR: Must provide one of --payload, --no-payload or --payload-literal.\n"}},
		{"an empty literal", "", []string{"echo", "-l", ""}, outcome{1, "", "ERROR: Must provide one of --payload, --no-payload or --payload-literal.\n"}},
		{"two payloads", "", []string{"echo", "-n", "-l", "x"}, outcome{1, "", "ERROR: Cannot provide more than one of --payload, --no-payload and --payload-literal.\n"}},
		{"no file", "", []string{"echo", "-p", "/x"}, outcome{1, "", "ERROR: Failed to load payload file: [Errno 2] No such file or directory: '/x'\n"}},
		{"a directory", "", []string{"echo", "-p", dir}, outcome{1, "", "ERROR: Failed to load payload file: [Errno 21] Is a directory: '" + dir + "'\n"}},
		{"a reserved key", "", []string{"-n", "echo", "-a", "node=b"}, outcome{101, "", "ERROR: Duplicate or illegal parameter node\n"}},
		{"a reserved key if its option is there", "", []string{"-n", "echo", "--ttl", "1h", "-a", "ttl=1h"}, outcome{101, "", "ERROR: Duplicate or illegal parameter ttl\n"}},
		{"a key without a value", "", []string{"-n", "echo", "-a", "k=v", "-a", "k"}, outcome{101, "", "ERROR: dictionary update sequence element #1 has length 1; 2 is required\n"}},
		{"an empty value", "", []string{"-n", "echo", "-a", "k="}, outcome{101, "", "ERROR: string index out of range\n"}},
		{"no file of a value", "", []string{"-n", "echo", "-a", "k=@/x"}, outcome{101, "", "ERROR: /x does not exist\n"}},
		{"no type", "", []string{"-n"}, outcome{1, "", "ERROR: Missing parameter: worktype\n"}},
		{"no such option", "", []string{"--foo"}, outcome{1, "", "ERROR: No such option: --foo\n"}},
		{"no value", "", []string{"--ttl"}, outcome{1, "", "ERROR: Option '--ttl' requires an argument.\n"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run(t, tc.stdin, append([]string{"--socket", path, "work", "submit"}, tc.args...)...).anyUnit().check(t, tc.want)
		})
	}
	run(t, "", "--socket", path, "work", "submit", "-nf", "echo", "--json", "both").
		anyUnit().check(t, run(t, "", "--socket", path, "work", "results", w.List()[len(w.List())-1].ID, "--json").anyUnit())
	value := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(value, []byte("of a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "", "--socket", path, "work", "submit", "-n", "echo", "-a", "k=@"+value, "-a", "l=@@x=y", "-a", "l=@@z")
	all := w.List()
	if got := fmt.Sprint(all[len(all)-1].Params); got != "map[k:of a file l:@@z]" {
		t.Errorf("parameters %s", got)
	}
}

// What a legacy node is told, and what of it is printed.
func TestWorkWithLegacyNode(t *testing.T) {
	t.Parallel()
	const created = "Work unit created with ID HcJrtDSs. Send stdin data and EOF.\n"
	const noOwn = "ERROR: bad command\n"
	status := func(state int, detail string) string {
		return fmt.Sprintf(`{"Detail":%q,"ExtraData":null,"State":%d,"StateName":"x","StdoutSize":5,"WorkType":"wt"}`+"\n", detail, state)
	}
	for _, tc := range []struct {
		name          string
		args          []string
		conversations [][]step
		want          outcome
	}{
		{
			"submit",
			[]string{"submit", "-l", "hello", "wt"},
			[][]step{
				{{`{"command":"work","subcommand":"submit","node":"localhost","worktype":"wt"}`, created}, {"hello", `{"result":"Job Started","unitid":"HcJrtDSs"}` + "\n"}},
				{{anything, noOwn}},
			},
			outcome{0, "Result: Job Started\nUnit ID: HcJrtDSs\n", ""},
		},
		{
			"submit with all options",
			[]string{"submit", "--node", "n", "--tls-client", "t", "--ttl", "1m", "--signwork", "-a", "k=v", "-n", "wt", "p1", "p2"},
			[][]step{{
				{`{"command":"work","subcommand":"submit","node":"n","worktype":"wt","tlsclient":"t","ttl":"1m","signwork":"true","k":"v","params":"p1 p2"}`, created},
				{"", `{"result":"Job Submitted","unitid":"HcJrtDSs"}` + "\n"},
			}, {{anything, noOwn}}},
			outcome{0, "Result: Job Submitted\nUnit ID: HcJrtDSs\n", ""},
		},
		{
			"submit is refused",
			[]string{"submit", "--node", "n", "--ttl", "zz", "-n", "wt"},
			[][]step{{{anything, "ERROR: time: invalid duration \"zz\"\n"}}},
			outcome{101, "", "ERROR: Failed to start work unit: time: invalid duration \"zz\"\n"},
		},
		{
			"submit is refused after the payload, and removed",
			[]string{"submit", "--node", "n", "--signwork", "-n", "--rm", "-f", "wt"},
			[][]step{
				{{anything, created}, {"", "ERROR: could not parse response: ERROR: work type did not expect a signature\n"}},
				{{anything, noOwn}},
				{{"work release HcJrtDSs", `{"released":"HcJrtDSs"}` + "\n"}},
			},
			outcome{101, "(HcJrtDSs, released)\n", "ERROR: Remote error: ERROR: could not parse response: ERROR: work type did not expect a signature\n"},
		},
		{
			"submit that cannot be followed nor removed",
			[]string{"submit", "--node", "n", "-n", "--rm", "-f", "wt"},
			[][]step{
				{{anything, created}, {"", `{"result":"Job Started","unitid":"HcJrtDSs"}` + "\n"}},
				{{anything, noOwn}},
				{},
				{{anything, noOwn}},
				{{"work results HcJrtDSs 0", "ERROR: unknown work unit HcJrtDSs\n"}},
				{{"work release HcJrtDSs", "ERROR: unknown work unit HcJrtDSs\n"}},
			},
			outcome{101, "", "ERROR: Failed to get results: unknown work unit HcJrtDSs HcJrtDSs: ERROR: unknown work unit HcJrtDSs\n"},
		},
		{
			"results",
			[]string{"results", "HcJrtDSs"},
			[][]step{
				{},
				{{anything, noOwn}},
				{{"work results HcJrtDSs 0", "Streaming results for work unit HcJrtDSs\nhello"}},
				{{"work status HcJrtDSs", status(2, "exit status 0")}},
			},
			outcome{0, "hello", ""},
		},
		{
			"results of a unit that has failed",
			[]string{"results", "HcJrtDSs"},
			[][]step{
				{},
				{{anything, noOwn}},
				{{"work results HcJrtDSs 0", "Streaming results for work unit HcJrtDSs\nhello"}},
				{{"work status HcJrtDSs", status(3, "exit status 3")}},
			},
			outcome{1, "hello", "ERROR: Remote unit failed: exit status 3\n\n"},
		},
		{
			"no results",
			[]string{"results", "nope"},
			[][]step{{}, {{anything, noOwn}}, {{"work results nope 0", "ERROR: unknown work unit nope\n"}}},
			outcome{1, "", "ERROR: Failed to get results: unknown work unit nope\n"},
		},
		{
			"status",
			[]string{"status", "HcJrtDSs"},
			[][]step{{{anything, noOwn}, {"work status HcJrtDSs", `{"Detail":"é","State":1}` + "\n"}}},
			outcome{0, "{\n    \"Detail\": \"\\u00e9\",\n    \"State\": 1\n}\n", ""},
		},
		{
			"list of another node",
			[]string{"list", "--node", "b", "--tls-client", "t"},
			[][]step{{
				{`{"args":{"node":"b","service":"control","tls":"t"},"command":"connect","id":1,"v":1}`, noOwn},
				{"connect b control t", "Connecting\nReceptor Control, node b\n"},
				{"work list", `{"HcJrtDSs":{"Detail":"exit status 0","ExtraData":null,"State":2,"StateName":"Succeeded","StdoutSize":0,"WorkType":"sec"}}` + "\n"},
			}},
			outcome{0, `{
    "HcJrtDSs": {
        "Detail": "exit status 0",
        "ExtraData": null,
        "State": 2,
        "StateName": "Succeeded",
        "StdoutSize": 0,
        "WorkType": "sec"
    }
}
`, ""},
		},
		{
			"list, quiet",
			[]string{"list", "-q", "--unit_id", "x"},
			[][]step{{{"work list x", `{"a":{},"b":{}}` + "\n"}}},
			outcome{0, "a\nb\n", ""},
		},
		{
			"cancel",
			[]string{"cancel", "x", "nope", "y"},
			[][]step{{{"work cancel x", `{"cancel pending":"x"}` + "\n"}, {"work cancel nope", "ERROR: unknown work unit nope\n"}}},
			outcome{1, "Cancelled:\n(x, cancel pending)\n", "ERROR: nope: ERROR: unknown work unit nope\n"},
		},
		{
			"release all",
			[]string{"release", "--all", "--force", "x"},
			[][]step{{
				{"work list", `{"a":{},"b":{}}` + "\n"},
				{"work force-release a", `{"released":"a"}` + "\n"},
				{"work force-release b", `{"released":"b"}` + "\n"},
			}},
			outcome{0, "Released:\n(a, released)\n(b, released)\n", ""},
		},
		{"release nothing", []string{"release", "--all"}, [][]step{{{"work list", "{}\n"}}}, outcome{0, "Released:\n", ""}},
		{"force-release", []string{"force-release", "a", "--json"}, [][]step{{{"work force-release a", `{"released":"a"}` + "\n"}}}, outcome{0, `{"result":"released","unitid":"a"}` + "\n", ""}},
		{"no units", []string{"cancel"}, nil, outcome{0, "", "Warning: No unit IDs supplied: Not doing anything\n"}},
		{"no unit", []string{"results"}, nil, outcome{1, "", "ERROR: Missing parameter: unit_id\n"}},
		{"two units", []string{"results", "a", "b"}, nil, outcome{1, "", "ERROR: Got unexpected extra argument (b)\n"}},
		{"no such command", []string{"eat"}, nil, outcome{1, "", "ERROR: No such command 'eat'.\n"}},
		{
			"on disconnect",
			[]string{"submit", "--node", "n", "--on-disconnect", "fail:1h", "-n", "wt"},
			[][]step{{}, {{anything, noOwn}}},
			outcome{101, "", "ERROR: --on-disconnect cannot be had: the node speaks only the legacy forms\n"},
		},
		{"our own list", []string{"list", "--json"}, [][]step{{{anything, noOwn}}}, outcome{1, "", "ERROR: the node speaks only the legacy forms\n"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := scripts(t, greeting, tc.conversations...)
			run(t, "", append([]string{"--socket", path, "work"}, tc.args...)...).check(t, tc.want)
		})
	}
}

// Our own node: what units have written, on which stream, from where, and how they ended.
func TestWorkFollow(t *testing.T) {
	t.Parallel()
	w, path := workNode(t, &workertest.Worker{Run: job})
	submit := func(params string) string {
		t.Helper()
		s, err := w.Submit(workceptor.Request{Type: "echo", Params: map[string]string{"params": params}})
		if err != nil {
			t.Fatal(err)
		}
		u, err := s.Commit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return u.ID
	}
	ctl := func(args ...string) outcome {
		t.Helper()
		return run(t, "", append([]string{"--socket", path, "work"}, args...)...)
	}
	both := submit("both")
	ctl("results", both).check(t, outcome{0, "out \xff\n", ""})
	ctl("follow", both).check(t, outcome{0, "out \xff\n", "err\n"})
	ctl("follow", both, "--stdout-from", "2", "--stderr-from=-1").check(t, outcome{0, "t \xff\n", ""})
	got := ctl("follow", both, "--json")
	for _, want := range []string{
		`{"stream":"stdout","offset":0,"next":6,"base64":"b3V0IP8="}` + "\n", `{"stream":"stderr","offset":0,"next":4,"line":"err"}` + "\n",
		`{"unit":{"unit":"` + both + `","state":"succeeded"`,
	} {
		if !strings.Contains(got.out, want) || got.code != 0 {
			t.Errorf("%+v lacks %s", got, want)
		}
	}
	ctl("follow", submit("exit 7")).check(t, outcome{1, "", "ERROR: Remote unit failed: exit status 7\n\n"})
	waits := submit("wait")
	ctl("cancel", waits).check(t, outcome{0, "Cancelled:\n(" + waits + ", cancelled)\n", ""})
	ctl("results", waits).check(t, outcome{1, "first\n", "ERROR: Remote unit failed: Canceled\n\n"})
	ctl("results", "nope").check(t, outcome{1, "", "ERROR: Failed to get results: unknown work unit nope\n"})
	ctl("status", "nope").check(t, outcome{1, "", "ERROR: unknown work unit nope\n"})
	got = ctl("status", both)
	for _, want := range []string{"Unit        " + both + "\n", "State       succeeded\n", "Exit        status 0\n", "Stderr      4 bytes, SHA-256 ", "exited: exit status 0\n", "Parameter   params=both\n"} {
		if !strings.Contains(got.out, want) || got.code != 0 {
			t.Errorf("%+v lacks %q", got, want)
		}
	}
	var u workceptor.Status
	if err := json.Unmarshal([]byte(ctl("status", "--json", both).out), &u); err != nil || u.ID != both || u.Exit == nil || len(u.History) == 0 {
		t.Errorf("%v: %+v", err, u)
	}
	var all struct {
		Units []workceptor.Status
		Types []workceptor.TypeStatus
	}
	if err := json.Unmarshal([]byte(ctl("list", "--json").out), &all); err != nil || len(all.Units) != 3 || len(all.Types) != 2 {
		t.Errorf("%v: %+v", err, all)
	}
	ctl("release", "--all")
	ctl("list").check(t, outcome{0, "{}\n", ""})
	ctl("list", "-q").check(t, outcome{0, "", ""})
	if got := ctl(); got.code != 0 || !strings.Contains(got.out, "force-release") {
		t.Errorf("%+v", got)
	}
}

// watchedBuffer lets a test wait for what is written.
type watchedBuffer struct {
	mu   sync.Mutex
	b    bytes.Buffer
	want string
	seen func()
}

// Write implements io.Writer.
func (w *watchedBuffer) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b.Write(b)
	if w.seen != nil && strings.Contains(w.b.String(), w.want) {
		w.seen()
		w.seen = nil
	}
	return len(b), nil
}

// ^C ends following, not the unit, and what is printed then does go on.
func TestWorkFollowInterrupted(t *testing.T) {
	t.Parallel()
	w, path := workNode(t, &workertest.Worker{Run: job})
	interrupted := func(args ...string) outcome {
		ctx, interrupt := context.WithTimeout(t.Context(), patience)
		defer interrupt()
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		out, stderr := &watchedBuffer{want: "first\n", seen: interrupt}, &bytes.Buffer{}
		a := &app{Env: Env{Stdin: null, Stdout: out, Stderr: stderr, Getenv: func(string) string { return "" }}, ctx: ctx}
		return outcome{a.run(append([]string{"--socket", path, "work"}, args...)), out.b.String(), stderr.String()}
	}
	got := interrupted("submit", "-nf", "slow")
	u := w.List()[0]
	got.check(t, outcome{0, "first\n", "\nUnit " + u.ID + " goes on. Go on with: receptorctl --socket " + path + " work follow " + u.ID + " --stdout-from 6 --stderr-from -1\n"})
	if u.State != workceptor.Running {
		t.Errorf("the unit is %s", u.State)
	}
	run(t, "", "--socket", path, "work", "cancel", u.ID)
	words := strings.Fields(got.stderr[strings.Index(got.stderr, "--socket"):])
	run(t, "", words...).check(t, outcome{1, "", "ERROR: Remote unit failed: Canceled\n\n"})
	// With --rm it is released.
	got = interrupted("submit", "-nf", "--rm", "slow").anyUnit()
	got.check(t, outcome{0, "first\n(<ID>, released)\n", "\n"})
	if all := w.List(); len(all) != 1 {
		t.Errorf("%d units are left", len(all))
	}
}

// A connection that is cut costs nothing but a warning.
func TestWorkFollowCut(t *testing.T) {
	t.Parallel()
	w, path := workNode(t, &workertest.Worker{Run: job})
	l, through := listen(t)
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	cuts := make(chan func(), 100)
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			node, err := net.Dial("unix", path)
			if err != nil {
				t.Error(err)
				return
			}
			cuts <- func() { c.Close(); node.Close() }
			all.Go(func() { io.Copy(node, c); node.Close() })
			all.Go(func() { io.Copy(c, node); c.Close() })
		}
	})
	out := &watchedBuffer{want: "first\n", seen: func() {
		for len(cuts) > 0 {
			(<-cuts)()
		}
		u := w.List()[0]
		all.Go(func() {
			if _, err := w.Cancel(t.Context(), u.ID); err != nil {
				t.Error(err)
			}
		})
	}}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stderr := &bytes.Buffer{}
	a := &app{Env: Env{Stdout: out, Stderr: stderr, Getenv: func(string) string { return "" }}, ctx: ctx}
	code := a.run([]string{"--socket", through, "work", "submit", "-nf", "slow"})
	if code != 1 || out.b.String() != "first\n" || !strings.Contains(stderr.String(), "Warning: ") || !strings.HasSuffix(stderr.String(), "ERROR: Remote unit failed: Canceled\n\n") {
		t.Errorf("%d\n%s--\n%s", code, &out.b, stderr)
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	p := &progress{to: &b, start: time.Now().Add(-2 * time.Second)}
	p.at(1<<20, 4<<20)
	p.at(2<<20, 4<<20) // too soon after
	p.end()
	if got := b.String(); !strings.HasPrefix(got, "\r\x1b[K[#######                       ]  25 %  1.0 MiB  ") || strings.Count(got, "\r\x1b[K") != 2 {
		t.Errorf("%q", got)
	}
	b.Reset()
	p = &progress{to: &b, start: time.Now().Add(-2 * time.Second)}
	p.at(1<<30, 0)
	if got := b.String(); !strings.HasPrefix(got, "\r\x1b[K1.00 GiB  ") {
		t.Errorf("%q", got)
	}
}
