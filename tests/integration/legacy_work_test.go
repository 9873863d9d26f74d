package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/tests/legacy"
	"github.com/project-receptor/receptor/workceptor/client"
)

const legacyPayload = 300_000 // some windows and pieces of a conversation

// newMixedWork is a mixed mesh with work at one of ours.
func newMixedWork(t *testing.T, node string) (*mixed, *workLab) {
	t.Helper()
	w := newWorkLab(t, node)
	m := &mixed{Lab: w.Lab, t: t, ctx: w.ctx, script: legacy.NewTranscript()}
	t.Cleanup(m.write)
	return m, w
}

// workModel starts a model with that work, one hop behind ours.
func (m *mixed) workModel(id string, work *legacy.Work, port int) *legacy.Node {
	m.t.Helper()
	n := m.model(legacy.Config{ID: id, Control: map[string]legacy.Command{"work": work.Command}, WorkCommands: work.Commands()})
	_, err := n.ServeControl("control", nil)
	must(m.t, err)
	n.DialTCP(lab.Local(port), legacy.LinkConfig{}, nil, true)
	return n
}

func sourced(t *testing.T, size int64) []byte {
	t.Helper()
	src, _ := lab.Source(size, 7)
	b, err := io.ReadAll(src)
	must(t, err)
	return b
}

// Ours, a hop of ours, and a model that runs units: payloads and results are whole to
// the byte, also when the model starts again in between, and a cancel and a release
// are those of the unit there.
func TestWorkOnLegacy(t *testing.T) {
	t.Parallel()
	m, w := newMixedWork(t, "ours")
	let, canceled := make(chan struct{}), make(chan struct{}, 2)
	work := legacy.NewWork(map[string]legacy.Worker{
		"echo": func(_ context.Context, params string, stdin []byte, stdout io.Writer) error {
			_, err := stdout.Write(append([]byte(params+"\n"), stdin...))
			return err
		},
		"gate": func(ctx context.Context, _ string, stdin []byte, stdout io.Writer) error {
			half := len(stdin) / 2
			if _, err := stdout.Write(stdin[:half]); err != nil {
				return err
			}
			select {
			case <-let:
			case <-ctx.Done():
				canceled <- struct{}{}
				return context.Cause(ctx)
			}
			_, err := stdout.Write(stdin[half:])
			return err
		},
		"wait": func(ctx context.Context, _ string, _ []byte, _ io.Writer) error {
			<-ctx.Done()
			return context.Cause(ctx)
		},
		"fail": func(context.Context, string, []byte, io.Writer) error { return errors.New("exit status 3") },
	})
	t.Cleanup(work.Close)
	near, far := freePort(t), freePort(t)
	w.start("receptor", append([]string{"--node", "id=ours"}, dials(near)...)...)
	m.ours("hop", append(listens(near), listens(far)...)...)
	model := m.workModel("model", work, far)
	must(t, m.WaitRoute(m.ctx, "ours", "model"))
	m.reaches(model, "ours")

	payload := sourced(t, legacyPayload)
	file := filepath.Join(m.Dir, "payload")
	must(t, os.WriteFile(file, payload, 0o600))
	out, err := m.Ctl(m.ctx, "ours", "work", "submit", "--node", "model", "--follow", "--payload", file, "echo", "x", "y")
	if want := "x y\n" + string(payload); err != nil || out != want {
		t.Errorf("followed: %d bytes of %d, the same: %v; %v", len(out), len(want), out == want, err)
	}
	forgotten := func() { // what is here is no longer needed there
		t.Helper()
		m.eventually("the model forgets the unit", func() bool { return len(work.List()) == 0 })
	}
	forgotten()
	l, err := w.c.List(m.ctx)
	must(t, err)
	if len(l.Units) != 1 || l.Units[0].State != client.Succeeded || l.Units[0].RemoteUnit == "" {
		t.Fatalf("units at ours: %+v", l.Units)
	}
	echo := l.Units[0]
	if out, err := m.Ctl(m.ctx, "ours", "work", "results", echo.ID); err != nil || out != "x y\n"+string(payload) {
		t.Errorf("results: %d bytes, %v", len(out), err)
	}
	w.release(echo.ID)
	if u, err := w.c.Status(m.ctx, echo.ID); err == nil {
		t.Errorf("released: %+v", u)
	}

	if out, err := m.Ctl(m.ctx, "ours", "work", "submit", "--node", "model", "--follow", "--no-payload", "fail"); err == nil {
		t.Errorf("a unit that fails: %q", out)
	}
	if out, err := m.Ctl(m.ctx, "ours", "work", "submit", "--node", "model", "--no-payload", "nothing"); err == nil || !strings.Contains(err.Error(), "unknown work type nothing") {
		t.Errorf("an unknown type: %q, %v", out, err)
	}

	t.Log("a cancel")
	gate, err := w.c.Submit(m.ctx, client.Job{Node: "model", Type: "gate", Payload: bytes.NewReader(payload)})
	must(t, err)
	w.await(gate.ID, func(u client.Status) bool { return u.State == client.Running })
	if _, err := m.Ctl(m.ctx, "ours", "work", "cancel", gate.ID); err != nil {
		t.Error(err)
	}
	if u := w.await(gate.ID, func(u client.Status) bool { return u.State.Final() }); u.State != client.Canceled {
		t.Errorf("canceled: %+v", u)
	}
	select {
	case <-canceled:
	case <-m.ctx.Done():
		t.Fatal("the model still runs the unit")
	}
	forgotten()

	t.Log("the model starts again")
	gate, err = w.c.Submit(m.ctx, client.Job{Node: "model", Type: "gate", Payload: bytes.NewReader(payload)})
	must(t, err)
	var got bytes.Buffer
	end, err := w.c.Results(m.ctx, gate.ID, client.From{Stderr: client.Skip}, func(c client.Chunk) error {
		if got.Write(c.Data); got.Len() < len(payload)/2 || model == nil {
			return nil
		}
		must(t, model.Close())
		must(t, m.WaitStatus(m.ctx, "ours", func(s *lab.Status) bool { return s.RoutingTable["model"] == "" }))
		close(let)
		model = nil
		m.workModel("model", work, far)
		return nil
	})
	if err != nil || end.State != client.Succeeded || !bytes.Equal(got.Bytes(), payload) {
		t.Errorf("%d bytes of %d, %+v, %v", got.Len(), len(payload), end, err)
	}
	forgotten()

	t.Log("a release of a unit that runs")
	slow, err := w.c.Submit(m.ctx, client.Job{Node: "model", Type: "wait"})
	must(t, err)
	w.await(slow.ID, func(u client.Status) bool { return u.State == client.Running })
	w.release(slow.ID)
	forgotten()
}

