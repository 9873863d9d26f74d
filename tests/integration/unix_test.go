package integration

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// unixPair is two nodes, by hand, that carry one Unix socket to another.
type unixPair struct {
	*lab.Lab
	ctx       context.Context
	t         *testing.T
	entry     string // of the near node
	relay     bool
	near, far *lab.Process // the proxies
}

func startUnixPair(t *testing.T, relay bool, serve func(*net.UnixConn)) *unixPair {
	t.Helper()
	l, ctx := newLab(t)
	p := &unixPair{Lab: l, ctx: ctx, t: t, relay: relay, entry: filepath.Join(l.Dir, "entry")}
	target := filepath.Join(l.Dir, "target")
	listener, err := net.Listen("unix", target)
	must(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				serve(c.(*net.UnixConn))
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		serving.Wait()
	})
	link := freePort(t)
	for node, items := range map[string][]string{
		"near": append(listens(link), "--unix-socket-server", "filename="+p.entry, "permissions=0666", "remotenode=far", "remoteservice=app"),
		"far":  append(dials(link), "--unix-socket-client", "filename="+target, "service=app"),
	} {
		_, err := l.Start("receptor-core", append([]string{"--node", "id=" + node}, items...)...)
		must(t, err)
		_, err = l.Start("receptor-backend-tcp", "--socket", l.PlugSocket(node))
		must(t, err)
	}
	p.near, p.far = p.proxy("near"), p.proxy("far")
	must(t, l.WaitRoute(ctx, "near", "far"))
	must(t, l.WaitStatus(ctx, "far", func(s *lab.Status) bool { return s.Item("unix-socket-client service=app").State == "up" }))
	must(t, l.WaitStatus(ctx, "near", func(s *lab.Status) bool { return s.Item("unix-socket-server filename="+p.entry).State == "up" }))
	return p
}

func (p *unixPair) proxy(node string, more ...string) *lab.Process {
	p.t.Helper()
	args := append([]string{"--socket", p.PlugSocket(node)}, more...)
	if p.relay {
		args = append(args, "--no-handoff")
	}
	proc, err := p.Start("receptor-proxy-tcp", args...)
	must(p.t, err)
	return proc
}

func (p *unixPair) dial() (*net.UnixConn, error) {
	c, err := net.Dial("unix", p.entry)
	if err != nil {
		return nil, err
	}
	deadline, _ := p.ctx.Deadline()
	return c.(*net.UnixConn), c.SetDeadline(deadline)
}

// ask sends a question and its end, and reads the answer and its end.
func (p *unixPair) ask(c *net.UnixConn, question string) (string, error) {
	if _, err := io.WriteString(c, question); err != nil {
		return "", err
	}
	if err := c.CloseWrite(); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(c)
	return string(answer), errors.Join(err, c.Close())
}

// answerAfterEnd answers when the question is whole.
func answerAfterEnd(c *net.UnixConn) {
	question, err := io.ReadAll(c)
	if err == nil {
		_, err = io.WriteString(c, "answer to "+string(question))
	}
	if err == nil {
		_ = c.CloseWrite()
	}
}

// Each direction ends by itself, as with TCP, be it relayed or handed over.
func TestUnixSockets(t *testing.T) {
	t.Parallel()
	for name, relay := range map[string]bool{"hand-off": false, "relay": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startUnixPair(t, relay, answerAfterEnd)
			c, err := p.dial()
			must(t, err)
			if got, err := p.ask(c, "a question"); err != nil || got != "answer to a question" {
				t.Errorf("got %q, %v", got, err)
			}
			if i, err := os.Stat(p.entry); err != nil || i.Mode().Perm() != 0o666 {
				t.Errorf("mode %v, %v", i.Mode(), err)
			}
		})
	}
}

// The target ends first, and still hears what follows.
func TestUnixSocketsEndAtTheTarget(t *testing.T) {
	t.Parallel()
	heard := make(chan string, 1)
	p := startUnixPair(t, false, func(c *net.UnixConn) {
		_, _ = io.WriteString(c, "greeting")
		_ = c.CloseWrite()
		rest, _ := io.ReadAll(c)
		heard <- string(rest)
	})
	c, err := p.dial()
	must(t, err)
	if got, err := io.ReadAll(c); err != nil || string(got) != "greeting" {
		t.Fatalf("got %q, %v", got, err)
	}
	if _, err := p.ask(c, "after the end"); err != nil {
		t.Error(err)
	}
	select {
	case got := <-heard:
		if got != "after the end" {
			t.Errorf("the target heard %q", got)
		}
	case <-p.ctx.Done():
		t.Error("the target heard nothing")
	}
}

// The proxies are stopped, replaced and killed: whoever connects waits, and what
// was handed over goes on.
func TestReplacedUnixProxies(t *testing.T) {
	t.Parallel()
	p := startUnixPair(t, false, answerAfterEnd)
	for _, how := range []string{"stop", "takeover", "kill"} {
		stands, err := p.dial()
		must(t, err)
		_, err = io.WriteString(stands, "before, ")
		must(t, err)
		must(t, p.WaitStatus(p.ctx, "far", func(s *lab.Status) bool { return len(s.Streams) > 0 })) // it is carried
		switch near, far := p.near, p.far; how {
		case "stop":
			must(t, near.Stop())
			must(t, far.Stop())
		case "takeover":
			p.near, p.far = p.proxy("near", "--takeover"), p.proxy("far", "--takeover")
			must(t, near.WaitOutput(p.ctx, "takes over"))
			must(t, far.WaitOutput(p.ctx, "takes over"))
			must(t, near.Stop())
			must(t, far.Stop())
		case "kill":
			near.Kill()
			far.Kill()
		}
		waits, err := p.dial()
		must(t, err)           // there is nobody, and it is not refused
		if how != "takeover" { // one that is stopped in order gives its service up
			p.far = p.proxy("far")
			must(t, p.WaitStatus(p.ctx, "far", func(s *lab.Status) bool { return s.Item("unix-socket-client").State == "up" }))
			p.near = p.proxy("near")
		}
		if got, err := p.ask(waits, "waited"); err != nil || got != "answer to waited" {
			t.Errorf("%s: who waited got %q, %v", how, got, err)
		}
		if got, err := p.ask(stands, "and after"); err != nil || got != "answer to before, and after" {
			t.Errorf("%s: who stood got %q, %v", how, got, err)
		}
	}
}

// A relay that is killed ends its connections: whoever has a Unix socket cannot be
// told that it was no clean end, but an answer that was asked for does not come.
func TestKilledUnixRelay(t *testing.T) {
	t.Parallel()
	p := startUnixPair(t, true, answerAfterEnd)
	c, err := p.dial()
	must(t, err)
	_, err = io.WriteString(c, "half a quest")
	must(t, err)
	must(t, p.WaitStatus(p.ctx, "far", func(s *lab.Status) bool { return len(s.Streams) > 0 }))
	p.near.Kill()
	start := time.Now()
	if got, err := io.ReadAll(c); len(got) > 0 {
		t.Errorf("got %q, %v", got, err)
	}
	t.Logf("the end came after %v", time.Since(start))
	p.near = p.proxy("near")
	for {
		c, err := p.dial()
		if err == nil {
			var got string
			if got, err = p.ask(c, "again"); err == nil && got == "answer to again" {
				return
			}
		}
		must(t, lab.Pause(p.ctx, lab.PollEvery))
	}
}
