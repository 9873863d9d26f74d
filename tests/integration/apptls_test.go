package integration

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/project-receptor/receptor/netceptor/mtls/mtlstest"
	"github.com/project-receptor/receptor/tests/integration/lab"
)

// tlsApps are a line whose applications speak TLS at both ends.
type tlsApps struct {
	way
	client *tls.Config
	heard  chan error // how each connection of the target ended for it
}

// startTLSApps starts it; the target echoes, and ends after its application.
func startTLSApps(t *testing.T, relay bool) *tlsApps {
	t.Helper()
	l, ctx := newLab(t)
	ca := mtlstest.NewCA(t, "ca")
	f := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"near", "far"}})
	profile := f.Server("target")
	profile.RequireClientCert = true
	a := &tlsApps{heard: make(chan error, 16), client: mtlstest.LoadClient(t, f.Client("app"), "").Config("127.0.0.1")}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	target := tls.NewListener(listener, mtlstest.LoadServer(t, profile, "").Config())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := target.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				_, err := io.Copy(c, c)
				a.heard <- errors.Join(err, c.(*tls.Conn).CloseWrite())
			})
		}
	})
	t.Cleanup(func() {
		target.Close()
		serving.Wait()
	})
	link, entry := freePort(t), freePort(t)
	for node, items := range map[string][]string{
		"near": append(listens(link), "--tcp-server", "bindaddr=127.0.0.1", "port="+strconv.Itoa(entry), "remotenode=far", "remoteservice=app", "tlsserver=s"),
		"far": append(dials(link), "--tcp-client", "address="+listener.Addr().String(), "service=app", "tlsclient=c",
			"--tcp-client", "address="+lab.Local(link), "service=plain", "tlsclient=c"),
	} {
		_, err := l.Start("receptor-core", append(append([]string{"--node", "id=" + node}, profiles(f)...), items...)...)
		must(t, err)
		for _, plug := range []string{"receptor-backend-tcp", "receptor-proxy-tcp"} {
			args := []string{"--socket", l.PlugSocket(node)}
			if relay {
				args = append(args, "--no-handoff")
			}
			_, err := l.Start(plug, args...)
			must(t, err)
		}
	}
	a.way = way{l, ctx, lab.Local(entry)}
	must(t, l.WaitRoute(ctx, "near", "far"))
	must(t, l.WaitStatus(ctx, "far", func(s *lab.Status) bool { return s.Item("tcp-client service=app").State == "up" }))
	return a
}

func (a *tlsApps) dialTLS(t *testing.T) *tls.Conn {
	t.Helper()
	c := tls.Client(a.dial(t), a.client)
	must(t, c.HandshakeContext(a.ctx))
	return c
}

// ending waits until the target has heard of the end of a connection.
func (a *tlsApps) ending(ctx context.Context, t *testing.T) error {
	t.Helper()
	select {
	case err := <-a.heard:
		return err
	case <-ctx.Done():
		t.Fatal("the target heard of no end")
		return nil
	}
}

// The core speaks TLS with the applications at both ends: bytes, their ends and
// their aborts arrive, and nobody else gets through.
func TestApplicationTLS(t *testing.T) {
	t.Parallel()
	for name, relay := range map[string]bool{"hand-off": false, "relay": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := startTLSApps(t, relay)
			c := a.dialTLS(t)
			want := make([]byte, 3<<20)
			for i := range want {
				want[i] = byte(i ^ i>>11)
			}
			sent := make(chan error, 1)
			go func() {
				_, err := c.Write(want)
				sent <- errors.Join(err, c.CloseWrite())
			}()
			got, err := io.ReadAll(c)
			if err := errors.Join(err, <-sent, a.ending(a.ctx, t)); err != nil || string(got) != string(want) {
				t.Errorf("%d bytes came back of %d, %v", len(got), len(want), err)
			}
			c.Close()

			// An end without TLS's own is an abort at the other application.
			c = a.dialTLS(t)
			_, err = io.WriteString(c, "half")
			must(t, err)
			_, err = io.ReadFull(c, make([]byte, 4))
			must(t, err)
			must(t, c.NetConn().Close())
			if err := a.ending(a.ctx, t); err == nil {
				t.Error("what was cut off looked whole to the target")
			}

			// Without a certificate, or without TLS, there is no way.
			bare := a.client.Clone()
			bare.GetClientCertificate = nil
			c = tls.Client(a.dial(t), bare)
			if err = c.HandshakeContext(a.ctx); err == nil {
				_, err = c.Read(make([]byte, 1)) // the server looks after the client is done
			}
			if err == nil || errors.Is(err, io.EOF) {
				t.Errorf("without a certificate: %v", err)
			}
			plain := a.dial(t)
			_, err = io.WriteString(plain, "GET / HTTP/1.0\r\n\r\n")
			must(t, err)
			if _, err := io.ReadAll(plain); err == nil {
				t.Error("without TLS the connection just ended")
			}

			// A target that does not speak TLS refuses.
			out, err := a.Ctl(a.ctx, "near", "connect", "far", "plain")
			if err == nil {
				t.Errorf("a target without TLS: %q", out)
			}
			must(t, lab.WaitRoundTrip(a.ctx, a.tlsEntry(t)))
		})
	}
}

// tlsEntry is an address whose connections are TLS to the entry.
func (a *tlsApps) tlsEntry(t *testing.T) string {
	t.Helper()
	s, err := lab.Serve(func(c *net.TCPConn) {
		far, err := tls.Dial("tcp", a.entry, a.client)
		if err != nil {
			t.Error(err)
			return
		}
		defer far.Close()
		var both sync.WaitGroup
		both.Go(func() {
			_, _ = io.Copy(far, c)
			_ = far.CloseWrite()
		})
		_, _ = io.Copy(c, far)
		_ = c.CloseWrite()
		both.Wait()
	})
	must(t, err)
	t.Cleanup(s.Close)
	return s.Addr()
}
