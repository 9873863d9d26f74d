package workceptor_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/workceptor"
	"github.com/project-receptor/receptor/workceptor/workertest"
)

// mesh is two nodes, alpha that submits and beta that runs, with pipes between them
// that can be cut.
type mesh struct {
	t     *testing.T
	alpha *node
	beta  *node

	mu      sync.Mutex // guards what follows
	down    bool       // there is no way
	changed chan struct{}
	conns   map[net.Conn]context.CancelFunc
	cut     func(request string) bool // a conversation is cut before its answer
	serving sync.WaitGroup
	open    bool           // beta is there
	ended   chan struct{}  // a token when a conversation has ended; nil: nobody waits
	legacy  func(net.Conn) // what beta says, if it is a legacy node
	refusal error          // of beta, to talk to us
	profile string         // the TLS profile that there is
}

// unwilling is an error of a node that does not talk to us.
type unwilling struct{ error }

func (unwilling) Unwilling() bool { return true }

func (e unwilling) Error() string { return "cannot talk to its control service: " + e.error.Error() }

func newMesh(t *testing.T, worker *workertest.Worker) *mesh {
	t.Helper()
	m := &mesh{t: t, changed: make(chan struct{}), conns: make(map[net.Conn]context.CancelFunc), open: true}
	m.beta = newNode(t, worker)
	m.beta.config.NodeID = "beta"
	m.restart(m.beta)
	t.Cleanup(func() { m.set(func() { m.open = false }); m.serving.Wait() })
	m.alpha = newNode(t, &workertest.Worker{})
	m.alpha.config.Mesh = m
	m.restart(m.alpha)
	return m
}

// restart ends a node and starts it again.
func (m *mesh) restart(n *node) {
	m.t.Helper()
	if n == m.beta {
		m.set(func() { m.open = false })
		m.serving.Wait()
	}
	n.close()
	n.open()
	m.set(func() { m.open = true })
}

// set changes how things are. What is not there is cut off.
func (m *mesh) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	if m.down || !m.open {
		for c, cancel := range m.conns {
			c.Close()
			cancel()
		}
	}
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *mesh) sever() { m.set(func() { m.down = true }) }
func (m *mesh) mend()  { m.set(func() { m.down = false }) }

// Profile implements workceptor.Mesh.
func (m *mesh) Profile(tls string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return tls == m.profile
}

// Reach implements workceptor.Mesh.
func (m *mesh) Reach(node string) (reached, ours bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return node == "beta" && !m.down, m.legacy == nil
}

// Await implements workceptor.Mesh.
func (m *mesh) Await(ctx context.Context, node string, reachable bool) error {
	for {
		m.mu.Lock()
		is, changed := node == "beta" && !m.down, m.changed
		m.mu.Unlock()
		if is == reachable {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Dial implements workceptor.Mesh.
func (m *mesh) Dial(context.Context, string, string) (io.ReadWriteCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.refusal != nil:
		return nil, unwilling{m.refusal}
	case m.down || !m.open:
		return nil, errors.New("no route to node")
	}
	ours, theirs := pipe(m.t)
	ctx, cancel := context.WithCancel(context.Background())
	m.conns[theirs] = cancel
	command, legacy := m.beta.Command(), m.legacy
	m.serving.Go(func() {
		if legacy != nil {
			legacy(theirs)
		} else {
			m.converse(ctx, command, theirs)
		}
		theirs.Close()
		cancel()
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.conns, theirs)
		select {
		case m.ended <- struct{}{}:
		default:
		}
	})
	return ours, nil
}

// pipe is a connection within the process, that can be closed in halves.
func pipe(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	near, far, err := socket.Pair()
	if err != nil {
		t.Fatal(err)
	}
	a, here := near.(*net.UnixConn)
	b, there := far.(*net.UnixConn)
	if !here || !there {
		t.Skip("this system has no pairs of Unix sockets")
	}
	return a, b
}

// pipeSession implements workceptor.Session for our own form.
type pipeSession struct {
	net.Conn
	in       *bufio.Reader
	hijacked bool
}

func (s *pipeSession) Read(b []byte) (int, error) { return s.in.Read(b) }
func (s *pipeSession) Local() bool                { return false }
func (s *pipeSession) Hijack(line string) (io.ReadWriteCloser, error) {
	s.hijacked = true
	return s, s.reply("result", json.RawMessage(line))
}

func (s *pipeSession) reply(key string, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = fmt.Fprintf(s, `{"id":1,%q:%s}`+"\n", key, b)
	}
	return err
}

