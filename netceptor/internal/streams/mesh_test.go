package streams

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// testMesh is an overlay in memory: what one carrier sends is delivered to
// another, packet by packet, at once and by the sender's goroutine.
type testMesh struct {
	t     testing.TB
	basic bool
	loss  float64 // share of packets that are dropped
	// share of packets that come after the next one to the same node
	reorder float64

	mu    sync.RWMutex
	nodes map[uint64]func(src, dst Endpoint, b []byte, ecn uint8) bool
	held  map[uint64]*heldPacket

	batches atomic.Int64 // sends of more than one packet
	largest atomic.Int64 // bytes in one send
	notices atomic.Int64
	modern  bool
	sizes   map[uint64]int // largest packet to a node
	window  uint64         // of streams, fixed; 0: as usual
	silent  atomic.Bool    // no notices
	carrier map[uint64]*Carrier
}

type heldPacket struct {
	src, dst Endpoint
	b        []byte
	ecn      uint8
}

func newMesh(t testing.TB, basic bool) *testMesh {
	return &testMesh{
		t: t, basic: basic, modern: true,
		nodes:   make(map[uint64]func(src, dst Endpoint, b []byte, ecn uint8) bool),
		carrier: make(map[uint64]*Carrier),
		sizes:   make(map[uint64]int),
		held:    make(map[uint64]*heldPacket),
	}
}

func (m *testMesh) send(src, dst Endpoint, b []byte, segment int, ecn uint8) {
	if len(b) > segment {
		m.batches.Add(1)
	}
	for {
		old := m.largest.Load()
		if int64(len(b)) <= old || m.largest.CompareAndSwap(old, int64(len(b))) {
			break
		}
	}
	m.mu.Lock()
	m.sizes[dst.Node()] = max(m.sizes[dst.Node()], segment)
	deliver := m.nodes[dst.Node()]
	sender := m.carrier[src.Node()]
	m.mu.Unlock()
	for len(b) > 0 {
		n := min(segment, len(b))
		p := b[:n]
		b = b[n:]
		if deliver == nil || (m.loss > 0 && rand.Float64() < m.loss) {
			continue
		}
		if m.reorder > 0 {
			m.mu.Lock()
			was := m.held[dst.Node()]
			delete(m.held, dst.Node())
			hold := was == nil && rand.Float64() < m.reorder
			if hold {
				m.held[dst.Node()] = &heldPacket{src, dst, bytes.Clone(p), ecn}
			}
			m.mu.Unlock()
			if was != nil {
				defer deliver(was.src, was.dst, was.b, was.ecn)
			}
			if hold {
				continue
			}
		}
		if !deliver(src, dst, p, ecn) && !m.silent.Load() {
			m.notices.Add(1)
			if sender != nil {
				// As a node would: asynchronously, after a way through the mesh.
				go sender.Unreachable(src, dst, ErrServiceUnknown)
			}
		}
	}
}

func (m *testMesh) largestTo(node uint64) int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.sizes[node]
}

func (m *testMesh) attach(node uint64, deliver func(src, dst Endpoint, b []byte, ecn uint8) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes[node] = deliver
}

// node starts a carrier, which the test's end closes. One that had the same id
// is cut off, as if its process had been killed.
func (m *testMesh) node(id uint64) *Carrier {
	m.t.Helper()
	var c *Carrier
	c, err := New(Config{
		NodeID: fmt.Sprint(id), Self: id, Basic: m.basic,
		Send: func(src, dst Endpoint, b []byte, segment int, ecn uint8) {
			m.mu.RLock()
			alive := m.carrier[id] == c
			m.mu.RUnlock()
			if alive {
				m.send(src, dst, b, segment, ecn)
			}
		},
		ResetKey: [32]byte{byte(id)},
		Modern:   func(node uint64) bool { return m.modern && node < 9 },
		Name:     func(node uint64) string { return fmt.Sprint(node) },
		Logger:   hclog.NewNullLogger(),
	})
	if err != nil {
		m.t.Fatal(err)
	}
	if m.window > 0 {
		c.initialWindow, c.maxWindow = m.window, m.window
	}
	if err := c.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.mu.Lock()
	m.carrier[id] = c
	m.nodes[id] = c.Deliver
	m.mu.Unlock()
	m.t.Cleanup(func() { _ = c.Close() })
	return c
}

