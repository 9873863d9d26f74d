package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/workceptor"
	"github.com/project-receptor/receptor/workceptor/client"
)

// wiretap is the mesh of a submitter that is in this process: its conversations with c
// go over the control socket of b, and over somebody who keeps what is said, and may
// alter it. It implements workceptor.Mesh.
type wiretap struct {
	socket string

	mu    sync.Mutex // guards what follows
	alter func([]byte) []byte
	said  []*bytes.Buffer // of the submitter, by connection
}

func (m *wiretap) Dial(ctx context.Context, _, _ string) (io.ReadWriteCloser, error) {
	conn, err := connectFrom(ctx, m.socket, "c")
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	said := new(bytes.Buffer)
	m.said = append(m.said, said)
	return &tapped{conn, m, said}, nil
}

func (m *wiretap) Profile(string) bool               { return true }
func (m *wiretap) Reach(string) (reached, ours bool) { return true, true }

func (m *wiretap) Await(ctx context.Context, _ string, reachable bool) error {
	if reachable {
		return nil
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

func (m *wiretap) altering(f func([]byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.alter = f
}

// signed are the conversations with a signed request, by its subcommand.
func (m *wiretap) signed() map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string][]byte)
	for _, said := range m.said {
		line, _, _ := bytes.Cut(said.Bytes(), []byte("\n"))
		var r struct {
			Args struct{ Subcommand, Signature string }
		}
		if json.Unmarshal(line, &r) == nil && r.Args.Signature != "" {
			all[r.Args.Subcommand] = bytes.Clone(said.Bytes())
		}
	}
	return all
}

type tapped struct {
	io.ReadWriteCloser
	m    *wiretap
	said *bytes.Buffer
}

func (c *tapped) Write(b []byte) (int, error) {
	c.m.mu.Lock()
	sent := b
	if c.m.alter != nil {
		sent = c.m.alter(bytes.Clone(b))
	}
	c.said.Write(sent)
	c.m.mu.Unlock()
	if _, err := c.ReadWriteCloser.Write(sent); err != nil {
		return 0, err
	}
	return len(b), nil
}