func (m *mesh) converse(ctx context.Context, c *workceptor.Command, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &pipeSession{Conn: conn, in: bufio.NewReader(conn)}
	if _, err := io.WriteString(conn, "Receptor Control, node beta\n"); err != nil {
		return
	}
	line, err := s.in.ReadString('\n')
	if err != nil {
		return
	}
	m.mu.Lock()
	cut := m.cut != nil && m.cut(line)
	m.mu.Unlock()
	var r struct{ Args json.RawMessage }
	if json.Unmarshal([]byte(line), &r) != nil {
		return
	}
	if cut {
		// The request has arrived, and its answer never does.
		_, _ = c.Own(ctx, &pipeSession{Conn: deafConn{conn}, in: s.in}, r.Args, func(any) error { return io.ErrClosedPipe })
		return
	}
	var gone sync.WaitGroup
	defer gone.Wait()
	defer conn.Close()
	if strings.Contains(line, `"watch"`) { // somebody has to notice that the client is gone
		gone.Go(func() {
			_, _ = io.Copy(io.Discard, conn)
			cancel()
		})
	}
	result, err := c.Own(ctx, s, r.Args, func(event any) error { return s.reply("event", event) })
	switch {
	case s.hijacked:
	case err != nil:
		_ = s.reply("error", err)
	default:
		_ = s.reply("result", result)
	}
}

// deafConn takes no answer.
type deafConn struct{ net.Conn }

func (c deafConn) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func (m *mesh) submit(r workceptor.Request, payload string) workceptor.Status {
	m.t.Helper()
	r.Node = "beta"
	if r.Type == "" {
		r.Type = "echo"
	}
	return m.alpha.submit(r, payload)
}

// see waits until alpha has that of what a unit of beta writes.
func (m *mesh) see(id, want string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), settle)
	defer cancel()
	got, all := "", errors.New("all")
	_, err := m.alpha.Results(ctx, id, workceptor.From{Stderr: workceptor.Skip}, func(c workceptor.Chunk) error {
		if got += string(c.Data); got == want {
			return all
		}
		return nil
	})
	if !errors.Is(err, all) {
		m.t.Fatalf("%q of %q: %v", got, want, err)
	}
}

// forgotten waits until beta has no units any more: alpha has fetched them.
func (m *mesh) forgotten() {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), settle)
	defer cancel()
	empty := errors.New("empty")
	err := m.beta.Watch(ctx, 0, func([]workceptor.Status, uint64) error {
		if len(m.beta.List()) == 0 {
			return empty
		}
		return nil
	})
	if !errors.Is(err, empty) && len(m.beta.List()) > 0 {
		m.t.Fatalf("beta still has %+v", m.beta.List())
	}
}

func TestRemote(t *testing.T) {
	t.Parallel()
	m := newMesh(t, &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		b, _ := io.ReadAll(u.Stdin)
		_, _ = u.Write([]byte("out " + string(b)))
		_, _ = u.WriteErr([]byte("err " + u.Params["params"]))
		return workceptor.Exit{Code: 3}
	}})
	u := m.submit(workceptor.Request{Params: map[string]string{"params": "-x"}}, "payload")
	out, stderr, end := m.alpha.results(u.ID, workceptor.From{})
	if out != "out payload" || stderr != "err -x" || end.State != workceptor.Failed || end.Exit.Code != 3 || end.Detail != "exit status 3" {
		t.Errorf("%q, %q, %+v", out, stderr, end)
	}
	if end.Node != "beta" || end.RemoteUnit == "" || end.Type != "echo" {
		t.Errorf("it is told to be %+v", end)
	}
	m.forgotten()
	if nodes := m.alpha.Nodes(); len(nodes) != 1 || !nodes[0].Alive || nodes[0].Node != "beta" || nodes[0].Units != 0 {
		t.Errorf("nodes: %+v", nodes)
	}
	if n := m.beta.worker.Runs(end.RemoteUnit); n != 1 {
		t.Errorf("it ran %d times", n)
	}
}

