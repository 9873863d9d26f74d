package integration

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// way is nodes with an address at the first that leads to an application behind
// the last.
type way struct {
	*lab.Lab
	ctx   context.Context
	entry string
}

// wayTo starts nodes whose last one connects to target.
type wayTo func(t *testing.T, target string) *way

func (w *way) dial(t *testing.T) *net.TCPConn {
	t.Helper()
	c, err := lab.DialWait(w.ctx, w.entry)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	deadline, _ := w.ctx.Deadline()
	c.SetDeadline(deadline)
	return c
}

// line is three nodes in a line, each by one receptor command.
type line struct {
	way
	nodes  []string // first to last
	links  []int    // listening ports of the first and the second
	starts []func() *lab.Process
	procs  []*lab.Process // the launchers
}

// startLine starts a line whose last node connects to target.
func startLine(t *testing.T, target string) *line {
	t.Helper()
	return startLineOf(t, programs, target)
}

// startLineOf is startLine with other programs, and with more items of the first
// node, the middle and the last.
func startLineOf(t *testing.T, p lab.Programs, target string, more ...[]string) *line {
	t.Helper()
	l, ctx := newLabOf(t, p)
	entry := freePort(t)
	ln := &line{way: way{l, ctx, lab.Local(entry)}, nodes: []string{"first", "middle", "last"}}
	ln.links = []int{freePort(t), freePort(t)}
	args := [][]string{
		{
			"--node", "id=first", "--tcp-listener", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(ln.links[0]),
			"--tcp-server", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(entry), "remotenode=last", "remoteservice=app",
		},
		{
			"--node", "id=middle", "--tcp-peer", "address=" + lab.Local(ln.links[0]),
			"--tcp-listener", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(ln.links[1]),
		},
		{
			"--node", "id=last", "--tcp-peer", "address=" + lab.Local(ln.links[1]),
			"--tcp-client", "service=app", "address=" + target,
		},
	}
	for i, a := range args {
		if i < len(more) {
			a = append(a, more[i]...)
		}
		start := func() *lab.Process {
			p, err := l.Start("receptor", a...)
			must(t, err)
			return p
		}
		ln.starts = append(ln.starts, start)
		ln.procs = append(ln.procs, start())
	}
	ln.waitUp(t)
	return ln
}

// waitUp waits until the ends know each other and the service is bound.
func (ln *line) waitUp(t *testing.T) {
	t.Helper()
	must(t, ln.WaitRoute(ln.ctx, "first", "last"))
	must(t, ln.WaitRoute(ln.ctx, "last", "first"))
	must(t, ln.WaitStatus(ln.ctx, "last", func(s *lab.Status) bool { return s.Item("tcp-client service=app").State == "up" }))
}

// overLine leads over a line of these programs.
func overLine(p lab.Programs) wayTo {
	return func(t *testing.T, target string) *way { return &startLineOf(t, p, target).way }
}

func TestLineHalfClose(t *testing.T) { halfClose(t, overLine(programs), 64<<20) }

// halfClose sends so much, and its end, and gets the answer after that.
func halfClose(t *testing.T, start wayTo, size int64) {
	t.Helper()
	app, err := lab.Serve(lab.Digest)
	must(t, err)
	defer app.Close()
	c := start(t, app.Addr()).dial(t)
	src, hash := lab.Source(size, 3)
	_, err = io.Copy(c, src)
	must(t, err)
	must(t, c.CloseWrite())
	answer, err := io.ReadAll(c)
	must(t, err)
	if want := hex.EncodeToString(hash.Sum(nil)); string(answer) != want {
		t.Errorf("the answer after the half-close is %q, expected %s", answer, want)
	}
}

func TestLineManyStreams(t *testing.T) {
	const streams = 500
	app, err := lab.Serve(lab.Echo)
	must(t, err)
	defer app.Close()
	ln := startLine(t, app.Addr())

	// All are open, each with an answered byte, before any is closed.
	conns := make([]*net.TCPConn, streams)
	errs := make([]error, streams)
	var open sync.WaitGroup
	atOnce := make(chan struct{}, 50)
	for i := range conns {
		atOnce <- struct{}{}
		open.Go(func() {
			defer func() { <-atOnce }()
			conns[i], errs[i] = openStream(ln, fmt.Sprintf("open %d", i))
		})
	}
	open.Wait()
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	must(t, errors.Join(errs...))
	for i, c := range conns {
		if err := lab.Exchange(c, fmt.Sprintf("still open %d", i)); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
	}
}

// openStream opens a connection through the line and exchanges text on it.
func openStream(ln *line, text string) (*net.TCPConn, error) {
	c, err := lab.DialWait(ln.ctx, ln.entry)
	if err != nil {
		return nil, err
	}
	deadline, _ := ln.ctx.Deadline()
	c.SetDeadline(deadline)
	return c, lab.Exchange(c, text)
}

func TestLineResetIsAReset(t *testing.T) { farReset(t, overLine(programs)) }

// farReset has the far application reset what it has answered in part.
func farReset(t *testing.T, start wayTo) {
	t.Helper()
	app, err := lab.Serve(func(c *net.TCPConn) {
		var b [5]byte
		if _, err := io.ReadFull(c, b[:]); err != nil {
			return
		}
		if _, err := c.Write([]byte("partial")); err != nil {
			return
		}
		// The near end must have the part before the reset, or TCP itself may drop it.
		if _, err := io.ReadFull(c, b[:1]); err != nil {
			return
		}
		c.SetLinger(0)
	})
	must(t, err)
	defer app.Close()
	c := start(t, app.Addr()).dial(t)
	_, err = io.WriteString(c, "start")
	must(t, err)
	part := make([]byte, len("partial"))
	_, err = io.ReadFull(c, part)
	must(t, err)
	_, err = io.WriteString(c, "!")
	must(t, err)
	expectReset(t, c)
}

// expectReset reads on and fails unless the connection ends by a reset.
func expectReset(t *testing.T, c net.Conn) {
	t.Helper()
	n, err := io.Copy(io.Discard, c)
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after %d more bytes the connection ended with %v, expected a reset", n, err)
	}
}

func TestLineNearResetIsAReset(t *testing.T) { nearReset(t, overLine(programs)) }

// nearReset resets the near application's connection, which is a reset at the far
// one, too.
func nearReset(t *testing.T, start wayTo) {
	t.Helper()
	ended := make(chan error, 1)
	app, err := lab.Serve(func(c *net.TCPConn) {
		if err := exchangeBack(c); err != nil {
			ended <- err
			return
		}
		_, err := io.Copy(io.Discard, c)
		ended <- err
	})
	must(t, err)
	defer app.Close()
	c := start(t, app.Addr()).dial(t)
	must(t, lab.Exchange(c, "hello"))
	must(t, c.SetLinger(0))
	must(t, c.Close())
	select {
	case err := <-ended:
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the far application's connection ended with %v, expected a reset", err)
		}
	case <-time.After(patience):
		t.Error("the far application never heard of the reset")
	}
}

// exchangeBack echoes what exchange sends as one short text.
func exchangeBack(c net.Conn) error {
	b := make([]byte, 64)
	n, err := c.Read(b)
	if err != nil {
		return err
	}
	_, err = c.Write(b[:n])
	return err
}