// A request for work that was heard on its way is good for nothing when it is sent
// again, over another connection, or altered (T10).
func TestWorkRequestsAreReplayedAndAltered(t *testing.T) {
	t.Parallel()
	w := newWorkLab(t, "c")
	key := newWorkKey(t, w.Dir, "work")
	bc := freePort(t)
	runs := filepath.Join(w.Dir, "runs")
	w.start("receptor", "--node", "id=c", "--control-service", "service=control", "--tcp-listener", "bindaddr=127.0.0.1", "port="+strconv.Itoa(bc),
		"--work-verification", "publickey="+key.public,
		"--work-command", "worktype=wait", "command=sh", fmt.Sprintf(`params=-c "echo run >> %s; cat; exec sleep 1000"`, runs), "verifysignature=true")
	_, err := w.Start("receptor", "--node", "id=b", "--tcp-peer", "address="+lab.Local(bc))
	must(t, err)
	must(t, w.WaitRoute(w.ctx, "b", "c"))
	must(t, w.WaitRoute(w.ctx, "c", "b"))
	w.offered("wait")

	tap := &wiretap{socket: w.Socket("b")}
	a, err := workceptor.New(workceptor.Config{Dir: filepath.Join(w.Dir, "a"), NodeID: "a", Mesh: tap, SigningKey: key.PrivateKey})
	must(t, err)
	must(t, a.Start())
	defer func() { must(t, a.Close()) }()
	submit := func() workceptor.Status {
		t.Helper()
		s, err := a.Submit(workceptor.Request{Node: "c", Type: "wait", Sign: true})
		must(t, err)
		_, err = s.Write([]byte("payload"))
		must(t, err)
		u, err := s.Commit(w.ctx)
		must(t, err)
		return u
	}
	until := func(id string, ok func(workceptor.Status) bool) (found workceptor.Status) {
		t.Helper()
		enough := errors.New("enough")
		err := a.Watch(w.ctx, 0, func(changed []workceptor.Status, _ uint64) error {
			for _, u := range changed {
				if u.ID == id && ok(u) {
					found = u
					return enough
				}
			}
			return nil
		})
		if !errors.Is(err, enough) {
			t.Fatal(err)
		}
		return found
	}
	denied := func() uint64 {
		t.Helper()
		s, err := w.Status(w.ctx, "c")
		must(t, err)
		return s.Counters["work_requests_denied"]
	}
	refused := func(what string, said []byte) {
		t.Helper()
		before := denied()
		conn, err := connectFrom(w.ctx, w.Socket("b"), "c")
		must(t, err)
		defer conn.Close()
		_, err = conn.Write(said)
		must(t, err)
		in := bufio.NewReader(conn)
		_, err = in.ReadString('\n') // the greeting
		must(t, err)
		answer, err := in.ReadString('\n')
		if err != nil || !strings.Contains(answer, `"code":"denied"`) || !strings.Contains(answer, "signature") {
			t.Errorf("%s: %q, %v", what, answer, err)
		}
		if n := denied() - before; n != 1 {
			t.Errorf("%s: %d requests were denied", what, n)
		}
	}

	u := submit()
	arrived := errors.New("output has arrived")
	if _, err := a.Results(w.ctx, u.ID, workceptor.From{}, func(workceptor.Chunk) error { return arrived }); !errors.Is(err, arrived) {
		t.Fatal(err)
	}
	u = until(u.ID, func(u workceptor.Status) bool { return u.State == workceptor.Running })
	said := tap.signed()
	for _, sub := range []string{"submit", "watch", "results"} {
		if said[sub] == nil {
			t.Fatalf("no %s was heard: %d", sub, len(said))
		}
		refused(sub+" again", said[sub])
	}
	for what, change := range map[string][2]string{
		"command":   {`"subcommand":"submit"`, `"subcommand":"cancel","unit":"` + u.RemoteUnit + `"`},
		"parameter": {`"type":"wait"`, `"type":"wait","params":{"params":"x"}`}, "submission": {`"submission":"`, `"submission":"x`},
		"payload": {`"payload":"`, `"payload":"0`}, "force": {`"subcommand":"submit"`, `"subcommand":"release","force":true,"unit":"` + u.RemoteUnit + `"`},
	} {
		altered := bytes.Replace(said["submit"], []byte(change[0]), []byte(change[1]), 1)
		if bytes.Equal(altered, said["submit"]) {
			t.Fatalf("%s is not in %.600s", change[0], said["submit"])
		}
		refused("another "+what, altered)
	}

	t.Log("altered on its way")
	tap.altering(func(b []byte) []byte {
		return bytes.Replace(b, []byte(`"type":"wait"`), []byte(`"type":"wait","merged":true`), 1)
	})
	failed := func(what, want string) {
		t.Helper()
		u := until(submit().ID, func(u workceptor.Status) bool { return u.State.Final() })
		if u.State != workceptor.Failed || !strings.Contains(u.Detail, want) {
			t.Errorf("%s: %+v, want %s", what, u, want)
		}
	}
	failed("the request", "the signature is of another request")
	tap.altering(func(b []byte) []byte {
		if b[0] != 0 { // it is no piece of the payload
			return b
		}
		return bytes.Replace(b, []byte("payload"), []byte("PAYLOAD"), 1)
	})
	failed("the payload", "not the one that was announced")
	tap.altering(nil)

	if ended, err := a.Cancel(w.ctx, u.ID); !ended || err != nil {
		t.Errorf("cancel: %v, %v", ended, err)
	}
	second := until(submit().ID, func(u workceptor.Status) bool { return u.State == workceptor.Running })
	for _, sub := range []string{"cancel", "results"} {
		refused(sub+" of another unit", bytes.Replace(tap.signed()[sub], []byte(u.RemoteUnit), []byte(second.RemoteUnit), 1))
	}
	if now, err := w.c.Status(w.ctx, second.RemoteUnit); err != nil || now.State != client.Running {
		t.Errorf("%+v, %v", now, err)
	}
	if released, err := a.Release(w.ctx, second.ID, false); !released || err != nil {
		t.Errorf("release: %v, %v", released, err)
	}
	ran, err := os.ReadFile(runs)
	must(t, err)
	if n := strings.Count(string(ran), "run\n"); n != 2 {
		t.Errorf("%d runs, want 2", n)
	}
}
