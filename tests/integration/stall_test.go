package integration

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

const (
	stalledStreams = 12
	stallRounds    = 3        // of free and stalled windows, taking turns
	stallSample    = 4 << 20  // of each other flow, in a window
	stallStart     = 1 << 20  // what half of the stalled streams carry before they stand still
	stallSocket    = 64 << 10 // of the applications' buffers of a stalled stream, else the kernel's may grow to tens of MiB
	stallBuffers   = 16 << 20 // more than a stream can fill: a window of 4 MiB, and the sockets on either side
	stallMemory    = 256 << 20
)

// T6: streams to an application that stops reading hold up nobody else, be it over the
// same nodes or over the same connection between them; they cost bounded memory, and
// lose nothing.
func TestStalledConsumerHoldsUpNobodyElse(t *testing.T) {
	echo, err := lab.Serve(lab.Echo)
	must(t, err)
	t.Cleanup(echo.Close)
	g := startGate(t)
	entry := freePort(t)
	ln := startLineOf(t, programs, echo.Addr(),
		[]string{"--tcp-server", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(entry), "remotenode=last", "remoteservice=held"},
		nil,
		[]string{"--tcp-client", "service=held", "address=" + g.app.Addr()})
	must(t, ln.WaitStatus(ln.ctx, "last", func(s *lab.Status) bool { return s.Item("tcp-client service=held").State == "up" }))
	cores := ln.cores(t)

	others := flows{startBulk(ln.ctx, t, ln.entry), startBulk(ln.ctx, t, lab.Local(entry))}
	others.rate(ln.ctx, t) // so the gate has its first connection
	memory := make([]int64, len(cores))
	for i, pid := range cores {
		memory[i] = resident(t, pid)
	}
	var free, stalled []float64
	for range stallRounds {
		free = append(free, others.rate(ln.ctx, t))
		var full []*pushed
		for range stalledStreams {
			full = append(full, startPushed(ln.ctx, t, lab.Local(entry)))
		}
		for last := int64(-1); last != sum(full); { // until the others get on, and none of these
			last = sum(full)
			others.rate(ln.ctx, t)
		}
		stalled = append(stalled, others.rate(ln.ctx, t))
		for i, p := range full {
			if n := p.sent.Load(); n > stallBuffers {
				t.Errorf("stalled stream %d took %d bytes", i, n)
			}
		}
		for i, pid := range cores {
			grown := resident(t, pid) - memory[i]
			t.Logf("core of %s: %d MiB more than at first, with %d MiB in stalled streams", ln.nodes[i], grown>>20, sum(full)>>20)
			if grown > stallMemory {
				t.Errorf("memory of the core of %s grew by %d bytes", ln.nodes[i], grown)
			}
		}
		for _, p := range full {
			close(p.stop)
		}
		g.letOn(ln.ctx, t, len(full))
		for i, p := range full {
			if err := p.finish(); err != nil {
				t.Errorf("stream %d after it stood still: %v", i, err)
			}
		}
	}
	for _, b := range others {
		b.end(t)
	}
	before, during := middle(free), middle(stalled)
	t.Logf("others' rate while %d consumers are stalled: %.0f %% of %.1f MB/s, medians of %d rounds",
		stalledStreams, 100*during/before, before/1e6, stallRounds)
}

// cores are the process IDs of the nodes' cores.
func (ln *line) cores(t *testing.T) []int {
	t.Helper()
	var pids []int
	for _, p := range ln.procs {
		children, err := lab.Children(p.PID())
		must(t, err)
		i := slices.IndexFunc(children, func(c lab.Child) bool { return c.Program == "receptor-core" })
		if i < 0 {
			t.Fatalf("%s (pid %d) has no core", p.Name, p.PID())
		}
		pids = append(pids, children[i].PID)
	}
	return pids
}

// middle is the median.
func middle(of []float64) float64 { return slices.Sorted(slices.Values(of))[len(of)/2] }

// flows are transfers at the same time.
type flows []*bulk