// service pads a name.
func svc(name string) (s [8]byte) {
	copy(s[:], name)
	return s
}

// pair is two nodes and a service on the second.
type pair struct {
	m    *testMesh
	a, b *Carrier
	l    *Listener
	to   Endpoint
}

func newPair(t testing.TB, basic bool) *pair {
	return newMesh(t, basic).pair()
}

func (m *testMesh) pair() *pair {
	p := &pair{m: m, a: m.node(1), b: m.node(2), to: MakeEndpoint(2, svc("echo"))}
	p.l = listen(m.t, p.b, "echo")
	return p
}

func listen(t testing.TB, c *Carrier, name string) *Listener {
	t.Helper()
	l, err := c.Listen(svc(name))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// ctx ends long after anything here should have happened.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// accept takes the next stream of a listener.
func accept(ctx context.Context, l *Listener) (*Stream, error) {
	in, err := l.Next(ctx)
	if err != nil {
		return nil, err
	}
	return in.Accept()
}

// streams opens a stream from a to the service.
func (p *pair) open(t testing.TB) (dialled, accepted *Stream) {
	t.Helper()
	return openStream(t, p.a, p.l, p.to)
}

func openStream(t testing.TB, from *Carrier, l *Listener, to Endpoint) (dialled, accepted *Stream) {
	t.Helper()
	ctx := testContext(t)
	type result struct {
		s   *Stream
		err error
	}
	got := make(chan result, 1)
	go func() {
		s, err := accept(ctx, l)
		got <- result{s, err}
	}()
	dialled, err := from.Dial(ctx, to)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	r := <-got
	if r.err != nil {
		t.Fatalf("accept: %v", r.err)
	}
	return dialled, r.s
}

// modes runs a test with both packet connections.
func modes(t *testing.T, f func(t *testing.T, basic bool)) {
	t.Parallel()
	for _, basic := range []bool{false, true} {
		name := "fast"
		if basic {
			name = "basic"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, basic)
		})
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

// pattern is bytes that depend on where they are.
type pattern struct{ at, size int }

func (p *pattern) Read(b []byte) (int, error) {
	if p.at == p.size {
		return 0, io.EOF
	}
	n := min(len(b), p.size-p.at)
	for i := range b[:n] {
		b[i] = byte((p.at + i) * 7 >> 3)
	}
	p.at += n
	return n, nil
}

// verify reads size bytes of the pattern and the end.
func verify(r io.Reader, size int) error {
	want := &pattern{size: size}
	got, expected := make([]byte, 64<<10), make([]byte, 64<<10)
	at := 0
	for {
		n, err := r.Read(got)
		if _, e := io.ReadFull(want, expected[:n]); e != nil && n > 0 {
			return fmt.Errorf("more than %d bytes", size)
		}
		if string(got[:n]) != string(expected[:n]) {
			return fmt.Errorf("wrong bytes between %d and %d", at, at+n)
		}
		at += n
		if err == io.EOF && at == size {
			return nil
		}
		if err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", at, size, err)
		}
	}
}

// TestMain fails when goroutines of ours or of quic-go outlive the tests.
func TestMain(m *testing.M) {
	code := m.Run()
	deadline := time.Now().Add(30 * time.Second)
	for code == 0 {
		left := leaked()
		if left == "" {
			break
		}
		if time.Now().After(deadline) {
			fmt.Fprintf(os.Stderr, "goroutines left:\n%s\n", left)
			code = 1
		}
		time.Sleep(10 * time.Millisecond)
	}
	os.Exit(code)
}

// leaked is the stacks of goroutines that belong to a carrier.
func leaked() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var left []string
	for _, g := range strings.Split(string(buf), "\n\n") {
		if strings.Contains(g, "leaked()") || strings.Contains(g, "streams.TestMain") {
			continue
		}
		if strings.Contains(g, "quic-go") || strings.Contains(g, "internal/streams") {
			left = append(left, g)
		}
	}
	return strings.Join(left, "\n\n")
}
