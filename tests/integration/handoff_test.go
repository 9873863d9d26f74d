package integration

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// bulkSize is small enough for every run with the race detector; a run by hand
// may ask for more.
var bulkSize = flag.Int64("bulk", 192<<20, "bytes of the transfers during which programs are killed")

// serveBulk serves the same bytes to each connection, and says their digest.
func serveBulk(t *testing.T) (app *lab.Server, digest string) {
	t.Helper()
	src, hash := lab.Source(*bulkSize, 7)
	_, err := io.Copy(io.Discard, src)
	must(t, err)
	app, err = lab.Serve(func(c *net.TCPConn) {
		src, _ := lab.Source(*bulkSize, 7)
		if _, err := io.Copy(c, src); err == nil {
			_ = c.CloseWrite()
		}
	})
	must(t, err)
	t.Cleanup(app.Close)
	return app, hex.EncodeToString(hash.Sum(nil))
}

// fetch reads a connection to its end, calls at once when a third has come, and
// returns the digest and the longest time without a byte.
func fetch(t *testing.T, c net.Conn, third func()) (digest string, pause time.Duration) {
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
		if n < *bulkSize/3 && n+int64(k) >= *bulkSize/3 {
			third()
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
	app, want := serveBulk(t)
	ln := startLine(t, app.Addr())
	c := ln.dial(t)
	var killing sync.WaitGroup
	digest, pause := fetch(t, c, func() {
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
	killing.Wait()
	if digest != want {
		t.Errorf("the transfer has digest %s, expected %s", digest, want)
	}
	t.Logf("longest pause %v", pause.Round(time.Millisecond))
	ln.waitUp(t)
	// A new connection works, through the plugs that came back.
	if digest, _ := fetch(t, ln.dial(t), func() {}); digest != want {
		t.Errorf("the next transfer has digest %s, expected %s", digest, want)
	}
}

// pair is two nodes whose programs are started by hand, with a port at the near
// one that leads to an application behind the far one.
type pair struct {
	*lab.Lab
	t     *testing.T
	ctx   context.Context
	entry string                  // address at the near node
	link  string                  // where the near node takes links
	procs map[string]*lab.Process // "near receptor-proxy-tcp"
	args  []string                // of every plug
}

// The proxies of a pair.
const (
	nearProxy = "near receptor-proxy-tcp"
	farProxy  = "far receptor-proxy-tcp"
)

func startPair(t *testing.T, target string, plugArgs ...string) *pair {
	t.Helper()
	l, ctx := newLab(t)
	entry, link := freePort(t), freePort(t)
	p := &pair{Lab: l, t: t, ctx: ctx, entry: lab.Local(entry), link: lab.Local(link), procs: map[string]*lab.Process{}, args: plugArgs}
	for node, items := range map[string][]string{
		"near": {
			"--tcp-listener", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(link),
			"--tcp-server", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(entry), "remotenode=far", "remoteservice=app",
		},
		"far": {"--tcp-peer", "address=" + p.link, "--tcp-client", "service=app", "address=" + target},
	} {
		_, err := l.Start("receptor-core", append([]string{"--node", "id=" + node}, items...)...)
		must(t, err)
		p.plug(node, "receptor-backend-tcp")
		p.plug(node, "receptor-proxy-tcp")
	}
	must(t, l.WaitRoute(ctx, "near", "far"))
	must(t, l.WaitRoute(ctx, "far", "near"))
	p.waitUp()
	return p
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
	args := append([]string{"--socket", p.PlugSocket(node)}, p.args...)
	proc, err := p.Start(program, append(args, more...)...)
	must(p.t, err)
	p.procs[node+" "+program] = proc
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
