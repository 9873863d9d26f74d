package ctl

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/control"
	"github.com/project-receptor/receptor/netceptor/control/controltest"
)

// patience is far more than anything here takes.
const patience = 20 * time.Second

// outcome is what a run of the program left.
type outcome struct {
	code        int
	out, stderr string
}

// run runs the program.
func run(t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	return runWith(t, nil, nil, stdin, args...)
}

// runWith runs it where these sockets are found and this environment is set.
func runWith(t *testing.T, found []string, env map[string]string, stdin string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		_, _ = io.WriteString(w, stdin)
		_ = w.Close()
	}()
	var out, stderr bytes.Buffer
	a := &app{
		Env: Env{
			Stdin: r, Stdout: &out, Stderr: &stderr, Version: "9.9", Module: "module",
			Getenv: func(key string) string { return env[key] },
		},
		ctx:  ctx,
		find: func() []string { return found },
	}
	code := a.run(args)
	_ = r.Close()
	<-fed
	if ctx.Err() != nil {
		t.Errorf("%q took too long", args)
	}
	return outcome{code, out.String(), stderr.String()}
}

func (o outcome) check(t *testing.T, want outcome) {
	t.Helper()
	if o != want {
		t.Errorf("got  %d\n%s--\n%s\nwant %d\n%s--\n%s", o.code, o.out, o.stderr, want.code, want.out, want.stderr)
	}
}

// listen listens on a Unix socket until the test ends.
func listen(t *testing.T) (net.Listener, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctl") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, path
}

// serve runs a real control server over a fake mesh.
func serve(t *testing.T, m control.Mesh, extra func() map[string]any) (path string) {
	t.Helper()
	l, path := listen(t)
	serveOn(t, l, m, extra)
	return path
}

func serveOn(t *testing.T, l net.Listener, m control.Mesh, extra func() map[string]any) {
	t.Helper()
	s := control.New(control.Config{NodeID: m.NodeID()})
	s.Register(control.MeshCommands(m, extra)...)
	serveServer(t, s, l)
}

func serveServer(t *testing.T, s *control.Server, l net.Listener) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// step is one exchange with a scripted node: what it expects, and what it says.
type step struct{ in, out string }

// script is a node that holds one conversation to the letter, and ends it.
func script(t *testing.T, greeting string, steps ...step) (path string) {
	t.Helper()
	return scripts(t, greeting, steps)
}

// scripts is script for several conversations at a time, in the order in which they
// begin.
func scripts(t *testing.T, greeting string, conversations ...[]step) (path string) {
	t.Helper()
	l, path := listen(t)
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	all.Go(func() {
		for _, steps := range conversations {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { play(t, c, greeting, steps) })
		}
	})
	return path
}

// play is the node's part of a conversation.
func play(t *testing.T, c net.Conn, greeting string, steps []step) {
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, greeting)
	in := bufio.NewReader(c)
	for _, s := range steps {
		line, err := in.ReadString('\n')
		if line = strings.TrimSuffix(line, "\n"); s.in != anything && (err != nil && err != io.EOF || line != s.in) {
			t.Errorf("the node read %q, %v; want %q", line, err, s.in)
			return
		}
		_, _ = io.WriteString(c, s.out)
	}
}

// anything is a line that does not matter.
const anything = "*"

const greeting = "Receptor Control, node a\n"

// threeNodes is node a of the line a, b, c.
func threeNodes() *controltest.Mesh {
	return &controltest.Mesh{
		State: netceptor.Status{
			NodeID:       "a",
			Version:      "1.2.3",
			Connections:  []netceptor.Connection{{NodeID: "b", Cost: 1}},
			RoutingTable: map[string]string{"b": "b", "c": "b"},
		},
		OnPing: controltest.Line("a", "b", "c"),
	}
}
