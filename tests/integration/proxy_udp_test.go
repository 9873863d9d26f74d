package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// udpEcho answers each datagram with what it was sent and by whom, until the test ends.
func udpEcho(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	echoOn(t, c)
	return c
}

// echoOn is udpEcho on a socket, which it owns.
func echoOn(t *testing.T, c *net.UDPConn) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = c.WriteToUDPAddrPort(b[:n], from) // or the asker asks again
			}
		}
	}()
	t.Cleanup(func() {
		_ = c.Close()
		<-done
	})
}

// ask sends a datagram until its answer comes: datagrams may be lost.
func ask(ctx context.Context, c *net.UDPConn, b []byte) error {
	got := make([]byte, 1<<16)
	for ctx.Err() == nil {
		if _, err := c.Write(b); err != nil && !isRefused(err) {
			return err
		}
		if err := c.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			return err
		}
		for {
			n, err := c.Read(got)
			if err == nil && bytes.Equal(got[:n], b) {
				return nil
			}
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !isRefused(err) {
				return err
			}
			if err != nil {
				break
			}
		}
	}
	return fmt.Errorf("no answer to %d bytes: %w", len(b), context.Cause(ctx))
}

// isRefused tells whether a socket has heard that nobody listens at the other end.
func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// Datagrams of many applications go over three nodes to one and come back, each to who
// has asked; sizes up to the largest that UDP links take; over kills of the plugs.
func TestUDPProxies(t *testing.T) {
	t.Parallel()
	l, ctx := newLab(t)
	echo := udpEcho(t)
	ab, bc := freePort(t), freePort(t)
	entry, err := lab.FreeUDPPort()
	must(t, err)
	start := func(id string, items ...string) *lab.Process {
		p, err := l.Start("receptor", append([]string{"--node", "id=" + id}, items...)...)
		must(t, err)
		return p
	}
	first := start("a", append(listens(ab), "--udp-inbound-proxy", "port="+strconv.Itoa(entry), "bindaddr=127.0.0.1", "remotenode=c", "remoteservice=echo")...)
	start("b", append(dials(ab), listens(bc)...)...)
	last := start("c", append(dials(bc), "--udp-outbound-proxy", "service=echo", "address="+echo.LocalAddr().String())...)
	must(t, l.WaitRoute(ctx, "a", "c"))
	must(t, l.WaitStatus(ctx, "c", func(s *lab.Status) bool { return s.Item("udp-client service=echo").State == "up" }))

	app := func() *net.UDPConn {
		c, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: entry})
		must(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	c := app()
	for _, size := range []int{0, 1, 1200, 9000, 65471} {
		must(t, ask(ctx, c, bytes.Repeat([]byte{byte(size)}, size)))
	}
	many := make(chan error)
	for i := range 50 {
		c := app()
		go func() {
			var err error
			for j := range 10 {
				err = errors.Join(err, ask(ctx, c, fmt.Appendf(nil, "application %d, question %d", i, j)))
			}
			many <- err
		}()
	}
	for range 50 {
		must(t, <-many)
	}
	// What is too long is counted, and nothing else is hurt.
	_, err = c.Write(make([]byte, 65480))
	must(t, err)
	must(t, ask(ctx, c, []byte("after one that was too long")))
	for i, node := range []*lab.Process{first, last} {
		ln := &line{way: way{l, ctx, ""}, procs: []*lab.Process{node}, nodes: []string{string("ac"[i])}}
		ln.kill(t, 0, "receptor-proxy-udp")
		must(t, ask(ctx, c, []byte("after a kill")))
	}
}
