package control_test

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/control"
	"github.com/project-receptor/receptor/netceptor/control/controltest"
)

// patience is far more than anything here takes.
const patience = 20 * time.Second

// threeNodes is node alpha of the line alpha, beta, gamma.
func threeNodes() *controltest.Mesh {
	return &controltest.Mesh{
		State: netceptor.Status{
			NodeID:       "alpha",
			Version:      "1.2.3",
			Epoch:        30064771072000001,
			Connections:  []netceptor.Connection{{NodeID: "beta", Cost: 1}},
			RoutingTable: map[string]string{"beta": "beta", "gamma": "beta"},
		},
		OnPing: controltest.Line("alpha", "beta", "gamma"),
	}
}

func newServer(m control.Mesh, more ...control.Command) *control.Server {
	s := control.New(control.Config{NodeID: m.NodeID()})
	s.Register(control.MeshCommands(m, nil)...)
	s.Register(more...)
	return s
}

// serve serves s on a Unix socket until the test ends, and sees to it that
// nothing of it is left then.
func serve(t *testing.T, s *control.Server) (path string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctl") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path = filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, s, l)
	return path
}

func serveOn(t *testing.T, s *control.Server, l net.Listener) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(patience):
			t.Errorf("Serve does not end; goroutines:\n%s", stacks())
		}
	})
}

func stacks() string {
	b := make([]byte, 1<<20)
	return string(b[:runtime.Stack(b, true)])
}

func dial(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.UnixConn)
}

const greeting = "Receptor Control, node alpha\n"

// talk sends input, ends it, and returns all that the server says after its greeting.
func talk(t *testing.T, path, input string) string {
	t.Helper()
	c := dial(t, path)
	if _, err := io.WriteString(c, input); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	after, ok := strings.CutPrefix(string(b), greeting)
	if !ok {
		t.Fatalf("no greeting: %q", b)
	}
	return after
}

// expect reads exactly want.
func expect(t *testing.T, r io.Reader, want string) {
	t.Helper()
	b := make([]byte, len(want))
	n, err := io.ReadFull(r, b)
	if err != nil || string(b) != want {
		t.Fatalf("read %q, %v; want %q", b[:n], err, want)
	}
}

// expectEnd reads a clean end.
func expectEnd(t *testing.T, r io.Reader) {
	t.Helper()
	if b, err := io.ReadAll(r); err != nil || len(b) > 0 {
		t.Fatalf("read %q, %v; want the end", b, err)
	}
}

func send(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
}
