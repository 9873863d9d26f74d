package workceptor_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/workceptor"
	"github.com/project-receptor/receptor/workceptor/internal/signing"
	"github.com/project-receptor/receptor/workceptor/workertest"
)

var otherKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// newVerifier is a node with a type of work that wants signatures and one that does
// not, whose units run until they are stopped.
func newVerifier(t *testing.T, unsigned workceptor.Unsigned) *node {
	t.Helper()
	over := make(chan struct{})
	n := newNode(t, &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		select {
		case <-u.Stopped:
		case <-over:
		}
		return workceptor.Exit{Signal: "SIGTERM"}
	}}, workceptor.WorkType{Name: "signed", Params: true, Secure: true}, workceptor.WorkType{Name: "open", Params: true})
	t.Cleanup(func() { close(over) })
	n.close()
	n.config.VerifyingKey, n.config.Unsigned = &signingKey().PublicKey, unsigned
	n.open()
	return n
}

// submitted is a unit that runs, made by somebody at the node.
func (n *node) submitted(typ string) workceptor.Status {
	n.t.Helper()
	u := n.submit(workceptor.Request{Type: typ, Submission: "from-" + typ, Params: map[string]string{"params": "private"}}, "")
	return n.untilState(u.ID, workceptor.Running)
}

// request is one in our own form.
func request(sub string, r signing.Request, signature string) string {
	args := map[string]any{"subcommand": sub}
	for key, value := range map[string]any{
		"unit": r.Unit, "type": r.Type, "params": r.Params, "payload": r.Payload, "submission": r.Submission,
		"merged": r.Merged, "force": r.Force, "submissions": r.Submissions, "signature": signature,
	} {
		if !reflect.ValueOf(value).IsZero() {
			args[key] = value
		}
	}
	b, err := json.Marshal(map[string]any{"v": 1, "id": 1, "command": "work", "args": args})
	if err != nil {
		panic(err)
	}
	return string(b) + "\n"
}

func (n *node) nonce() string {
	n.t.Helper()
	c := converse(n.t, n, false)
	c.send(request("nonce", signing.Request{}, ""))
	var answer struct{ Nonce string }
	if err := json.Unmarshal([]byte(c.line()), &answer); err != nil {
		n.t.Fatal(err)
	}
	return answer.Nonce
}

