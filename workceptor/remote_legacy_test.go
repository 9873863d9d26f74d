package workceptor_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/project-receptor/receptor/workceptor"
	"github.com/project-receptor/receptor/workceptor/workertest"
)

// legacyNode is what a legacy node with one unit says, and notes what it is told.
type legacyNode struct {
	mu      sync.Mutex // guards what follows
	said    []string   // lines of the submitter, each once
	payload string
	status  string // the answer to work status
	output  []string
	after   []string // the status after each piece of output
	submits int
	mute    bool // it does not answer a submit
}

func (l *legacyNode) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func status(state int, name, detail string, size int) string {
	return fmt.Sprintf(`{"Detail":%q,"ExtraData":null,"State":%d,"StateName":%q,"StdoutSize":%d,"WorkType":"echo"}`+"\n", detail, state, name, size)
}

func (l *legacyNode) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	say := func(s string) { _, _ = io.WriteString(conn, s) }
	say("Receptor Control, node beta\n")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		l.mu.Lock()
		if !slices.Contains(l.said, line) {
			l.said = append(l.said, line)
		}
		now, mute := l.status, l.mute
		if strings.Contains(line, `"submit"`) {
			l.submits++
		}
		l.mu.Unlock()
		switch {
		case strings.HasPrefix(line, "work status"):
			say(now)
			continue
		case strings.Contains(line, `"submit"`) && mute:
		case strings.Contains(line, `"submit"`):
			say("Work unit created with ID FAKEUNIT. Send stdin data and EOF.\n")
			b, err := io.ReadAll(in)
			if err == nil {
				l.set(func() { l.payload = string(b) })
				say(`{"result":"Job Started","unitid":"FAKEUNIT"}` + "\n")
			}
		case strings.Contains(line, `"results"`):
			say("Streaming results for work unit FAKEUNIT\n")
			l.mu.Lock()
			if len(l.output) > 0 {
				say(l.output[0])
				l.status = l.after[0]
				l.output, l.after = l.output[1:], l.after[1:]
			}
			l.mu.Unlock()
		case strings.Contains(line, `"release"`):
			say(`{"released":"FAKEUNIT"}` + "\n")
			l.set(func() { l.status = "ERROR: unknown work unit FAKEUNIT\n" })
		case strings.Contains(line, `"cancel"`):
			l.set(func() { l.status = status(4, "Canceled", "Canceled", 0) })
			say(`{"cancelled":"FAKEUNIT"}` + "\n")
		}
		return
	}
}

func newLegacyMesh(t *testing.T, l *legacyNode) *mesh {
	t.Helper()
	m := newMesh(t, &workertest.Worker{})
	m.set(func() { m.legacy = l.serve })
	m.restart(m.alpha)
	return m
}

// A legacy node is spoken to as legacy nodes speak to it, to the byte, and results
// that are cut off are fetched from where they were.
func TestRemoteLegacy(t *testing.T) {
	t.Parallel()
	l := &legacyNode{status: status(1, "Running", "Running: PID 5", 6), output: []string{"hello\n", "world\n"}}
	l.after = []string{status(2, "Succeeded", "exit status 0", 12), status(2, "Succeeded", "exit status 0", 12)}
	m := newLegacyMesh(t, l)
	u := m.submit(workceptor.Request{Merged: true, Params: map[string]string{"params": "-n x", "foo": "bar"}}, "hello stdin")
	out, _, end := m.alpha.results(u.ID, workceptor.From{})
	if out != "hello\nworld\n" || end.State != workceptor.Succeeded || end.RemoteUnit != "FAKEUNIT" || end.Stdout.Size != 12 {
		t.Errorf("%q, %+v", out, end)
	}
	var v struct {
		Unsigned struct {
			Events []struct{ From, Text, Note string }
		}
	}
	vector(t, "06b-mesh-work-conversation.json", &v)
	var lines []string // of the submitter, without the payload
	payload := ""
	for _, e := range v.Unsigned.Events {
		switch {
		case !strings.Contains(e.From, "submitter"):
		case e.Note != "":
			payload += e.Text
		case !strings.Contains(e.Text, `"cancel"`) && !slices.Contains(lines, toBeta(e.Text)):
			lines = append(lines, toBeta(e.Text))
		}
	}
	// The release is on its way.
	m.wait(func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.said) == len(lines)
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(lines)
	slices.Sort(l.said)
	if !slices.Equal(l.said, lines) || l.payload != payload || len(lines) != 5 {
		t.Errorf("we say\n%q\nlegacy nodes say\n%q\npayload %q", l.said, lines, l.payload)
	}
}

// wait waits for what becomes true while conversations come and go.
func (m *mesh) wait(is func() bool) {
	m.t.Helper()
	tick := make(chan struct{}, 1)
	m.set(func() { m.ended = tick })
	for !is() {
		select {
		case <-tick:
		case <-m.t.Context().Done():
			m.t.Fatal("it does not come")
		}
	}
}

// A submit whose answer was lost is not sent again: nobody knows whether the legacy
// node has the unit.
func TestRemoteLegacyCutBeforeTheReply(t *testing.T) {
	t.Parallel()
	l := &legacyNode{mute: true}
	m := newLegacyMesh(t, l)
	u := m.submit(workceptor.Request{}, "x")
	u = m.alpha.untilState(u.ID, workceptor.Lost)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !strings.Contains(u.Detail, "whether node beta has it is not known") || l.submits != 1 {
		t.Errorf("%s, %d requests", u.Detail, l.submits)
	}
}

func TestRemoteLegacyCancel(t *testing.T) {
	t.Parallel()
	l := &legacyNode{status: status(1, "Running", "Running: PID 5", 0)}
	m := newLegacyMesh(t, l)
	u := m.submit(workceptor.Request{}, "x")
	m.alpha.untilState(u.ID, workceptor.Running)
	if ended, err := m.alpha.Cancel(t.Context(), u.ID); !ended || err != nil {
		t.Errorf("%v, %v", ended, err)
	}
	if u = m.alpha.untilState(u.ID, workceptor.Canceled); u.Detail != "Canceled" {
		t.Errorf("%+v", u)
	}
}

// toBeta is a line to the node of the vector as it would be to ours.
func toBeta(line string) string {
	return strings.ReplaceAll(line, `"node":"gamma"`, `"node":"beta"`)
}
