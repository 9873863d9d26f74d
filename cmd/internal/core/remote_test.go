package core

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/control"
	"github.com/project-receptor/receptor/netceptor/mtls/mtlstest"
	"github.com/project-receptor/receptor/workceptor"
	"github.com/project-receptor/receptor/workceptor/client"
	"github.com/project-receptor/receptor/workceptor/workertest"
)

// workNode is a node with units of work and a control service, over restarts.
type workNode struct {
	t      *testing.T
	id     string
	dir    string
	worker *workertest.Worker // nil: none
	epoch  uint64
	wrong  time.Duration   // its clock is ahead by so much
	key    *rsa.PrivateKey // signs and verifies work; nil: none is signed

	node    *netceptor.Node
	work    *workceptor.Workceptor
	cancel  context.CancelFunc
	serving *sync.WaitGroup
}

func startWorkNode(t *testing.T, id string, worker *workertest.Worker) *workNode {
	t.Helper()
	n := &workNode{t: t, id: id, dir: t.TempDir(), worker: worker}
	n.start()
	t.Cleanup(func() {
		n.stop()
		if worker != nil {
			worker.Wait()
		}
	})
	return n
}

func (n *workNode) start() {
	n.t.Helper()
	wrong := n.wrong
	now := func() time.Time { return time.Now().Add(wrong) }
	n.epoch = netceptor.NextEpoch(now(), n.epoch)
	var err error
	if n.node, err = netceptor.New(netceptor.Config{NodeID: n.id, Epoch: n.epoch, Now: now}); err != nil {
		n.t.Fatal(err)
	}
	if err := n.node.Start(); err != nil {
		n.t.Fatal(err)
	}
	c := workceptor.Config{Dir: n.dir, NodeID: n.id, Mesh: control.WorkMesh{Node: n.node}, Reserve: 1, Now: now}
	if n.key != nil {
		c.SigningKey, c.VerifyingKey = n.key, &n.key.PublicKey
	}
	n.work, err = workceptor.New(c)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.work.Start(); err != nil {
		n.t.Fatal(err)
	}
	if n.worker != nil {
		if _, err := n.worker.Attach(n.work, workceptor.WorkType{Name: "echo", Params: true, Secure: n.key != nil}); err != nil {
			n.t.Fatal(err)
		}
	}
	s := control.New(control.Config{NodeID: n.id})
	work := n.work.Command()
	s.Register(control.Command{Name: "work", Plain: work.Plain, Own: work.Own})
	l, err := n.node.Listen("control", netceptor.ListenOptions{Advertise: true, Tags: map[string]string{"type": "Control Service"}})
	if err != nil {
		n.t.Fatal(err)
	}
	var ctx context.Context
	ctx, n.cancel = context.WithCancel(context.Background())
	n.serving = new(sync.WaitGroup)
	n.serving.Go(func() {
		if err := s.Serve(ctx, l); err != nil {
			n.t.Error(err)
		}
	})
}

func (n *workNode) stop() {
	n.t.Helper()
	n.cancel()
	n.serving.Wait()
	if n.worker != nil {
		n.worker.Detach()
	}
	if err := errors.Join(n.node.Close(), n.work.Close()); err != nil {
		n.t.Error(err)
	}
}

// link joins two nodes.
func link(t *testing.T, a, b *workNode) (cut func()) {
	t.Helper()
	x, y := net.Pipe()
	for n, conn := range map[*workNode]net.Conn{a: x, b: y} {
		if _, err := n.node.AddLink(conn, netceptor.LinkConfig{}); err != nil {
			t.Fatal(err)
		}
	}
	return func() { x.Close(); y.Close() }
}

// knows waits until a node has a way to another.
func (n *workNode) knows(other string) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), settle)
	defer cancel()
	if err := (control.WorkMesh{Node: n.node}).Await(ctx, other, true); err != nil {
		n.t.Fatal(err)
	}
}

