package core

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
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
	n.epoch = netceptor.NextEpoch(time.Now(), n.epoch)
	var err error
	if n.node, err = netceptor.New(netceptor.Config{NodeID: n.id, Epoch: n.epoch}); err != nil {
		n.t.Fatal(err)
	}
	if err := n.node.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.work, err = workceptor.New(workceptor.Config{Dir: n.dir, NodeID: n.id, Mesh: control.WorkMesh{Node: n.node}, Reserve: 1})
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.work.Start(); err != nil {
		n.t.Fatal(err)
	}
	if n.worker != nil {
		if _, err := n.worker.Attach(n.work, workceptor.WorkType{Name: "echo", Params: true}); err != nil {
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
