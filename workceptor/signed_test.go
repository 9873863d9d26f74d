package workceptor_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/project-receptor/receptor/workceptor"
	"github.com/project-receptor/receptor/workceptor/workertest"
)

var signingKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// newSignedMesh is one where beta wants signatures and alpha can make them.
func newSignedMesh(t *testing.T, worker *workertest.Worker) *mesh {
	t.Helper()
	m := newMesh(t, worker)
	m.beta.types = []workceptor.WorkType{{Name: "echo", Params: true, Secure: true}}
	m.beta.config.VerifyingKey = &signingKey().PublicKey
	m.restart(m.beta)
	m.alpha.config.SigningKey = signingKey()
	m.restart(m.alpha)
	return m
}

// A unit of a type that wants signatures is submitted, read, canceled and released by
// signed requests, and not without.
func TestRemoteSigned(t *testing.T) {
	t.Parallel()
	m := newSignedMesh(t, &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		if u.Params["params"] == "wait" {
			<-u.Stopped
			return workceptor.Exit{Signal: "SIGTERM"}
		}
		return workertest.Echo(u)
	}})
	u := m.submit(workceptor.Request{Sign: true}, "payload")
	if out, _, end := m.alpha.results(u.ID, workceptor.From{}); out != "payload" || end.State != workceptor.Succeeded {
		t.Errorf("%q, %+v", out, end)
	}
	u = m.submit(workceptor.Request{Sign: true, Params: map[string]string{"params": "wait"}}, "")
	m.alpha.untilState(u.ID, workceptor.Running)
	if ended, err := m.alpha.Cancel(t.Context(), u.ID); !ended || err != nil {
		t.Errorf("%v, %v", ended, err)
	}
	m.forgotten() // released by signed requests
	if u := m.submit(workceptor.Request{}, ""); u.State != workceptor.Failed || !strings.Contains(u.Detail, "signature") {
		t.Errorf("without a signature: %+v", u)
	}
	if n := m.beta.worker.Total(); n != 2 {
		t.Errorf("%d units ran", n)
	}
}

// What was signed for one request is good for no other, and not for the same again.
func TestRemoteReplay(t *testing.T) {
	t.Parallel()
	m := newSignedMesh(t, &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		<-u.Stopped
		return workceptor.Exit{Signal: "SIGTERM"}
	}})
	seen := make(map[string]string) // signed requests by subcommand
	m.set(func() {
		m.cut = func(request string) bool {
			var r struct {
				Args struct{ Subcommand, Signature string }
			}
			if json.Unmarshal([]byte(request), &r) == nil && r.Args.Signature != "" {
				seen[r.Args.Subcommand] = request
			}
			return false
		}
	})
	u := m.submit(workceptor.Request{Sign: true, Params: map[string]string{"params": "a"}}, "payload")
	u = m.alpha.untilState(u.ID, workceptor.Running)
	defer func() {
		if ended, err := m.alpha.Cancel(context.WithoutCancel(t.Context()), u.ID); !ended || err != nil {
			t.Errorf("%v, %v", ended, err)
		}
	}()
	m.wait(func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return seen["submit"] != ""
	})
	m.mu.Lock()
	submit := seen["submit"]
	m.mu.Unlock()
	change := func(old, with string) string {
		if !strings.Contains(submit, old) {
			t.Fatalf("%s is not in %s", old, submit)
		}
		return strings.Replace(submit, old, with, 1)
	}
	cancel := func() string {
		var r struct{ Args struct{ Signature string } }
		if err := json.Unmarshal([]byte(submit), &r); err != nil {
			t.Fatal(err)
		}
		return `{"v":1,"id":1,"command":"work","args":{"subcommand":"cancel","unit":"` + u.RemoteUnit + `","signature":"` + r.Args.Signature + `"}}` + "\n"
	}
	for name, line := range map[string]string{
		"again": submit, "other parameters": change(`"params":"a"`, `"params":"b"`), "another submission": change(`"submission":"`, `"submission":"x`),
		"another payload": change(`"payload":"`, `"payload":"0`), "no payload": change(`"payload":`, `"unit":`), "another command": cancel(),
	} {
		c := converse(t, m.beta, false)
		c.send(line)
		if answer, err := c.in.ReadString('\n'); err != nil || !strings.Contains(answer, "signature") || !strings.Contains(answer, "ERROR") {
			t.Errorf("%s: %s, %v", name, answer, err)
		}
	}
	if n := len(m.beta.List()); n != 1 {
		t.Errorf("%d units", n)
	}
}