// What cannot be is said at once.
func TestRemoteRefusals(t *testing.T) {
	t.Parallel()
	m := newMesh(t, &workertest.Worker{})
	if _, err := m.alpha.Submit(workceptor.Request{Node: "gamma", Type: "echo"}); !errors.Is(err, workceptor.ErrUnknownNode) {
		t.Errorf("unknown node: %v", err)
	}
	if _, err := m.alpha.Submit(workceptor.Request{Node: "beta", Type: "echo", TLSClient: "no", TTL: time.Hour}); err == nil || err.Error() != "unknown TLS config no" {
		t.Errorf("unknown profile: %v", err)
	}
	if _, err := m.alpha.Submit(workceptor.Request{Node: "beta", Type: "echo", Params: map[string]string{"Secret_x": "y"}}); !errors.Is(err, workceptor.ErrInvalid) {
		t.Errorf("secrets in clear: %v", err)
	}
	if u := m.submit(workceptor.Request{Type: "nothing"}, ""); u.State != workceptor.Failed || !strings.Contains(u.Detail, "unknown work type nothing") {
		t.Errorf("unknown type: %+v", u)
	}
	alone := newNode(t, &workertest.Worker{})
	if _, err := alone.Submit(workceptor.Request{Node: "beta", Type: "echo"}); !errors.Is(err, workceptor.ErrInvalid) {
		t.Errorf("no mesh: %v", err)
	}
}

// unlucky submits a unit whose submission is cut off after the other node has begun with
// it, and has told of that, and before it has the payload.
func (m *mesh) unlucky() workceptor.Status {
	m.t.Helper()
	m.set(func() {
		m.cut = func(request string) bool {
			return strings.Contains(request, `"submit"`) && strings.Contains(request, "unlucky")
		}
	})
	u := m.submit(workceptor.Request{Params: map[string]string{"params": "unlucky"}}, "payload")
	after := m.submit(workceptor.Request{}, "")
	m.alpha.results(after.ID, workceptor.From{}) // what was told before has been heard
	if units := m.beta.List(); len(units) == 0 || units[0].Phase != "receiving" {
		m.t.Fatalf("beta has %+v", units)
	}
	return u
}

// The next process goes on with a submission.
func TestRemoteRestartWithinASubmission(t *testing.T) {
	t.Parallel()
	m := newMesh(t, &workertest.Worker{})
	u := m.unlucky()
	m.set(func() { m.cut = nil })
	m.restart(m.alpha)
	out, _, end := m.alpha.results(u.ID, workceptor.From{})
	if out != "payload" || end.State != workceptor.Succeeded {
		t.Errorf("%q, %+v", out, end)
	}
	m.forgotten()
}

// Nothing is left of a submission that somebody has canceled.
func TestRemoteCancelWithinASubmission(t *testing.T) {
	t.Parallel()
	m := newMesh(t, &workertest.Worker{})
	u := m.unlucky()
	if _, err := m.alpha.Cancel(t.Context(), u.ID); err != nil {
		t.Error(err)
	}
	m.alpha.untilState(u.ID, workceptor.Canceled)
	m.forgotten()
}

