package plughost

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
)

// TestMain fails the package if goroutines or descriptors are left when all
// tests have ended.
func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		os.Exit(m.Run()) // fuzzing has workers of its own
	}
	goroutines, files := runtime.NumGoroutine(), openFiles()
	code := m.Run()
	deadline := time.Now().Add(plugtest.Patience)
	for runtime.NumGoroutine() > goroutines || openFiles() > files {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			fmt.Printf("left: %d goroutines, %d descriptors\n%s\n",
				runtime.NumGoroutine()-goroutines, openFiles()-files, buf[:runtime.Stack(buf, true)])
			code = 1
			break
		}
		runtime.GC()
		<-time.After(10 * time.Millisecond)
	}
	os.Exit(code)
}

// openFiles is the number of descriptors, 0 where the system does not tell. The
// runtime's own are there from the first network connection on, so it opens one.
func openFiles() int {
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		_ = l.Close()
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// rig is a node with a host on a socket.
type rig struct {
	*Host
	t    testing.TB
	node *netceptor.Node
	dial plugtest.Dialer
	log  *syncBuffer
}

// newRig starts a rig that ends with the test.
func newRig(t *testing.T, node string, c Config) *rig {
	t.Helper()
	r := newHostOnly(t, node, c)
	dir, err := os.MkdirTemp("", "plughost") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "plug.sock")
	l, err := socket.Listen(path, socket.Options{Group: -1})
	if err != nil {
		t.Fatal(err)
	}
	r.dial = plugtest.Unix(path)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return r
}

// newHostOnly starts a node and a host that serves no socket.
func newHostOnly(t testing.TB, node string, c Config) *rig {
	t.Helper()
	r := &rig{t: t, log: new(syncBuffer)}
	n, err := netceptor.New(netceptor.Config{NodeID: node})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	c.Node, r.node = n, n
	c.Version = "1.2.3"
	c.Logger = hclog.New(&hclog.LoggerOptions{Output: r.log, Level: hclog.Debug})
	c.CoreKinds = []string{"node", "control-service"}
	if r.Host, err = New(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("close host: %v", err)
		}
		if err := n.Close(); err != nil {
			t.Errorf("close node: %v", err)
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", node, r.log)
		}
		if n := r.Counters()["panics"]; n != 0 {
			t.Errorf("%d panics", n)
		}
	})
	r.dial = r.dialAs(me())
	return r
}

// dialAs is a Dialer of an in-process connection, as somebody.
func (r *rig) dialAs(cred socket.Cred) plugtest.Dialer {
	return func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go r.ServeConn(context.Background(), theirs, cred)
		return ours, nil
	}
}

func me() socket.Cred {
	return socket.Cred{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), PID: os.Getpid(), Known: true}
}

// attach attaches a plug that claims kinds.
func (r *rig) attach(name string, kinds ...wire.Kind) *plugtest.FakePlug {
	r.t.Helper()
	return plugtest.AttachPlug(r.t, r.dial, plugtest.PlugOptions{Hello: plugtest.Hello(name, kinds...)})
}

// eventually waits for a condition, which a change of the host brings about.
func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	deadline := time.After(plugtest.Patience)
	for {
		changed := r.Changed()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-time.After(5 * time.Millisecond): // of the node, or of a counter: no signal
		case <-deadline:
			r.t.Fatalf("waited in vain for %s\nitems: %+v\nplugs: %+v\ncounters: %v", what, r.Items(), r.Plugs(), r.Counters())
		}
	}
}

// itemIs waits until the i-th item has that state and an error that contains text.
func (r *rig) itemIs(i int, state, text string) ItemStatus {
	r.t.Helper()
	var s ItemStatus
	r.eventually(fmt.Sprintf("item %d %s %q", i, state, text), func() bool {
		s = r.Items()[i]
		return s.State == state && strings.Contains(s.Err, text)
	})
	return s
}

// The kinds of a TCP backend and a TCP proxy, as far as tests need them.
func tcpListener() wire.Kind {
	return wire.Kind{
		Kind: "tcp-listener", Role: wire.RoleLink, Dir: "in", Help: "Accepts links",
		Params: []wire.Param{
			{Name: "port", Type: schema.TypePort, Key: true, Required: true, Bare: true, Help: "Port"},
			{Name: "bindaddr", Type: schema.TypeString, Default: "0.0.0.0", Help: "Address"},
		},
	}
}

func tcpPeer() wire.Kind {
	return wire.Kind{
		Kind: "tcp-peer", Role: wire.RoleLink, Dir: "out", Help: "Makes links",
		Params: []wire.Param{{Name: "address", Type: schema.TypeAddress, Key: true, Required: true, Help: "Address"}},
	}
}

func tcpServer() wire.Kind {
	return wire.Kind{
		Kind: "tcp-server", Role: wire.RoleStream, Dir: "in", Help: "Serves TCP clients",
		Aliases: []wire.Alias{{Kind: "tcp-inbound-proxy", Defaults: map[string]any{"bindaddr": "localhost"}}},
		Params: []wire.Param{
			{Name: "port", Type: schema.TypePort, Key: true, Required: true, Help: "Port"},
			{Name: "bindaddr", Type: schema.TypeString, Default: "0.0.0.0", Help: "Address"},
		},
	}
}

func listenerItem(port int) Item {
	return Item{Kind: "tcp-listener", Params: map[string]any{"port": port}, Label: fmt.Sprintf("tcp-listener port=%d", port)}
}

// wantError fails the test unless err is a refusal with that code and text.
func wantError(t *testing.T, err error, code, text string) {
	t.Helper()
	var e *wire.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a refusal with code %s", err, code)
	}
	if e.Code != code || !strings.Contains(e.Msg, text) {
		t.Fatalf("got %v, want code %s and %q", e, code, text)
	}
}

// syncBuffer is a log that a test reads while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
