package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// answerUDP answers each datagram with what it was, turned round, until the test ends.
func answerUDP(t *testing.T, address string) string {
	t.Helper()
	c, err := net.ListenPacket("udp", address)
	must(t, err)
	answerOn(t, c)
	return c.LocalAddr().String()
}

// answerOn is answerUDP on a socket, which it owns.
func answerOn(t *testing.T, c net.PacketConn) {
	t.Helper()
	var serving sync.WaitGroup
	serving.Go(func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFrom(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = c.WriteTo(turned(b[:n]), from) // whoever has asked asks again
			}
		}
	})
	t.Cleanup(func() {
		_ = c.Close()
		serving.Wait()
	})
}

func turned(b []byte) []byte {
	r := make([]byte, len(b))
	for i := range b {
		r[len(b)-1-i] = b[i]
	}
	return r
}

// ask asks until the answer to that very question comes, as resolvers do.
func ask(ctx context.Context, c net.Conn, question []byte) error {
	b := make([]byte, 1<<16)
	for ctx.Err() == nil {
		if _, err := c.Write(question); err != nil {
			// Of one before, that nobody took: so the port was not kept.
			return fmt.Errorf("question of %d bytes: %w", len(question), err)
		}
		if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		for {
			n, err := c.Read(b)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return fmt.Errorf("answer to a question of %d bytes: %w", len(question), err)
			}
			if bytes.Equal(b[:n], turned(question)) {
				return nil
			} // else it is late, to a question before
		}
	}
	return fmt.Errorf("question of %d bytes: no answer: %w", len(question), ctx.Err())
}

// UDP applications ask through three nodes, each from a socket of its own, and every one
// hears what it has asked for: of all sizes, over IPv4 and IPv6, and after each of the
// programs on the way was killed. The port stays bound meanwhile: nobody is refused.
func TestProxyUDP(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"127.0.0.1", "::1"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			l, ctx := newLab(t)
			target := answerUDP(t, net.JoinHostPort(at, "0"))
			port, err := lab.FreeUDPPort()
			must(t, err)
			first, second := freePort(t), freePort(t)
			entry := fmt.Sprint(port)
			args := map[string][]string{
				"near": append(listens(first), "--udp-inbound-proxy", "bindaddr="+at, "port="+entry, "remotenode=far", "remoteservice=app"),
				"mid":  append(dials(first), listens(second)...),
				"far":  append(dials(second), "--udp-outbound-proxy", "service=app", "address="+target),
			}
			procs := map[string]*lab.Process{}
			start := func(node, program string) {
				t.Helper()
				with := []string{"--socket", l.PlugSocket(node)}
				if program == "receptor-core" {
					with = append([]string{"--node", "id=" + node}, args[node]...)
				}
				p, err := l.Start(program, with...)
				must(t, err)
				procs[node+" "+program] = p
			}
			for node := range args {
				start(node, "receptor-core")
				start(node, "receptor-backend-tcp")
			}
			start("near", "receptor-proxy-udp")
			start("far", "receptor-proxy-udp")
			must(t, l.WaitRoute(ctx, "near", "far"))
			must(t, l.WaitRoute(ctx, "far", "near"))
			id := "udp-server port=" + entry + " bindaddr=" + at
			must(t, l.WaitStatus(ctx, "near", func(s *lab.Status) bool { return s.Item(id).State == "up" }))

			apps := make([]net.Conn, 20)
			for i := range apps {
				apps[i], err = net.Dial("udp", net.JoinHostPort(at, entry))
				must(t, err)
				defer apps[i].Close()
			}
			sizes := []int{0, 1, 512, 1400, 9000}
			round := func(when string) {
				t.Helper()
				var asking sync.WaitGroup
				for i, c := range apps {
					question := []byte(fmt.Sprintf("%s, %d: ", when, i))
					if size := sizes[i%len(sizes)]; size > 0 {
						question = append(question, bytes.Repeat([]byte{byte(i)}, size)...)
					}
					asking.Go(func() {
						if err := ask(ctx, c, question); err != nil {
							t.Errorf("%s, application %d: %v", when, i, err)
						}
					})
				}
				asking.Wait()
			}
			round("at first")
			must(t, ask(ctx, apps[0], nil))
			must(t, ask(ctx, apps[1], bytes.Repeat([]byte("large"), 65471/5)))
			for _, k := range [][2]string{
				{"near", "receptor-proxy-udp"}, {"far", "receptor-proxy-udp"}, {"near", "receptor-core"}, {"far", "receptor-core"},
			} {
				procs[k[0]+" "+k[1]].Kill()
				start(k[0], k[1])
				round("after " + k[1] + " of " + k[0])
			}
		})
	}
}
