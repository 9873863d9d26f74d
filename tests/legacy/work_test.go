package legacy

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// workVectors is where the recorded conversations about work are.
const workVectors = "../../workceptor/testdata/"

func readWorkVector(t *testing.T, name string, v any) {
	t.Helper()
	text, err := os.ReadFile(workVectors + name)
	if err != nil {
		t.Fatal(err)
	}
	decode(t, text, v)
}

// workers are those of the tests: cat, wait until canceled, fail.
var workers = map[string]Worker{
	"echo": func(_ context.Context, _ string, stdin []byte, stdout io.Writer) error {
		_, err := stdout.Write(stdin)
		return err
	},
	"wait": func(ctx context.Context, params string, _ []byte, stdout io.Writer) error {
		fmt.Fprintf(stdout, "waits %s\n", params)
		<-ctx.Done()
		return context.Cause(ctx)
	},
	"fail": func(context.Context, string, []byte, io.Writer) error { return errors.New("exit status 3") },
}

// startWork starts a node with work and its control service.
func startWork(t *testing.T, id string) (*Node, *Work) {
	t.Helper()
	w := NewWork(workers)
	t.Cleanup(w.Close)
	n := start(t, Config{ID: id, Control: map[string]Command{"work": w.Command}, WorkCommands: w.Commands()})
	if _, err := n.ServeControl("control", nil); err != nil {
		t.Fatal(err)
	}
	return n, w
}

// Vector 06: the conversations with a submitting node, each on a connection of its
// own, when they were held.
func TestVectorWork(t *testing.T) {
	t.Parallel()
	var v struct {
		Connections []struct {
			Conversation []struct {
				From, Text, Event string
				TMs               float64 `json:"t_ms"`
			}
		}
	}
	readWorkVector(t, "06-work-submit-control-conversation.json", &v)
	created := regexp.MustCompile(`with ID (\w{8})\.|"RemoteUnitID":"(\w{8})"`)
	synctest.Test(t, func(t *testing.T) {
		alpha, w := startWork(t, "alpha")
		beta, far := startWork(t, "beta")
		join(alpha, beta, LinkConfig{}, LinkConfig{})
		began := time.Now()
		ids := strings.NewReplacer()
		var pairs []string
		lines := 0
		for i, connection := range v.Connections {
			at := time.Duration((connection.Conversation[1].TMs + 2000) * float64(time.Millisecond))
			time.Sleep(at - time.Since(began))
			s, err := alpha.Dial(t.Context(), "alpha", "control", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			for _, e := range connection.Conversation {
				switch {
				case e.From == "client":
					io.WriteString(s, ids.Replace(e.Text))
				case e.From == "server":
					got := make([]byte, len(e.Text))
					if _, err := io.ReadFull(s, got); err != nil {
						t.Fatalf("connection %d: %v", i+1, err)
					}
					was, is := created.FindStringSubmatch(e.Text), created.FindStringSubmatch(string(got))
					if was != nil && is != nil {
						pairs = append(pairs, was[1]+was[2], is[1]+is[2])
						ids = strings.NewReplacer(pairs...)
					}
					if want := ids.Replace(e.Text); string(got) != want {
						t.Errorf("connection %d: answered\n%q, expected\n%q", i+1, got, want)
					}
					lines++
				case e.Event == "client half-close":
					s.CloseWrite()
				case e.Event == "server half-close":
					s.CloseWrite() // what answers status waits for it
					if rest, err := io.ReadAll(s); len(rest) > 0 || err != nil {
						t.Errorf("connection %d: then %q, %v", i+1, rest, err)
					}
				}
			}
		}
		time.Sleep(5 * time.Second)
		if left := w.List(); lines != 13 || len(left) != 1 || len(far.List()) != 0 {
			t.Errorf("%d lines; left at alpha %v, at beta %v", lines, left, far.List())
		}
	})
}

// said is a line of a conversation between nodes.
type said struct {
	At     float64 `json:"t"`
	Conn   int
	From   string
	Text   string
	Note   string
	Event  string // instead of a text
	submit bool   // by the submitter
}

// recordedExecutor plays the recorded other end, connection by connection, and
// compares.
type recordedExecutor struct {
	t      *testing.T
	key    *rsa.PublicKey // of signatures; nil: there are none
	script map[int][]said
	first  float64 // when the first of the script was said
	began  time.Time

	mu      sync.Mutex
	next    int
	greeted map[*ControlSession]int
	heard   int
}

var signatures = regexp.MustCompile(`"signature":"([^"]*)"`)

// work answers one line of a connection. The greeting has been sent.
func (x *recordedExecutor) work(ctx context.Context, s *ControlSession, r Request) (any, error) {
	x.mu.Lock()
	conn, known := x.greeted[s]
	if !known {
		x.next++
		conn = x.next
		x.greeted[s] = conn
	}
	if x.began.IsZero() {
		x.began, x.first = time.Now(), x.script[conn][0].At
	}
	x.mu.Unlock()
	line := "work " + r.Text
	if r.Fields != nil { // whose keys are sorted, as Marshal does
		text, err := json.Marshal(r.Fields)
		if err != nil {
			return nil, err
		}
		line = string(text)
	}
	x.expect(conn, line+"\n")
	for {
		x.mu.Lock()
		if len(x.script[conn]) == 0 {
			x.mu.Unlock()
			return nil, ErrEndSession
		}
		e := x.script[conn][0]
		x.mu.Unlock()
		switch {
		case e.submit && e.Note != "": // the payload
			payload, err := io.ReadAll(s.Reader)
			if err != nil {
				return nil, err
			}
			x.expect(conn, string(payload))
			continue
		case e.submit:
			return nil, nil // the next line
		}
		x.drop(conn)
		if e.Event != "" { // FIN
			wait(ctx, time.Until(x.at(e)))
			return nil, ErrEndSession
		}
		if _, err := io.WriteString(s, e.Text); err != nil {
			return nil, err
		}
	}
}

func (x *recordedExecutor) at(e said) time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.began.Add(time.Duration((e.At - x.first) * float64(time.Second)))
}