func signature(t *testing.T, key *rsa.PrivateKey, node, nonce string, r signing.Request) string {
	t.Helper()
	token, err := signing.Sign(key, node, nonce, r)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// alterations are r with one field each that is something else.
func alterations(r signing.Request) map[string]signing.Request {
	all := make(map[string]signing.Request)
	for i := range reflect.TypeFor[signing.Request]().NumField() {
		other := r
		name, field := reflect.TypeFor[signing.Request]().Field(i).Name, reflect.ValueOf(&other).Elem().Field(i)
		switch value := field.Addr().Interface().(type) {
		case *string:
			*value += "0"
		case *bool:
			*value = !*value
		case *map[string]string:
			*value = map[string]string{"params": "altered"}
		default:
			panic(name)
		}
		all[name] = other
	}
	return all
}

// Each verb about a unit of a type that wants signatures wants one, of exactly that
// request, by the right key, for this node, with a nonce of it that was not used: all
// else is denied, counted, and says in one line what is wrong.
func TestEveryVerbIsAuthorised(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256([]byte("payload"))
	for _, sub := range []string{"submit", "status", "results", "list", "watch", "cancel", "release"} {
		t.Run(sub, func(t *testing.T) {
			t.Parallel()
			n := newVerifier(t, "")
			u := n.submitted("signed")
			r := signing.Request{Command: sub, Unit: u.ID}
			switch sub {
			case "submit":
				r = signing.Request{Command: sub, Type: "signed", Params: map[string]string{"params": "x"}, Payload: hex.EncodeToString(sum[:]), Submission: "mine", Merged: true}
			case "list":
				r.Unit = ""
			case "watch":
				r.Submissions = "from-"
			case "release":
				r.Force = true
			}
			denials := uint64(0)
			denied := func(what, line, want string) {
				t.Helper()
				c := converse(t, n, false)
				c.send(line)
				answer := c.line()
				if !strings.HasPrefix(answer, "ERROR: ") || !strings.Contains(answer, want) {
					t.Errorf("%s: %q, want %q", what, answer, want)
				}
				if denials++; n.Denied() != denials {
					t.Errorf("%s: %d requests were denied, want %d", what, n.Denied(), denials)
					denials = n.Denied()
				}
			}
			signed := func(r signing.Request) string { return signature(t, signingKey(), "alpha", n.nonce(), r) }

			if sub != "list" && sub != "watch" { // those show what they may
				denied("no signature", request(sub, r, ""), "signature is empty")
			}
			denied("noise", request(sub, r, "x"), "could not verify signature: ")
			denied("another key", request(sub, r, signature(t, otherKey(), "alpha", n.nonce(), r)), "could not verify signature: ")
			denied("another node", request(sub, r, signature(t, signingKey(), "beta", n.nonce(), r)), "token audience did not match node ID")
			foreign := newVerifier(t, "")
			denied("another node's nonce", request(sub, r, signature(t, signingKey(), "alpha", foreign.nonce(), r)), signing.ErrNonce.Error())
			denied("no nonce", request(sub, r, signature(t, signingKey(), "alpha", "", r)), signing.ErrNonce.Error())
			for name, other := range alterations(r) {
				denied("another "+name, request(sub, r, signed(other)), signing.ErrRequest.Error())
			}
			token, err := signing.Legacy(signingKey(), "alpha", time.Now(), time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			denied("a legacy token", request(sub, r, token), signing.ErrRequest.Error())
			if got, err := n.Get(u.ID); err != nil || got.State != workceptor.Running || len(n.List()) != 1 {
				t.Fatalf("%+v, %v, %d units", got, err, len(n.List()))
			}

			line := request(sub, r, signed(r))
			c := converse(t, n, false)
			c.send(line)
			if answer := c.line(); strings.HasPrefix(answer, "ERROR: ") {
				t.Errorf("a good one: %s", answer)
			}
			want := signing.ErrNonce.Error()
			if sub == "release" {
				return // there is nothing left to ask for
			}
			denied("again", line, want)
		})
	}
}

// A payload that is not the one that was signed starts nothing.
func TestPayloadIsSigned(t *testing.T) {
	t.Parallel()
	n := newVerifier(t, "")
	sum := sha256.Sum256([]byte("payload"))
	r := signing.Request{Command: "submit", Type: "signed", Payload: hex.EncodeToString(sum[:])}
	c := converse(t, n, false)
	c.send(request("submit", r, signature(t, signingKey(), "alpha", n.nonce(), r)))
	c.line()
	c.send(frame(0, "another") + frame(3, ""))
	if _, _, end := c.frames(); !strings.Contains(end, "digest") || !strings.Contains(end, workceptor.CodeDenied) {
		t.Errorf("%s", end)
	}
	if all := n.List(); n.Denied() != 1 || len(all) != 1 || all[0].State != workceptor.Failed || n.worker.Total() != 0 {
		t.Errorf("%d denied, %+v", n.Denied(), all)
	}
	r.Payload = ""
	c = converse(t, n, false)
	c.send(request("submit", r, signature(t, signingKey(), "alpha", n.nonce(), r)))
	if answer := c.line(); !strings.Contains(answer, "the signature must cover the payload") {
		t.Errorf("%s", answer)
	}
}

// Who has not signed sees the units that want no signatures, and how many there are
// that do.
func TestUnsignedSeesTheOpenUnits(t *testing.T) {
	t.Parallel()
	n := newVerifier(t, "")
	signed, open := n.submitted("signed"), n.submitted("open")
	c := converse(t, n, false)
	c.send(request("list", signing.Request{}, ""))
	var l struct {
		Units  []workceptor.Status
		Hidden int
	}
	if err := json.Unmarshal([]byte(c.line()), &l); err != nil || len(l.Units) != 1 || l.Units[0].ID != open.ID || l.Hidden != 1 {
		t.Errorf("%+v, %v", l, err)
	}
	watch := converse(t, n, false)
	watch.send(request("watch", signing.Request{Submissions: "from-"}, ""))
	watch.line() // it has begun
	if event := watch.line(); !strings.Contains(event, open.ID) || strings.Contains(event, signed.ID) {
		t.Errorf("%s", event)
	}
	for _, unit := range []workceptor.Status{signed, open} { // in this order
		if _, err := n.Cancel(t.Context(), unit.ID); err != nil {
			t.Fatal(err)
		}
		n.untilState(unit.ID, workceptor.Canceled)
	}
	for event := ""; !strings.Contains(event, `"canceled"`); {
		if event = watch.line(); strings.Contains(event, signed.ID) {
			t.Errorf("%s", event)
		}
	}
	// The name of a submission is no signature, whatever else is said.
	r := signing.Request{Type: "open", Submission: "from-signed"}
	converse(t, n, false).ask(strings.TrimSpace(request("submit", r, "")), "ERROR: could not verify signature: signature is empty")
	if n.Denied() != 1 {
		t.Errorf("%d denied", n.Denied())
	}
}

// In the legacy forms the setting decides what needs no signature.
func TestLegacyVerbs(t *testing.T) {
	t.Parallel()
	const no = "ERROR: could not verify signature: "
	for unsigned, test := range map[workceptor.Unsigned]struct{ status, listOne, params, list string }{
		"":                        {"Running", "Running", "null", ""},
		workceptor.UnsignedStatus: {"Running", "Running", "null", ""},
		workceptor.UnsignedList:   {"Running", "Running", "private", "Running"},
		workceptor.UnsignedNone:   {no, no, "", ""},
	} {
		t.Run("unsigned "+string(unsigned), func(t *testing.T) {
			t.Parallel()
			n := newVerifier(t, unsigned)
			signed, open := n.submitted("signed"), n.submitted("open")
			ask := func(format string, a ...any) string {
				c := converse(t, n, false)
				c.send(fmt.Sprintf(format, a...) + "\n")
				return c.line()
			}
			is := func(what, answer, want string) {
				t.Helper()
				if !strings.Contains(answer, want) {
					t.Errorf("%s: %q, want %q", what, answer, want)
				}
			}
			is("status", ask("work status %s", signed.ID), test.status)
			is("status", ask("work status %s", signed.ID), test.params)
			is("list of one", ask("work list %s", signed.ID), test.listOne)
			all := ask("work list")
			is("list", all, open.ID)
			if strings.Contains(all, signed.ID) != (test.list != "") {
				t.Errorf("list: %s", all)
			}
			is("status of what is open", ask("work status %s", open.ID), "private")
			for _, line := range []string{"results", "cancel", "release", "force-release"} {
				is(line, ask("work %s %s", line, signed.ID), no+"signature is empty")
			}
			is("submit", ask("work submit localhost signed"), no+"signature is empty")

			token := func(key *rsa.PrivateKey, node string, life time.Duration) string {
				t.Helper()
				s, err := signing.Legacy(key, node, time.Now(), life)
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			good := token(signingKey(), "alpha", time.Minute)
			for _, verb := range []string{
				`"subcommand":"submit","node":"localhost","worktype":"signed"`,
				`"subcommand":"results","startpos":0,"unitid":"` + signed.ID + `"`,
				`"subcommand":"status","unitid":"` + signed.ID + `"`, `"subcommand":"list"`,
				`"subcommand":"cancel","unitid":"` + signed.ID + `"`, `"subcommand":"force-release","unitid":"` + signed.ID + `"`,
			} {
				line := `{"command":"work",` + verb + `,"signature":"%s"}`
				before := n.Denied()
				if unsigned != workceptor.UnsignedList || !strings.Contains(verb, "list") {
					for what, bad := range map[string]string{
						"another key": token(otherKey(), "alpha", time.Minute), "another node": token(signingKey(), "beta", time.Minute),
						"too old":     token(signingKey(), "alpha", -time.Hour),
						"one of ours": signature(t, signingKey(), "alpha", n.nonce(), signing.Request{Command: "status"}),
					} {
						is(verb+" with "+what, ask(line, bad), no)
					}
					if n.Denied() != before+4 {
						t.Errorf("%s: %d denied", verb, n.Denied()-before)
					}
				}
				if answer := ask(line, good); strings.HasPrefix(answer, "ERROR") {
					t.Errorf("%s: %s", verb, answer)
				}
			}
		})
	}
}
