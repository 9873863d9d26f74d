package netceptor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/linkproto"
)

// patience is how long a test waits for what should happen at once.
const patience = 30 * time.Second

// TestMain fails if goroutines of a node outlive the tests, all of which close
// what they open.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := leftovers(); left != "" {
			fmt.Fprintln(os.Stderr, "goroutines are left:\n"+left)
			code = 1
		}
	}
	os.Exit(code)
}

// leftovers waits until no goroutine but the caller's is in this module or in
// QUIC, and returns the stacks if that does not come.
func leftovers() string {
	var stacks string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var b bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&b, 2); err != nil {
			return err.Error()
		}
		stacks = ""
		for _, stack := range strings.Split(b.String(), "\n\n") {
			ours := strings.Contains(stack, "receptor/netceptor") || strings.Contains(stack, "quic-go")
			if ours && !strings.Contains(stack, "leftovers") {
				stacks += stack + "\n\n"
			}
		}
		if stacks == "" {
			return ""
		}
	}
	return stacks
}

// startNode starts a node that is closed when the test ends.
func startNode(t *testing.T, c Config) *Node {
	t.Helper()
	n, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close node %s: %v", n.NodeID(), err)
		}
	})
	return n
}

// startNodes starts nodes of these names.
func startNodes(t *testing.T, names ...string) []*Node {
	t.Helper()
	var nodes []*Node
	for _, name := range names {
		nodes = append(nodes, startNode(t, Config{NodeID: name}))
	}
	return nodes
}

// join links two nodes in memory.
func join(t *testing.T, a, b *Node) (*Link, *Link) {
	t.Helper()
	return joinWith(t, a, LinkConfig{}, b, LinkConfig{})
}

func joinWith(t *testing.T, a *Node, ca LinkConfig, b *Node, cb LinkConfig) (*Link, *Link) {
	t.Helper()
	near, far := net.Pipe()
	return addLink(t, a, near, ca), addLink(t, b, far, cb)
}

// joinTCP links two nodes over loopback.
func joinTCP(t *testing.T, a, b *Node) (*Link, *Link) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return addLink(t, a, near, LinkConfig{}), addLink(t, b, far, LinkConfig{})
}

func addLink(t *testing.T, n *Node, conn net.Conn, c LinkConfig) *Link {
	t.Helper()
	l, err := n.AddLink(conn, c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// line starts nodes in a line and waits until the ends know each other.
func line(t *testing.T, names ...string) []*Node {
	t.Helper()
	nodes := startNodes(t, names...)
	for i := range len(nodes) - 1 {
		joinTCP(t, nodes[i], nodes[i+1])
	}
	waitRoutes(t, nodes...)
	return nodes
}

// waitRoutes waits until each node has a route to each other.
func waitRoutes(t *testing.T, nodes ...*Node) {
	t.Helper()
	for _, n := range nodes {
		waitFor(t, n, "routes to all", func(s Status) bool {
			for _, to := range nodes {
				if _, ok := s.RoutingTable[to.NodeID()]; !ok && to != n {
					return false
				}
			}
			return true
		})
	}
}

// waitFor waits until the status of a node is as wanted.
func waitFor(t *testing.T, n *Node, what string, ok func(Status) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := n.WaitFor(ctx, ok); err != nil {
		t.Fatalf("%s: waited for %s: %v; status %+v", n.NodeID(), what, err, n.Status())
	}
}

// waitCounter waits until a counter has at least that value; most changes of
// counters notify nobody.
func waitCounter(t *testing.T, n *Node, name string, want uint64) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		got, ok := n.Status().Counters[name]
		if ok && got >= want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: counter %s is %d, want %d; all: %v", n.NodeID(), name, got, want, n.Status().Counters)
		}
	}
}

// ended waits until a link has ended and returns its error.
func ended(t *testing.T, l *Link) error {
	t.Helper()
	select {
	case <-l.Done():
		return l.Err()
	case <-time.After(patience):
		t.Fatal("the link did not end")
		return nil
	}
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		c     Config
		field string // that the error names; empty: none
	}{
		{"good", Config{NodeID: "a"}, ""},
		{"all of it", Config{NodeID: "ä b:c", MaxIdle: time.Minute, Epoch: 1}, ""},
		{"no name", Config{}, "NodeID"},
		{"localhost", Config{NodeID: "LocalHost"}, "NodeID"},
		{"not UTF-8", Config{NodeID: "\xff"}, "NodeID"},
		{"short idle time", Config{NodeID: "a", MaxIdle: linkproto.MinMaxIdle - 1}, "MaxIdle"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := test.c.Validate()
			if (err != nil) != (test.field != "") || err != nil && !strings.HasPrefix(err.Error(), test.field+":") {
				t.Errorf("got %v, want an error about %q", err, test.field)
			}
			if _, newErr := New(test.c); (newErr != nil) != (err != nil) {
				t.Errorf("New says %v, Validate %v", newErr, err)
			}
		})
	}
}

func TestNextEpoch(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	e := NextEpoch(now, 0)
	if e>>24 != 1_800_000_000 {
		t.Errorf("epoch %d is not made of the time", e)
	}
	if again := NextEpoch(now, e|(1<<24-1)); again != e|(1<<24-1)+1 {
		t.Errorf("three starts in a second: %d does not follow %d", again, e|(1<<24-1))
	}
	if later := NextEpoch(now.Add(-time.Hour), e); later != e+1 {
		t.Errorf("clock set back: %d, want %d", later, e+1)
	}
}

func TestNodeLife(t *testing.T) {
	t.Parallel()
	n, err := New(Config{NodeID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.ListenPacket("", ListenOptions{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("ListenPacket before Start: %v", err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err == nil {
		t.Error("a node started twice")
	}
	c, err := n.ListenPacket("x", ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := c.ReadFrom(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after the node was closed: %v", err)
	}
	if err := n.Start(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Start after Close: %v", err)
	}
	if _, err := n.Listen("y", ListenOptions{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Listen after Close: %v", err)
	}
	if _, err := n.Dial(t.Context(), "a", "y"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Dial after Close: %v", err)
	}
	if err := n.WaitFor(t.Context(), func(Status) bool { return false }); !errors.Is(err, net.ErrClosed) {
		t.Errorf("WaitFor after Close: %v", err)
	}
	near, far := net.Pipe()
	if _, err := n.AddLink(near, LinkConfig{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("AddLink after Close: %v", err)
	}
	if _, err := far.Write([]byte{0}); err == nil {
		t.Error("AddLink after Close left the connection open")
	}
}

func TestCloseBeforeStart(t *testing.T) {
	t.Parallel()
	n, err := New(Config{NodeID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}