// Requests arrive and their answers do not: it is one unit all the same.
func TestRemoteCutBeforeTheReply(t *testing.T) {
	t.Parallel()
	m := newMesh(t, &workertest.Worker{})
	cuts := 0
	m.set(func() {
		m.cut = func(request string) bool {
			if cuts < 3 && strings.Contains(request, `"submit"`) {
				cuts++
				return true
			}
			return false
		}
	})
	u := m.submit(workceptor.Request{}, "payload")
	out, _, end := m.alpha.results(u.ID, workceptor.From{})
	if out != "payload" || end.State != workceptor.Succeeded {
		t.Errorf("%q, %+v", out, end)
	}
	m.forgotten()
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.beta.worker.Total(); n != 1 || cuts != 3 {
		t.Errorf("%d units ran after %d cuts", n, cuts)
	}
}

// The answer to a submission was lost, and the way to the node, too: whoever repeats it
// is told of the unit that there is, and can go on with its payload.
func TestRemoteSubmissionRepeatedWithoutWay(t *testing.T) {
	t.Parallel()
	m := newMesh(t, &workertest.Worker{})
	r := workceptor.Request{Node: "beta", Type: "echo", Submission: "the same"}
	first, err := m.alpha.Submit(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Abort("cut off"); err != nil {
		t.Fatal(err)
	}
	m.restart(m.alpha)
	m.sever()
	u := m.alpha.submit(r, "payload")
	if u.ID != first.Unit.ID {
		t.Errorf("it is unit %s, and was %s", u.ID, first.Unit.ID)
	}
	m.mend()
	if out, _, end := m.alpha.results(u.ID, workceptor.From{}); out != "payload" || end.State != workceptor.Succeeded {
		t.Errorf("%q, %+v", out, end)
	}
	m.forgotten()
}

// stepping is a mesh with a unit of beta that writes what it is given, until it is over.
func stepping(t *testing.T) (m *mesh, u workceptor.Status, step chan<- string, over func()) {
	t.Helper()
	steps := make(chan string)
	m = newMesh(t, &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		for s := range steps {
			_, _ = u.Write([]byte(s))
		}
		return workceptor.Exit{}
	}})
	over = sync.OnceFunc(func() { close(steps) })
	t.Cleanup(over) // before the mesh waits for its unit
	return m, m.submit(workceptor.Request{}, ""), steps, over
}

// The way is cut while a unit writes, and either node is restarted: nothing is
// missing, and nothing comes twice.
func TestRemoteResumes(t *testing.T) {
	t.Parallel()
	m, u, step, over := stepping(t)
	want := ""
	write := func(s string) {
		step <- s
		want += s
	}
	see := func() {
		t.Helper()
		m.see(u.ID, want)
	}
	write("one ")
	see()
	m.sever()
	write("two ")
	m.alpha.until(u.ID, "away", away)
	m.mend()
	see()
	m.restart(m.alpha)
	write("three ")
	see()
	m.restart(m.beta)
	write("four")
	see()
	over()
	out, _, end := m.alpha.results(u.ID, workceptor.From{})
	if out != want || end.State != workceptor.Succeeded || m.beta.worker.Total() != 1 {
		t.Errorf("%q, %+v, %d runs", out, end, m.beta.worker.Total())
	}
	m.forgotten()
}

// What the disk has made of results while the node was down is not taken for them:
// they are fetched anew.
func TestRemoteResultsSpoiltHere(t *testing.T) {
	t.Parallel()
	m, u, step, over := stepping(t)
	step <- "one "
	m.see(u.ID, "one ")
	m.alpha.close()
	file := filepath.Join(m.alpha.config.Dir, u.ID, "stdout")
	if b, err := os.ReadFile(file); err != nil || string(b) != "one " {
		t.Errorf("kept: %q, %v", b, err)
	}
	if err := os.WriteFile(file, []byte("ONE "), 0o600); err != nil {
		t.Error(err)
	}
	m.alpha.open()
	step <- "two"
	over()
	m.alpha.untilState(u.ID, workceptor.Succeeded)
	if out, _, end := m.alpha.results(u.ID, workceptor.From{}); out != "one two" || end.Stdout != sum("one two") {
		t.Errorf("%q, %+v", out, end.Stdout)
	}
	m.forgotten()
}

