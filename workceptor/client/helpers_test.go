package client_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/workceptor"
	"github.com/project-receptor/receptor/workceptor/client"
	"github.com/project-receptor/receptor/workceptor/workertest"
)

// settle is ten times what anything here takes.
const settle = 2 * time.Minute

// node is a node with a worker, which can be talked to and restarted.
type node struct {
	t      testing.TB
	worker *workertest.Worker
	types  []workceptor.WorkType
	config workceptor.Config

	mu      sync.Mutex // guards what follows
	work    *workceptor.Workceptor
	ctx     context.Context // of its conversations
	cancel  context.CancelFunc
	talking *sync.WaitGroup
}

// newNode starts a node with a worker, which offers echo unless types are given.
func newNode(t testing.TB, worker *workertest.Worker, types ...workceptor.WorkType) *node {
	t.Helper()
	if types == nil {
		types = []workceptor.WorkType{{Name: "echo", Params: true}}
	}
	n := &node{t: t, worker: worker, types: types, config: workceptor.Config{Dir: t.TempDir() + "/units", NodeID: "alpha", Reserve: 1}}
	n.start()
	t.Cleanup(func() {
		n.stop()
		worker.Wait()
	})
	return n
}

func (n *node) start() {
	n.t.Helper()
	w, err := workceptor.New(n.config)
	if err == nil {
		err = w.Start()
	}
	if err == nil {
		_, err = n.worker.Attach(w, n.types...)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.work, n.talking = w, new(sync.WaitGroup)
	n.ctx, n.cancel = context.WithCancel(context.Background())
}

func (n *node) stop() {
	n.t.Helper()
	n.mu.Lock()
	w, talking := n.work, n.talking
	n.work = nil
	n.mu.Unlock()
	if w == nil {
		return
	}
	n.cancel()
	talking.Wait()
	n.worker.Detach()
	if err := w.Close(); err != nil {
		n.t.Error(err)
	}
}

// dial opens a conversation in memory.
func (n *node) dial(context.Context) (io.ReadWriteCloser, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.work == nil {
		return nil, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	ctx, command := n.ctx, n.work.Command()
	n.talking.Go(func() { converse(ctx, command, theirs) })
	return ours, nil
}

// session implements workceptor.Session.
type session struct {
	net.Conn
	in       *bufio.Reader
	hijacked bool
}

func (s *session) Read(b []byte) (int, error) { return s.in.Read(b) }
func (s *session) Local() bool                { return true }

func (s *session) Hijack(line string) (io.ReadWriteCloser, error) {
	s.hijacked = true
	return s, s.reply("result", json.RawMessage(line))
}

func (s *session) reply(key string, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = fmt.Fprintf(s, `{"id":1,%q:%s}`+"\n", key, b)
	}
	return err
}

// converse answers one request in our own form, as package control does.
func converse(ctx context.Context, c *workceptor.Command, conn net.Conn) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()
	s := &session{Conn: conn, in: bufio.NewReader(conn)}
	if _, err := io.WriteString(conn, "Receptor Control, node alpha\n"); err != nil {
		return
	}
	line, err := s.in.ReadString('\n')
	if err != nil {
		return
	}
	var r struct{ Args json.RawMessage }
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		return
	}
	result, err := c.Own(ctx, s, r.Args, func(event any) error { return s.reply("event", event) })
	switch {
	case s.hijacked: // the client is gone, or has what it wants
	case err != nil:
		_ = s.reply("error", err)
	default:
		_ = s.reply("result", result)
	}
}

// cutter cuts the first connection after so many bytes, in whatever direction.
type cutter struct {
	dial func(context.Context) (io.ReadWriteCloser, error)
	mu   sync.Mutex
	left int
	cuts int
}

func (c *cutter) open(ctx context.Context) (io.ReadWriteCloser, error) {
	conn, err := c.dial(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil || c.cuts > 0 {
		return conn, err
	}
	return &cutConn{conn, c}, nil
}

type cutConn struct {
	io.ReadWriteCloser
	c *cutter
}

var errCut = errors.New("cut off")

// take allows some of n bytes. With less the connection is cut.
func (c *cutConn) take(n int) int {
	c.c.mu.Lock()
	defer c.c.mu.Unlock()
	got := min(n, c.c.left)
	c.c.left -= got
	if got < n {
		c.c.cuts = 1
		c.Close()
	}
	return got
}

func (c *cutConn) Write(b []byte) (int, error) {
	c.c.mu.Lock()
	n := min(len(b), c.c.left)
	c.c.mu.Unlock()
	n, err := c.ReadWriteCloser.Write(b[:n])
	if c.take(len(b)) < len(b) {
		return n, errCut
	}
	return n, err
}

func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.ReadWriteCloser.Read(b)
	if got := c.take(n); got < n {
		return got, errCut
	}
	return n, err
}

// everywhere calls f with a client whose first connection is cut after 0, 1, 2, ...
// bytes, until one is not cut at all. Several run at a time.
func everywhere(t *testing.T, dial func(context.Context) (io.ReadWriteCloser, error), step int, f func(t *testing.T, c *client.Client, cut int)) {
	t.Helper()
	var mu sync.Mutex
	whole, next := false, 0
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for {
				mu.Lock()
				cut := next
				next += step
				done := whole || t.Failed()
				mu.Unlock()
				if done {
					return
				}
				c := &cutter{dial: dial, left: cut}
				f(t, &client.Client{Dial: c.open, Patience: settle}, cut)
				mu.Lock()
				whole = whole || c.cuts == 0
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if next < 150 {
		t.Errorf("only %d places", next)
	}
}

// scripted is a node that says the same to whatever it is asked, and then ends.
func scripted(t *testing.T, say string) *client.Client {
	t.Helper()
	var all sync.WaitGroup
	t.Cleanup(all.Wait)
	return &client.Client{Patience: -1, Dial: func(context.Context) (io.ReadWriteCloser, error) {
		ours, theirs := net.Pipe()
		all.Go(func() {
			defer theirs.Close()
			_, _ = io.WriteString(theirs, "Receptor Control, node alpha\n")
			if _, err := bufio.NewReader(theirs).ReadString('\n'); err == nil {
				_, _ = io.WriteString(theirs, say)
			}
		})
		return ours, nil
	}}
}
