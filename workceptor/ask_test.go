package workceptor_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/workceptor"
	"github.com/project-receptor/receptor/workceptor/workertest"
)

// Mistakes that the other node knows of are told before a byte of the payload is sent,
// and leave no unit; in both forms.
func TestRemoteMistakesAreToldBeforeThePayload(t *testing.T) {
	t.Parallel()
	m := newSignedMesh(t, &workertest.Worker{})
	ask := func(what, args, legacy, want string) {
		t.Helper()
		converse(t, m.alpha, true).ask(`{"v":1,"id":1,"command":"work","args":{"subcommand":"submit","node":"beta",`+args+`}}`, "ERROR: "+want)
		want = strings.TrimPrefix(want, "invalid request: ")
		converse(t, m.alpha, true).ask(`{"command":"work","subcommand":"submit","node":"beta",`+legacy+`}`, "ERROR: "+want)
	}
	ask("unknown type", `"type":"nothing"`, `"worktype":"nothing"`, "unknown work type nothing at node beta")
	ask("not signed", `"type":"echo"`, `"worktype":"echo"`, "invalid request: node beta takes work of type echo only if it is signed")
	m.beta.Drain(0)
	ask("draining", `"type":"echo","signwork":true`, `"worktype":"echo","signwork":"true"`, "node beta: "+workceptor.ErrDraining.Error())
	m.set(func() { m.refusal = errors.New("service unknown") })
	ask("no control service", `"type":"echo","signwork":true`, `"worktype":"echo","signwork":"true"`, "node beta: cannot talk to its control service: service unknown")
	m.set(func() { m.legacy = (&legacyNode{}).serve })
	m.restart(m.alpha)
	ask("nor at a legacy node", `"type":"echo"`, `"worktype":"echo"`, "node beta: cannot talk to its control service: service unknown")
	if n := len(m.alpha.List()) + len(m.beta.List()); n != 0 {
		t.Errorf("%d units", n)
	}
}

// Who has time for a unit waits for what may come, and sees why.
func TestRemoteWaitsWithTTL(t *testing.T) {
	t.Parallel()
	m := newMesh(t, &workertest.Worker{})
	m.set(func() { m.refusal = errors.New("service unknown") })
	c := converse(t, m.alpha, true)
	c.send(`{"v":1,"id":1,"command":"work","args":{"subcommand":"submit","node":"beta","type":"echo","ttl":"1h"}}` + "\n")
	if line := c.line(); !strings.Contains(line, "receiving") {
		t.Fatalf("%s", line)
	}
	c.send(frame(3, ""))
	c.frames()
	id := m.alpha.List()[0].ID
	want := "Waiting for node beta: the node cannot be reached: connect: cannot talk to its control service: service unknown"
	m.alpha.until(id, want, func(u workceptor.Status) bool { return u.Detail == want })
	status := converse(t, m.alpha, true)
	status.send("work status " + id + "\n")
	if line := status.line(); !strings.Contains(line, want) || !strings.Contains(line, `"Pending"`) {
		t.Errorf("%s", line)
	}
	m.set(func() { m.refusal = errors.New("x509: certificate has expired") }) // another reason is news, too
	m.alpha.until(id, "expired", func(u workceptor.Status) bool { return strings.HasSuffix(u.Detail, "certificate has expired") })
	m.set(func() { m.refusal = nil })
	if u := m.alpha.untilState(id, workceptor.Succeeded); u.Detail != "exit status 0" {
		t.Errorf("%+v", u)
	}
}

// A unit whose TLS profile has gone with the configuration waits for nothing.
func TestRemoteProfileGone(t *testing.T) {
	t.Parallel()
	m := newMesh(t, &workertest.Worker{})
	m.set(func() { m.profile = "x" })
	m.sever()
	u := m.submit(workceptor.Request{TLSClient: "x", TTL: time.Hour}, "")
	if u.State != workceptor.Pending {
		t.Fatalf("%+v", u)
	}
	m.set(func() { m.profile, m.refusal = "", errors.New("unknown TLS config x") })
	m.restart(m.alpha)
	m.mend()
	if u := m.alpha.untilState(u.ID, workceptor.Failed); !strings.Contains(u.Detail, "unknown TLS config x") {
		t.Errorf("%+v", u)
	}
}