// rate is what comes back of all, in bytes a second, until each has got on by a
// sample.
func (f flows) rate(ctx context.Context, t *testing.T) float64 {
	t.Helper()
	first := make([]int64, len(f))
	for i, b := range f {
		first[i] = b.Bytes.Load()
	}
	start := time.Now()
	var sum int64
	for i, b := range f {
		for b.Bytes.Load() < first[i]+stallSample {
			select {
			case <-b.Done:
				t.Fatalf("transfer %d has ended: %v", i, b.Err)
			case <-ctx.Done():
				t.Fatalf("transfer %d got on by %d bytes: %v", i, b.Bytes.Load()-first[i], ctx.Err())
			case <-time.After(pause):
			}
		}
	}
	took := time.Since(start)
	for i, b := range f {
		sum += b.Bytes.Load() - first[i]
	}
	return float64(sum) / took.Seconds()
}

// gate is an application that echoes its first connection. Of all others it reads
// nothing, of every second one a start, until they are let on: then it reads to
// the end and answers with the digest of it all.
type gate struct {
	app   *lab.Server
	count atomic.Int64 // of connections
	on    chan struct{}
}

func startGate(t *testing.T) *gate {
	t.Helper()
	g := &gate{on: make(chan struct{})}
	var err error
	g.app, err = lab.Serve(g.serve)
	must(t, err)
	t.Cleanup(g.app.Close)
	t.Cleanup(func() { close(g.on) }) // before that
	return g
}

func (g *gate) serve(c *net.TCPConn) {
	n := g.count.Add(1)
	if n == 1 {
		lab.Echo(c)
		return
	}
	if err := c.SetReadBuffer(stallSocket); err != nil {
		return
	}
	h := sha256.New()
	if _, err := io.CopyN(h, c, n%2*stallStart); err != nil {
		return
	}
	<-g.on
	if _, err := io.Copy(h, c); err != nil {
		return
	}
	if _, err := io.WriteString(c, hex.EncodeToString(h.Sum(nil))); err == nil {
		_ = c.CloseWrite()
	}
}

// letOn lets so many connections on.
func (g *gate) letOn(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	for range n {
		select {
		case g.on <- struct{}{}:
		case <-ctx.Done():
			t.Fatal("not all streams have reached their application")
		}
	}
}

// pushed is a stream into which goes what it takes, until it is stopped.
type pushed struct {
	conn *net.TCPConn
	sent atomic.Int64
	hash hash.Hash
	stop chan struct{}
	done chan error
}

func startPushed(ctx context.Context, t *testing.T, addr string) *pushed {
	t.Helper()
	c, err := lab.DialWait(ctx, addr)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	end, _ := ctx.Deadline()
	must(t, c.SetDeadline(end))
	must(t, c.SetWriteBuffer(stallSocket))
	p := &pushed{conn: c, hash: sha256.New(), stop: make(chan struct{}), done: make(chan error, 1)}
	go func() { p.done <- p.push() }()
	return p
}

func (p *pushed) push() error {
	src := rand.NewChaCha8([32]byte{2})
	buf := make([]byte, lab.BulkChunk)
	for {
		select {
		case <-p.stop:
			return p.conn.CloseWrite()
		default:
		}
		_, _ = src.Read(buf) // never fails
		p.hash.Write(buf)
		n, err := p.conn.Write(buf)
		p.sent.Add(int64(n))
		if err != nil {
			return fmt.Errorf("push after %d bytes: %w", p.sent.Load(), err)
		}
	}
}

// finish compares what arrived, once the stream is stopped.
func (p *pushed) finish() error {
	if err := <-p.done; err != nil {
		return err
	}
	answer, err := io.ReadAll(p.conn)
	if err != nil {
		return err
	}
	if want := hex.EncodeToString(p.hash.Sum(nil)); string(answer) != want {
		return fmt.Errorf("of %d bytes the digest is %q, expected %s", p.sent.Load(), answer, want)
	}
	return nil
}

// sum is what streams took.
func sum(of []*pushed) (n int64) {
	for _, p := range of {
		n += p.sent.Load()
	}
	return n
}
