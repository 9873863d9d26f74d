package integration

import (
	"context"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/tests/legacy"
)

// Conversations of our built programs with models of existing nodes, which live
// in this process. What was said on the models' links is written to a file if a
// test fails.

// mixed is a lab with nodes of both kinds.
type mixed struct {
	*lab.Lab
	t      *testing.T
	ctx    context.Context
	script *legacy.Transcript
}

func newMixed(t *testing.T) *mixed {
	t.Helper()
	l, ctx := newLab(t)
	m := &mixed{Lab: l, t: t, ctx: ctx, script: legacy.NewTranscript()}
	t.Cleanup(m.write)
	return m
}

// write keeps the conversation of a test that has failed.
func (m *mixed) write() {
	if !m.t.Failed() {
		return
	}
	f, err := os.CreateTemp("", strings.ReplaceAll(m.t.Name(), "/", "-")+"-*.transcript")
	if err != nil {
		m.t.Error(err)
		return
	}
	defer f.Close()
	if _, err := m.script.WriteTo(f); err != nil {
		m.t.Error(err)
	}
	m.t.Logf("what was said on the links of the models is in %s", f.Name())
}

// model starts a model that redials quickly.
func (m *mixed) model(c legacy.Config) *legacy.Node {
	m.t.Helper()
	c.Trace = m.script.Trace
	if c.RedialPace == 0 {
		c.RedialPace = 0.1
	}
	n, err := legacy.Start(c)
	must(m.t, err)
	m.t.Cleanup(func() { n.Close() })
	return n
}

// ours starts one of our nodes with these items.
func (m *mixed) ours(id string, items ...string) *lab.Process {
	m.t.Helper()
	p, err := m.Start("receptor", append([]string{"--node", "id=" + id}, items...)...)
	must(m.t, err)
	return p
}

// listens are the words of an item that accepts links.
func listens(port int, more ...string) []string {
	return append([]string{"--tcp-listener", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(port)}, more...)
}

// dials are the words of an item that makes a link.
func dials(port int, more ...string) []string {
	return append([]string{"--tcp-peer", "address=" + lab.Local(port)}, more...)
}

// listen has a model accept links.
func (m *mixed) listen(n *legacy.Node, port int, c legacy.LinkConfig) *legacy.Backend {
	m.t.Helper()
	b, err := n.ListenTCP(lab.Local(port), c, nil)
	must(m.t, err)
	return b
}

// eventually waits for something that a model knows.
func (m *mixed) eventually(what string, ok func() bool) {
	m.t.Helper()
	for !ok() {
		if err := lab.Pause(m.ctx, 20*time.Millisecond); err != nil {
			m.t.Fatalf("%s: %v", what, err)
		}
	}
}

// reaches waits until a model has a way to each of the others.
func (m *mixed) reaches(n *legacy.Node, to ...string) {
	m.t.Helper()
	m.eventually(n.ID()+" reaches "+strings.Join(to, ", "), func() bool {
		routes := n.Routes()
		for _, id := range to {
			if routes[id] == "" {
				return false
			}
		}
		return true
	})
}

// pingsFrom expects one of ours to reach a node over these hops.
func (m *mixed) pingsFrom(node, to string, hops ...string) {
	m.t.Helper()
	out, err := m.Ctl(m.ctx, node, "ping", "--count", "1", to)
	if err != nil || !strings.Contains(out, "Reply from "+to) {
		m.t.Errorf("%s pings %s: %q, %v", node, to, out, err)
	}
	out, err = m.Ctl(m.ctx, node, "traceroute", to)
	must(m.t, err)
	var got []string
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 1 {
			got = append(got, f[1])
		}
	}
	if want := strings.Join(append(append([]string{node}, hops...), to), " "); strings.Join(got, " ") != want {
		m.t.Errorf("%s traces %s over %v, expected %s:\n%s", node, to, got, want, out)
	}
}

// pings expects a model to reach a node over these hops.
func (m *mixed) pings(n *legacy.Node, to string, hops ...string) {
	m.t.Helper()
	if p := n.Ping(m.ctx, to, 30); p.Err != nil || p.From != to {
		m.t.Errorf("%s pings %s: %+v", n.ID(), to, p)
	}
	var got []string
	for _, p := range n.Traceroute(m.ctx, to) {
		got = append(got, p.From)
	}
	if want := strings.Join(append(append([]string{n.ID()}, hops...), to), " "); strings.Join(got, " ") != want {
		m.t.Errorf("%s traces %s over %v, expected %s", n.ID(), to, got, want)
	}
}