// release releases a unit with receptorctl.
func (w *workLab) release(unit string) {
	w.t.Helper()
	if out, err := w.Ctl(w.ctx, w.node, "work", "release", unit); err != nil {
		w.t.Errorf("release: %q, %v", out, err)
	}
}

// A model that has units run at ours, over a hop of ours: polled, fetched, cancelled
// and released as existing nodes do, through a restart of either.
func TestLegacyWorkOnOurs(t *testing.T) {
	t.Parallel()
	m, w := newMixedWork(t, "ours")
	work := legacy.NewWork(nil)
	t.Cleanup(work.Close)
	near, far := freePort(t), freePort(t)
	let := filepath.Join(m.Dir, "let")
	ours := append([]string{
		"--node", "id=ours", "--control-service", "service=control",
		"--work-command", "worktype=cat", "command=cat",
		"--work-command", "worktype=echo", "command=echo", "allowruntimeparams=true",
		"--work-command", "worktype=gate", "command=sh", fmt.Sprintf(`params=-c "echo begins; while [ ! -e %s ]; do sleep 0.1; done; cat"`, let),
	}, dials(near)...)
	launcher := w.start("receptor", ours...)
	m.ours("hop", append(listens(near), listens(far)...)...)
	w.offered("cat")
	w.offered("gate")
	model := m.workModel("model", work, far)
	m.reaches(model, "ours")
	must(t, m.WaitRoute(m.ctx, "ours", "model"))

	submit := func(typ string, params map[string]string, payload []byte) (unit, remote string) {
		t.Helper()
		unit, result, err := work.Submit(model, "ours", typ, params, payload)
		must(t, err)
		if result != "Job Started" {
			t.Errorf("%s: %s", typ, result)
		}
		return unit, remoteUnit(t, work, unit)
	}
	results := func(unit string, from int64) string {
		t.Helper()
		var out bytes.Buffer
		must(t, work.Results(m.ctx, unit, from, &out))
		return out.String()
	}
	is := func(unit string, state int) {
		t.Helper()
		m.eventually(fmt.Sprintf("the model's unit is in state %d", state), func() bool {
			s, err := work.Status(unit)
			must(t, err)
			return s.State == state
		})
	}
	release := func(unit, remote string) {
		t.Helper()
		if pending, err := work.Release(unit, false); pending || err != nil {
			t.Errorf("release: pending %v, %v", pending, err)
		}
		m.eventually("the model may forget the unit", func() bool {
			_, err := work.Status(unit)
			return err != nil
		})
		if u, err := w.c.Status(m.ctx, remote); err == nil {
			t.Errorf("ours still has %+v", u)
		}
	}

	payload := sourced(t, legacyPayload)
	unit, remote := submit("cat", nil, payload)
	if out := results(unit, 0); out != string(payload) {
		t.Errorf("%d bytes of %d, the same: %v", len(out), len(payload), out == string(payload))
	}
	is(unit, legacy.UnitSucceeded)
	if s, err := work.Status(unit); err != nil || s.Detail != "exit status 0" || s.StdoutSize != legacyPayload {
		t.Errorf("%+v, %v", s, err)
	}
	for _, from := range []int64{1, legacyPayload - 5, legacyPayload, legacyPayload + 7} {
		c, err := model.Dial(m.ctx, "ours", "control", nil)
		must(t, err)
		fmt.Fprintf(c, "work results %s %d\n", remote, from)
		want := "Receptor Control, node ours\nStreaming results for work unit " + remote + "\n" + string(payload[min(from, legacyPayload):])
		if got, err := io.ReadAll(c); err != nil || string(got) != want {
			t.Errorf("from %d: %d bytes of %d, %v", from, len(got), len(want), err)
		}
		must(t, c.Close())
	}
	release(unit, remote)

	unit, remote = submit("echo", map[string]string{"params": "-n one 'two  three'"}, nil)
	if out := results(unit, 4); out != "two  three" {
		t.Errorf("parameters: %q", out)
	}
	release(unit, remote)
	if _, _, err := work.Submit(model, "ours", "nothing", nil, nil); err == nil || err.Error() != "could not parse response: ERROR: unknown work type nothing" {
		t.Errorf("an unknown type: %v", err)
	}

	t.Log("a cancel")
	unit, remote = submit("gate", nil, nil)
	is(unit, legacy.UnitRunning)
	if s, err := work.Status(unit); err != nil || !regexp.MustCompile(`^Running: PID \d+$`).MatchString(s.Detail) {
		t.Errorf("%+v, %v", s, err)
	}
	if pending, err := work.Cancel(unit); pending || err != nil {
		t.Errorf("cancel: pending %v, %v", pending, err)
	}
	is(unit, legacy.UnitCanceled)
	if n := len(w.units()); n > 0 {
		t.Errorf("%d processes are left", n)
	}
	release(unit, remote)

	t.Log("the model starts again, and the core of ours")
	unit, remote = submit("gate", nil, payload)
	m.eventually("output has come", func() bool {
		s, err := work.Status(unit)
		must(t, err)
		return s.StdoutSize == int64(len("begins\n"))
	})
	must(t, model.Close())
	must(t, m.WaitStatus(m.ctx, "ours", func(s *lab.Status) bool { return s.RoutingTable["model"] == "" }))
	model = m.workModel("model", work, far)
	m.reaches(model, "ours")
	work.Resume(model)
	must(t, syscall.Kill(child(t, launcher, "receptor-core"), syscall.SIGKILL))
	must(t, os.WriteFile(let, nil, 0o600))
	if out := results(unit, 0); out != "begins\n"+string(payload) {
		t.Errorf("%d bytes of %d", len(out), len(payload)+len("begins\n"))
	}
	is(unit, legacy.UnitSucceeded)
	release(unit, remote)
}

// remoteUnit is a remote unit's name at the node that runs it.
func remoteUnit(t *testing.T, work *legacy.Work, unit string) string {
	t.Helper()
	s, err := work.Status(unit)
	must(t, err)
	remote, is := s.ExtraData.(legacy.RemoteUnit)
	if !is || !remote.RemoteStarted {
		t.Fatalf("no remote unit: %+v", s)
	}
	return remote.RemoteUnitID
}