// A node signs for who is at it, and for nobody else.
func TestRemoteSignsForNobodyElse(t *testing.T) {
	t.Parallel()
	m := newSignedMesh(t, &workertest.Worker{})
	for _, line := range []string{
		`{"v":1,"id":1,"command":"work","args":{"subcommand":"submit","node":"beta","type":"echo","signwork":true}}`,
		`{"command":"work","subcommand":"submit","node":"beta","worktype":"echo","signwork":"true"}`,
	} {
		c := converse(t, m.alpha, false)
		c.send(line + "\n")
		if answer, err := c.in.ReadString('\n'); err != nil || !strings.Contains(answer, "on its Unix socket only") {
			t.Errorf("%s: %s, %v", line, answer, err)
		}
	}
	// Nor does it end or read for others what it has signed.
	u := m.submit(workceptor.Request{Sign: true}, "payload")
	for _, line := range []string{
		`{"command":"work","subcommand":"cancel","unitid":"` + u.ID + `"}`,
		`{"command":"work","subcommand":"results","startpos":0,"unitid":"` + u.ID + `"}`,
		`{"v":1,"id":1,"command":"work","args":{"subcommand":"release","unit":"` + u.ID + `"}}`,
	} {
		c := converse(t, m.alpha, false)
		c.send(line + "\n")
		if answer, err := c.in.ReadString('\n'); err != nil || !strings.Contains(answer, "could not verify signature: signature is empty") {
			t.Errorf("%s: %s, %v", line, answer, err)
		}
	}
	if units := len(m.alpha.List()); units != 1 {
		t.Errorf("%d units", units)
	}
}

// Legacy nodes are sent tokens as they make them, one for each request, and take the
// same.
func TestRemoteLegacySigned(t *testing.T) {
	t.Parallel()
	l := &legacyNode{status: status(1, "Running", "Running: PID 5", 6), output: []string{"hello\n"}, after: []string{status(2, "Succeeded", "exit status 0", 6)}}
	m := newSignedMesh(t, &workertest.Worker{})
	m.set(func() { m.legacy = l.serve })
	m.restart(m.alpha)
	u := m.submit(workceptor.Request{Sign: true}, "x")
	m.alpha.untilState(u.ID, workceptor.Succeeded)
	signed := 0
	l.set(func() {
		for _, line := range l.said {
			var keys map[string]any
			if json.Unmarshal([]byte(line), &keys) != nil {
				continue
			}
			token, _ := keys["signature"].(string)
			// beta as one of ours takes it from a legacy node.
			c := converse(t, m.beta, false)
			c.send(`{"command":"work","subcommand":"submit","node":"beta","worktype":"echo","signature":"` + token + `"}` + "\n")
			c.expect("Work unit created with ID <ID>. Send stdin data and EOF.\n")
			signed++
		}
	})
	if signed < 2 {
		t.Errorf("%d signed requests", signed)
	}
	other := converse(t, m.beta, false)
	other.send(`{"command":"work","subcommand":"submit","node":"beta","worktype":"echo","signature":"x"}` + "\n")
	if answer, err := other.in.ReadString('\n'); err != nil || !strings.HasPrefix(answer, "ERROR: could not verify signature: ") {
		t.Errorf("%s, %v", answer, err)
	}
}