func (n *workNode) submit(r workceptor.Request, payload []byte) workceptor.Status {
	n.t.Helper()
	s, err := n.work.Submit(r)
	if err != nil {
		n.t.Fatal(err)
	}
	if _, err := s.Write(payload); err != nil {
		n.t.Fatal(err)
	}
	u, err := s.Commit(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	return u
}

// A unit runs two hops away, and its submitter's results are followed from a third
// node while it writes.
func TestWorkTwoHopsAway(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	worker := &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		for i := range 3 {
			<-next
			fmt.Fprintf(u, "line %d\n", i)
		}
		return workceptor.Exit{}
	}}
	a, hop, b := startWorkNode(t, "a", nil), startWorkNode(t, "hop", nil), startWorkNode(t, "b", worker)
	link(t, a, hop)
	link(t, hop, b)
	a.knows("b")
	u := a.submit(workceptor.Request{Node: "b", Type: "echo"}, nil)
	hop.knows("a")
	follower := client.Client{Dial: func(ctx context.Context) (io.ReadWriteCloser, error) {
		return control.WorkMesh{Node: hop.node}.Dial(ctx, "a", "")
	}}
	ctx, cancel := context.WithTimeout(t.Context(), settle)
	defer cancel()
	lines := 0
	next <- struct{}{}
	end, err := follower.Results(ctx, u.ID, client.From{}, func(c client.Chunk) error {
		if want := fmt.Sprintf("line %d\n", lines); string(c.Data) != want {
			t.Errorf("%q, want %q", c.Data, want)
		}
		if lines++; lines < 3 {
			next <- struct{}{}
		}
		return nil
	})
	if err != nil || end.State != workceptor.Succeeded || lines != 3 || end.Node != "b" {
		t.Errorf("%d lines, %+v, %v", lines, end, err)
	}
	if u := a.submit(workceptor.Request{Node: "b", Type: "nothing"}, nil); u.State != workceptor.Failed || !strings.Contains(u.Detail, "unknown work type nothing") {
		t.Errorf("unknown type: %+v", u)
	}
}

// A node that nobody can talk to about work is told of at once, with the reason; who
// has time for the unit waits, and sees it.
func TestWorkWhereNobodyTalks(t *testing.T) {
	t.Parallel()
	a, hop, b := startWorkNode(t, "a", nil), startWorkNode(t, "hop", nil), startWorkNode(t, "b", nil)
	link(t, hop, a)
	link(t, a, b)
	a.knows("b")
	hop.knows("a")
	b.cancel() // there is no control service
	b.serving.Wait()
	files := mtlstest.NodeFiles(t, mtlstest.NewCA(t, "ca"), mtlstest.Leaf{Nodes: []string{"b"}})
	c := client.Client{Patience: -1, Dial: func(ctx context.Context) (io.ReadWriteCloser, error) {
		return control.WorkMesh{Node: hop.node}.Dial(ctx, "a", "")
	}}
	refused := func(want string) {
		t.Helper()
		job := client.Job{Node: "b", Type: "echo", Payload: iotest.ErrReader(errors.New("the payload was read"))}
		if u, err := c.Submit(t.Context(), job); err == nil || !strings.Contains(err.Error(), "node b: cannot talk to its control service: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v, %v; want %s", u, err, want)
		}
		u := a.submit(workceptor.Request{Node: "b", Type: "echo", TTL: time.Hour}, nil)
		if u.State != workceptor.Pending || !strings.Contains(u.Detail, want) {
			t.Errorf("%+v, want %s", u, want)
		}
	}
	refused("service unknown")
	l, err := b.node.Listen("control", netceptor.ListenOptions{TLS: mtlstest.LoadServer(t, files.Server("s"), "b")})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	refused("insecure connection to secure service")
}

