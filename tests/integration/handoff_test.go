package integration

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// bulkSize is that of transfers during which programs are killed.
var bulkSize = flag.Int64("bulk", 1<<30, "bytes of the transfer in TestPlugsKilledInTransfer, an eighth with the race detector")

// serveBulk serves the same bytes to each connection, and says their digest.
func serveBulk(t *testing.T, size int64) (app *lab.Server, digest string) {
	t.Helper()
	src, hash := lab.Source(size, 7)
	_, err := io.Copy(io.Discard, src)
	must(t, err)
	app, err = lab.Serve(func(c *net.TCPConn) {
		src, _ := lab.Source(size, 7)
		if _, err := io.Copy(c, src); err == nil {
			_ = c.CloseWrite()
		}
	})
	must(t, err)
	t.Cleanup(app.Close)
	return app, hex.EncodeToString(hash.Sum(nil))
}

// fetch reads a connection to its end, calls at once when so many bytes have come,
// and returns the digest and the longest time without a byte.
func fetch(t *testing.T, c net.Conn, after int64, call func()) (digest string, pause time.Duration) {
	t.Helper()
	h := sha256.New()
	buf := make([]byte, 64<<10)
	last := time.Now()
	for n := int64(0); ; {
		k, err := c.Read(buf)
		if now := time.Now(); k > 0 {
			pause = max(pause, now.Sub(last))
			last = now
		}
		h.Write(buf[:k])
		if n < after && n+int64(k) >= after {
			call()
		}
		n += int64(k)
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(h.Sum(nil)), pause
		}
		if err != nil {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
}

// The backends and proxies of all nodes are killed in the middle of a transfer:
// what was handed over goes on, byte for byte, and the plugs come back.
func TestPlugsKilledInTransfer(t *testing.T) {
	t.Run("race detector", func(t *testing.T) { killPlugsInTransfer(t, programs, *bulkSize/8) })
	t.Run("full size", func(t *testing.T) {
		p, err := plain()
		must(t, err)
		killPlugsInTransfer(t, p, *bulkSize)
	})
}

// longestPause is ten times what a transfer may stand still.
const longestPause = 10 * time.Second

func killPlugsInTransfer(t *testing.T, p lab.Programs, size int64) {
	app, want := serveBulk(t, size)
	ln := startLineOf(t, p, app.Addr())
	c := ln.dial(t)
	var killing sync.WaitGroup
	start := time.Now()
	digest, pause := fetch(t, c, size/3, func() {
		killing.Go(func() {
			for _, k := range []struct {
				node    int
				program string
			}{
				{0, "receptor-backend-tcp"},
				{0, "receptor-proxy-tcp"},
				{1, "receptor-backend-tcp"},
				{2, "receptor-backend-tcp"},
				{2, "receptor-proxy-tcp"},
			} {
				ln.kill(t, k.node, k.program)
			}
		})
	})
	took := time.Since(start)
	killing.Wait()
	if digest != want {
		t.Errorf("the transfer has digest %s, expected %s", digest, want)
	}
	if pause > longestPause {
		t.Errorf("the transfer stood still for %v", pause)
	}
	t.Logf("%d MiB in %.1f s, longest pause %v", size>>20, took.Seconds(), pause.Round(time.Millisecond))
	ln.waitUp(t)
	// A new connection works, through the plugs that came back.
	src, hash := lab.Source(1<<20, 7)
	_, err := io.Copy(io.Discard, src)
	must(t, err)
	next := sha256.New()
	_, err = io.CopyN(next, ln.dial(t), 1<<20)
	must(t, err)
	if got, want := hex.EncodeToString(next.Sum(nil)), hex.EncodeToString(hash.Sum(nil)); got != want {
		t.Errorf("the start of the next transfer has digest %s, expected %s", got, want)
	}
}

// pair is two nodes, near and far, whose programs are started by hand.
type pair struct {
	way
	parts
	t     *testing.T
	link  string                  // where the near node takes links
	procs map[string]*lab.Process // "near receptor-proxy-tcp"
}

// parts is what a pair is made of.
type parts struct {
	of     map[string]lab.Programs // programs by node
	medium string                  // of the link
	items  map[string][]string     // by node, beside those of the link and the stream
	plugs  []string                // of both nodes, beside those of the link and the stream
	args   []string                // of every plug
	change func(*exec.Cmd)         // of every command, or nil
}

// The plugs of a pair.
const (
	nearBackend = "near receptor-backend-tcp"
	nearProxy   = "near receptor-proxy-tcp"
	farBackend  = "far receptor-backend-tcp"
	farProxy    = "far receptor-proxy-tcp"
)

func startPair(t *testing.T, target string, plugArgs ...string) *pair {
	t.Helper()
	return startPairOf(t, programs, target, plugArgs...)
}

// startPairOf is startPair with other programs.
func startPairOf(t *testing.T, programs lab.Programs, target string, plugArgs ...string) *pair {
	t.Helper()
	return startPairOver(t, programs, target, "tcp", freePort(t), plugArgs...)
}

// startPairOver is startPairOf with a link over that medium, at that port.
func startPairOver(t *testing.T, programs lab.Programs, target, medium string, link int, plugArgs ...string) *pair {
	t.Helper()
	l, ctx := newLabOf(t, programs)
	return startParts(t, l, ctx, target, link, parts{
		of: map[string]lab.Programs{"near": programs, "far": programs}, medium: medium, args: plugArgs,
	})
}

// startParts starts a pair of these parts in a lab.
func startParts(t *testing.T, l *lab.Lab, ctx context.Context, target string, link int, of parts) *pair {
	t.Helper()
	entry := freePort(t)
	p := &pair{way: way{l, ctx, lab.Local(entry)}, parts: of, t: t, link: lab.Local(link), procs: map[string]*lab.Process{}}
	address := p.link
	if p.medium == "ws" {
		address = "ws://" + address
	}
	items := map[string][]string{
		"near": {
			"--" + p.medium + "-listener", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(link),
			"--tcp-server", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(entry), "remotenode=far", "remoteservice=app",
		},
		"far": {"--" + p.medium + "-peer", "address=" + address, "--tcp-client", "service=app", "address=" + target},
	}
	p.items = map[string][]string{}
	for node, link := range items {
		p.items[node] = slices.Concat([]string{"--node", "id=" + node}, link, of.items[node])
		p.core(node)
		for _, plug := range append([]string{"receptor-backend-" + p.medium, "receptor-proxy-tcp"}, p.plugs...) {
			p.plug(node, plug)
		}
	}
	must(t, l.WaitRoute(ctx, "near", "far"))
	must(t, l.WaitRoute(ctx, "far", "near"))
	p.waitUp()
	return p
}

// core starts the core of a node, in place of the one before.
func (p *pair) core(node string) {
	p.t.Helper()
	p.start(node, "receptor-core", p.items[node]...)
}

// start starts a program of a node, in place of the one before.
func (p *pair) start(node, program string, args ...string) {
	p.t.Helper()
	proc, err := p.StartOf(p.of[node], p.change, program, args...)
	must(p.t, err)
	p.procs[node+" "+program] = proc
}

// waitUp waits until the proxies of both nodes are there.
func (p *pair) waitUp() {
	p.t.Helper()
	for node, item := range map[string]string{"near": "tcp-server", "far": "tcp-client service=app"} {
		must(p.t, p.WaitStatus(p.ctx, node, func(s *lab.Status) bool { return s.Item(item).State == "up" }))
	}
}

// plug starts a plug of a node, in place of the one before.
func (p *pair) plug(node, program string, more ...string) {
	p.t.Helper()
	p.start(node, program, slices.Concat([]string{"--socket", p.PlugSocket(node)}, p.args, more)...)
}

// A relayed stream cannot outlive its plug: a proxy that is killed, at either
// end, is a reset at both applications, and the next stream works.
func TestRelayedStreamEndsWithItsPlug(t *testing.T) {
	for _, node := range []string{"near", "far"} {
		t.Run(node+" proxy", func(t *testing.T) {
			app, farEnd := serveEndless(t)
			p := startPair(t, app.Addr(), "--no-handoff")
			for range 2 {
				c, err := lab.DialWait(p.ctx, p.entry)
				must(t, err)
				defer c.Close()
				must(t, c.SetDeadline(time.Now().Add(patience)))
				_, err = io.CopyN(io.Discard, c, 8<<20)
				must(t, err)
				p.procs[node+" receptor-proxy-tcp"].Kill()
				expectReset(t, c)
				expectEnd(p.ctx, t, farEnd)
				p.plug(node, "receptor-proxy-tcp")
				p.waitUp()
			}
		})
	}
}