// Whoever cancels or releases a unit of a node that is away does not wait, and has
// the wish fulfilled when it is back.
func TestRemoteAway(t *testing.T) {
	t.Parallel()
	for _, release := range []bool{false, true} {
		t.Run(fmt.Sprintf("release=%v", release), func(t *testing.T) {
			t.Parallel()
			m := newMesh(t, &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
				<-u.Stopped
				return workceptor.Exit{Signal: "SIGTERM"}
			}})
			u := m.submit(workceptor.Request{}, "")
			m.alpha.untilState(u.ID, workceptor.Running)
			m.sever()
			m.alpha.until(u.ID, "away", away)
			var done bool
			var err error
			if release {
				done, err = m.alpha.Release(t.Context(), u.ID, false)
			} else {
				done, err = m.alpha.Cancel(t.Context(), u.ID)
			}
			if done || err != nil {
				t.Errorf("while it is away: %v, %v", done, err)
			}
			if s, err := m.alpha.Get(u.ID); err != nil || s.State != workceptor.Running || s.NodeUnknownSince.IsZero() {
				t.Errorf("while it is away: %+v, %v", s, err)
			}
			m.restart(m.alpha) // the wish is on the disk
			m.mend()
			if release {
				m.alpha.until(u.ID, "released", func(s workceptor.Status) bool { return s.Released })
			} else {
				m.alpha.untilState(u.ID, workceptor.Canceled)
			}
			m.forgotten()
		})
	}
}

// away is for a unit whose node is known to be away.
func away(u workceptor.Status) bool { return !u.NodeUnknownSince.IsZero() }

// With force a unit is forgotten at once. What is left of it ends when the node is
// back.
func TestRemoteForceRelease(t *testing.T) {
	t.Parallel()
	m := newMesh(t, &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		<-u.Stopped
		return workceptor.Exit{Signal: "SIGTERM"}
	}})
	u := m.submit(workceptor.Request{}, "")
	m.alpha.untilState(u.ID, workceptor.Running)
	m.sever()
	m.alpha.until(u.ID, "away", away)
	if done, err := m.alpha.Release(t.Context(), u.ID, true); !done || err != nil {
		t.Errorf("%v, %v", done, err)
	}
	other := m.submitLater(workceptor.Request{TTL: time.Hour})
	m.restart(m.alpha)
	m.mend()
	m.alpha.untilState(other.ID, workceptor.Running)
	if _, err := m.alpha.Cancel(t.Context(), other.ID); err != nil {
		t.Error(err)
	}
	m.forgotten()
}

func (m *mesh) submitLater(r workceptor.Request) workceptor.Status {
	m.t.Helper()
	u := m.submit(r, "")
	if u.State != workceptor.Pending || u.NodeUnknownSince.IsZero() {
		m.t.Errorf("a unit of a node that is away: %+v", u)
	}
	return u
}

// A unit waits for its node as long as it may, before and after it has begun.
func TestRemotePatience(t *testing.T) {
	t.Parallel()
	m := newMesh(t, &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		<-u.Stopped
		return workceptor.Exit{Signal: "SIGTERM"}
	}})
	u := m.submit(workceptor.Request{Disconnect: 10 * time.Millisecond}, "")
	m.alpha.untilState(u.ID, workceptor.Running)
	m.sever()
	m.alpha.until(u.ID, "lost", func(s workceptor.Status) bool {
		return s.State == workceptor.Lost && strings.HasPrefix(s.Detail, "Lost: node beta is unknown since ")
	})
	if _, err := m.alpha.Submit(workceptor.Request{Node: "beta", Type: "echo"}); !errors.Is(err, workceptor.ErrUnknownNode) {
		t.Errorf("without a TTL: %v", err)
	}
	late := m.submit(workceptor.Request{TTL: 10 * time.Millisecond}, "")
	m.alpha.until(late.ID, "expired", func(s workceptor.Status) bool {
		return s.State == workceptor.Failed && strings.HasPrefix(s.Detail, "Work unit expired on ")
	})
	m.mend()
	m.forgotten() // nobody wants it any more
}