func (x *recordedExecutor) drop(conn int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.script[conn] = x.script[conn][1:]
}

// expect compares what the submitter says, and when, with the script.
func (x *recordedExecutor) expect(conn int, text string) {
	x.mu.Lock()
	var e said
	if len(x.script[conn]) > 0 {
		e = x.script[conn][0]
		x.script[conn] = x.script[conn][1:]
	}
	x.heard++
	late := time.Since(x.began).Seconds() - (e.At - x.first)
	x.mu.Unlock()
	if x.key != nil { // every token is another
		for _, token := range signatures.FindAllStringSubmatch(text, -1) {
			if err := verifyToken(x.key, "fake", token[1], time.Now()); err != nil {
				x.t.Errorf("connection %d: %v", conn, err)
			}
		}
		text, e.Text = signatures.ReplaceAllString(text, "TOKEN"), signatures.ReplaceAllString(e.Text, "TOKEN")
	}
	if text != e.Text {
		x.t.Errorf("connection %d: said %q, recorded %q", conn, text, e.Text)
	}
	if math.Abs(late) > 0.3 { // of a second, in which the recorded node lost up to 0.2
		x.t.Errorf("connection %d: %q was said %.3f s late", conn, text, late)
	}
}

// Vector 06b: what a submitting node says to the other, on which connection, and
// when: submit, polls, results from where they broke off, cancel, release, and
// polls for ever since that does not forget the unit.
func TestVectorRemoteWork(t *testing.T) {
	t.Parallel()
	var v struct{ Unsigned struct{ Events []said } }
	readWorkVector(t, "06b-mesh-work-conversation.json", &v)
	events := v.Unsigned.Events
	x := &recordedExecutor{t: t, script: map[int][]said{}, greeted: map[*ControlSession]int{}}
	var canceled, end float64
	for _, e := range events {
		e.submit = strings.Contains(e.From, "submitter")
		if e.From == "" || strings.HasPrefix(e.Text, "Receptor Control") {
			continue // of QUIC, or the model's own
		}
		if e.Conn == 7 && e.At > 50 {
			continue // it goes on like that
		}
		x.script[e.Conn] = append(x.script[e.Conn], e)
		if e.submit && strings.Contains(e.Text, `"cancel"`) {
			canceled = e.At
		}
		end = e.At
	}
	synctest.Test(t, func(t *testing.T) {
		alpha, w := startWork(t, "alpha")
		gamma := start(t, Config{ID: "gamma", Control: map[string]Command{"work": x.work}})
		join(alpha, gamma, LinkConfig{}, LinkConfig{})
		if _, err := gamma.ServeControl("control", nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		id, result, err := w.Submit(alpha, "gamma", "echo", map[string]string{"params": "-n x", "foo": "bar"}, []byte("hello stdin"))
		if err != nil || result != "Job Started" {
			t.Fatalf("%s, %v", result, err)
		}
		var out strings.Builder
		if err := w.Results(t.Context(), id, 0, &out); err != nil || out.String() != "hello\nworld\n" {
			t.Errorf("results %q, %v", &out, err)
		}
		time.Sleep(time.Until(x.at(said{At: canceled})))
		if pending, err := w.Cancel(id); pending || err != nil {
			t.Errorf("cancel: %v, %v", pending, err)
		}
		if pending, err := w.Release(id, false); pending || err != nil {
			t.Errorf("release: %v, %v", pending, err)
		}
		time.Sleep(time.Until(x.at(said{At: end + 0.5})))
		if s, err := w.Status(id); err != nil || s.State != UnitSucceeded {
			t.Errorf("a unit that the other node has not forgotten: %+v, %v", s, err)
		}
	})
	for conn, rest := range x.script {
		if len(rest) > 0 {
			t.Errorf("connection %d: never said %+v", conn, rest)
		}
	}
	if x.heard < 25 {
		t.Errorf("heard %d lines", x.heard)
	}
}

// The signed half of vector 06b: the same, and a token with each submit and each
// request for results.
func TestVectorSignedWork(t *testing.T) {
	t.Parallel()
	var v struct{ Signed struct{ Events []said } }
	readWorkVector(t, "06b-mesh-work-conversation.json", &v)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	x := &recordedExecutor{t: t, key: &key.PublicKey, script: map[int][]said{}, greeted: map[*ControlSession]int{}}
	signed, end := 0, 0.0
	for _, e := range v.Signed.Events {
		e.submit = strings.Contains(e.From, "submitter")
		if e.From == "" || strings.HasPrefix(e.Text, "Receptor Control") {
			continue // of QUIC, or the model's own
		}
		if signatures.MatchString(e.Text) {
			signed++
		}
		x.script[e.Conn] = append(x.script[e.Conn], e)
		end = e.At
	}
	synctest.Test(t, func(t *testing.T) {
		signer, w := startWork(t, "signer")
		w.SigningKey = key
		fake := start(t, Config{ID: "fake", Control: map[string]Command{"work": x.work}})
		join(signer, fake, LinkConfig{}, LinkConfig{})
		if _, err := fake.ServeControl("control", nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		id, result, err := w.SubmitSigned(signer, "fake", "signed", nil, []byte("hello stdin"))
		if err != nil || result != "Job Started" {
			t.Fatalf("%s, %v", result, err)
		}
		var out strings.Builder
		if err := w.Results(t.Context(), id, 0, &out); err != nil || out.String() != "hello\nworld\n" {
			t.Errorf("results %q, %v", &out, err)
		}
		time.Sleep(time.Until(x.at(said{At: end + 0.5})))
	})
	if signed != 3 || x.heard < 9 {
		t.Errorf("%d signatures, %d lines", signed, x.heard)
	}
}

// What an existing node has signed, and what it takes.
func TestVectorToken(t *testing.T) {
	t.Parallel()
	var v struct {
		JWT struct {
			Token  string
			Public string `json:"public_key_pem"`
			Claims struct{ Exp int64 }
		}
	}
	readVector(t, "09-hashes-san-jwt.json", &v)
	block, _ := pem.Decode([]byte(v.JWT.Public))
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key := public.(*rsa.PublicKey)
	end := time.Unix(v.JWT.Claims.Exp, 0)
	own, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	made, err := Token(own, "fake", end)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := made[:strings.LastIndexByte(made, '.')], v.JWT.Token[:strings.LastIndexByte(v.JWT.Token, '.')]; got != want {
		t.Errorf("signed %s, recorded %s", got, want)
	}
	for _, tt := range []struct {
		token, node string
		at          time.Time
		want        string
	}{
		{v.JWT.Token, "fake", end, ""},
		{v.JWT.Token, "fake", end.Add(2500 * time.Millisecond), "token is expired by 2.5s"},
		{v.JWT.Token, "other", end, "token audience did not match node ID"},
		{made, "fake", end, "crypto/rsa: verification error"},
		{"x", "fake", end, "token contains an invalid number of segments"},
	} {
		if err := verifyToken(key, tt.node, tt.token, tt.at); fmt.Sprint(err) != tt.want && (err != nil || tt.want != "") {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
}

// The other node goes and comes back: the unit there, what it wrote and a release
// meanwhile are not lost; and the submitting node may start again itself.
func TestRemoteWorkOutlivesNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		far := NewWork(workers)
		defer far.Close()
		near := NewWork(nil)
		defer near.Close()
		both := func() (alpha, beta *Node) {
			alpha, beta = start(t, Config{ID: "alpha"}), start(t, Config{ID: "beta", Control: map[string]Command{"work": far.Command}})
			join(alpha, beta, LinkConfig{}, LinkConfig{})
			if _, err := beta.ServeControl("control", nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			return alpha, beta
		}
		alpha, beta := both()
		id, _, err := near.Submit(alpha, "beta", "wait", map[string]string{"params": "here"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := near.Submit(alpha, "beta", "nonsense", nil, nil); err == nil || err.Error() != "could not parse response: ERROR: unknown work type nonsense" {
			t.Errorf("an unknown type: %v", err)
		}
		beta.Close()
		alpha.Close()
		time.Sleep(time.Second) // of a new epoch
		alpha, _ = both()
		near.Resume(alpha)
		time.Sleep(5 * time.Second)
		if s, err := near.Status(id); err != nil || s.State != UnitRunning || s.StdoutSize != int64(len("waits here\n")) {
			t.Errorf("%+v, %v", s, err)
		}
		if pending, err := near.Release(id, false); pending || err != nil {
			t.Errorf("release: %v, %v", pending, err)
		}
		time.Sleep(2 * time.Second)
		if _, err := near.Status(id); err == nil || len(far.List()) > 0 {
			t.Errorf("released: %v, left %v", err, far.List())
		}
	})
}

// How units end.
func TestWorkEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, w := startWork(t, "a")
		c := converseWith(t, n)
		for typ, want := range map[string]string{
			"echo": `{"Detail":"exit status 0","ExtraData":null,"State":2,"StateName":"Succeeded","StdoutSize":5,"WorkType":"echo"}`,
			"fail": `{"Detail":"exit status 3","ExtraData":null,"State":3,"StateName":"Failed","StdoutSize":0,"WorkType":"fail"}`,
			"wait": `{"Detail":"Canceled","ExtraData":null,"State":4,"StateName":"Canceled","StdoutSize":8,"WorkType":"wait"}`,
		} {
			id, _, err := w.Submit(n, "localhost", typ, map[string]string{"params": "x"}, []byte("bytes"))
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if typ == "wait" {
				c.say("work cancel " + id + "\n")
				c.expect(`{"cancelled":"` + id + `"}`)
			}
			c.say("work status " + id + "\n")
			c.expect(want)
		}
		c.say(`{"command":"work","subcommand":"results","unitid":"x","startpos":"5"}` + "\n")
		c.expect("ERROR: field startpos value 5 is not convertible to an int")
		c.say(`{"command":"work","subcommand":"status"}` + "\n")
		c.expect("ERROR: field unitid missing")
	})
}