// A node whose clock is an hour ahead, and then an hour behind, joins, is known by its
// services, and gives and runs signed work.
func TestWorkWithAClockThatIsWrong(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	var nodes []*workNode
	for _, id := range []string{"right", "hop", "wrong"} {
		n := startWorkNode(t, id, new(workertest.Worker))
		n.stop()
		n.key = key
		n.start()
		nodes = append(nodes, n)
	}
	right, hop, wrong := nodes[0], nodes[1], nodes[2]
	link(t, right, hop)
	for _, wrong.wrong = range []time.Duration{time.Hour, -time.Hour} {
		wrong.stop()
		wrong.start()
		link(t, hop, wrong)
		for _, way := range [][2]*workNode{{right, wrong}, {wrong, right}} {
			from, to := way[0], way[1]
			from.knows(to.id)
			ctx, cancel := context.WithTimeout(t.Context(), settle)
			if err := from.node.WaitFor(ctx, func(s netceptor.Status) bool {
				return slices.ContainsFunc(s.Advertisements, func(a netceptor.Advertisement) bool { return a.NodeID == to.id && a.Service == "control" })
			}); err != nil {
				t.Fatalf("%v: %s does not hear of the services of %s: %v", wrong.wrong, from.id, to.id, err)
			}
			u := from.submit(workceptor.Request{Node: to.id, Type: "echo", Sign: true, TTL: 10 * time.Minute}, []byte("signed"))
			var out []byte
			end, err := from.work.Results(ctx, u.ID, workceptor.From{}, func(c workceptor.Chunk) error {
				out = append(out, c.Data...)
				return nil
			})
			if err != nil || end.State != workceptor.Succeeded || string(out) != "signed" {
				t.Errorf("%v: from %s to %s: %q, %+v, %v", wrong.wrong, from.id, to.id, out, end, err)
			}
			cancel()
		}
		// Nobody takes it for another node of its name, or idle.
		for _, n := range nodes {
			if s := n.node.Status(); len(s.Alarms) > 0 {
				t.Errorf("%v: alarms at %s: %+v", wrong.wrong, n.id, s.Alarms)
			}
		}
	}
}

// Submitter, hop and executor are restarted in turn while a unit writes: what arrives
// is what was written, once.
func TestWorkThroughRestarts(t *testing.T) {
	t.Parallel()
	const piece, pieces = 1 << 20, 6
	var written bytes.Buffer
	next := make(chan struct{})
	worker := &workertest.Worker{Run: func(u *workertest.Unit) workceptor.Exit {
		for i := range pieces {
			<-next
			b := bytes.Repeat([]byte{byte('a' + i), '\n'}, piece/2)
			written.Write(b)
			_, _ = u.Write(b)
		}
		return workceptor.Exit{}
	}}
	a, hop, b := startWorkNode(t, "a", nil), startWorkNode(t, "hop", nil), startWorkNode(t, "b", worker)
	links := func() { link(t, a, hop); link(t, hop, b) }
	links()
	a.knows("b")
	u := a.submit(workceptor.Request{Node: "b", Type: "echo", Submission: "one"}, bytes.Repeat([]byte("in"), 1<<20))
	for _, n := range []*workNode{a, hop, b} {
		next <- struct{}{}
		n.stop()
		next <- struct{}{}
		n.start()
		switch n {
		case a:
			link(t, a, hop)
		case hop:
			links()
		default:
			link(t, hop, b)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), settle)
	defer cancel()
	h := sha256.New()
	end, err := a.work.Results(ctx, u.ID, workceptor.From{}, func(c workceptor.Chunk) error {
		h.Write(c.Data)
		return nil
	})
	if err != nil || end.State != workceptor.Succeeded || end.Stdout.Size != piece*pieces {
		t.Fatalf("%+v, %v", end, err)
	}
	if want := sha256.Sum256(written.Bytes()); !bytes.Equal(h.Sum(nil), want[:]) {
		t.Error("it is not what was written")
	}
	if n := worker.Total(); n != 1 {
		t.Errorf("%d runs", n)
	}
}
