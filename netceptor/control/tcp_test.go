package control_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-receptor/receptor/netceptor/control"
	"github.com/project-receptor/receptor/netceptor/control/controltest"
	"github.com/project-receptor/receptor/netceptor/mtls"
	"github.com/project-receptor/receptor/netceptor/mtls/mtlstest"
)

// tcpPipe is one end of a pipe that says it is on TCP.
type tcpPipe struct{ net.Conn }

func (tcpPipe) LocalAddr() net.Addr { return &net.TCPAddr{Port: 1} }

// Who comes over TCP and says nothing is let go sooner than on the mesh; who does
// not even speak TLS where it should hears nothing.
func TestSilenceOnTCP(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := serveMesh(t, newServer(threeNodes()))
		const end = "ERROR: no command for too long\n"
		near, far := net.Pipe()
		l.conns <- tcpPipe{far}
		begin := time.Now()
		expect(t, near, greeting)
		expect(t, near, end)
		if d := time.Since(begin); d != control.TCPFirstLineTimeout {
			t.Errorf("first line: let go after %v", d)
		}

		near, far = net.Pipe()
		l.conns <- tcpPipe{far}
		expect(t, near, greeting)
		send(t, near, "ping beta\n")
		expect(t, near, pong)
		begin = time.Now()
		expect(t, near, end)
		if d := time.Since(begin); d != control.TCPIdleTimeout {
			t.Errorf("idle: let go after %v", d)
		}

		near, far = net.Pipe()
		l.conns <- tls.Server(tcpPipe{far}, &tls.Config{MinVersion: tls.VersionTLS13})
		begin = time.Now()
		expectEnd(t, near)
		if d := time.Since(begin); d != 10*time.Second {
			t.Errorf("handshake: let go after %v", d)
		}
	})
}

// serveTLS serves s with TLS until the test ends, to clients of an authority.
func serveTLS(t *testing.T, s *control.Server) (addr string, client *mtls.Client) {
	t.Helper()
	files := mtlstest.NodeFiles(t, mtlstest.NewCA(t, "ca"), mtlstest.Leaf{Nodes: []string{"alpha"}})
	server, err := mtls.LoadServer(mtls.ServerProfile{Name: "s", Cert: files.Cert(), Key: files.Key(), ClientCAs: files.CAs(), RequireClientCert: true}, "alpha", nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err = mtls.LoadClient(mtls.ClientProfile{Name: "c", Cert: files.Cert(), Key: files.Key(), RootCAs: files.CAs()}, "alpha", nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, s, tls.NewListener(l, server.Config()))
	return l.Addr().String(), client
}

func dialTCP(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTLS(t *testing.T) {
	t.Parallel()
	m := threeNodes()
	cut := make(chan struct{})
	m.OnStream = map[string]func(control.Stream){
		"beta:echo": func(s control.Stream) {
			_, _ = io.Copy(s, s)
			_ = s.Close()
		},
		"beta:cut": func(s control.Stream) {
			_, _ = s.Write([]byte("half of what was to"))
			<-cut
			_ = s.Reset()
		},
	}
	addr, client := serveTLS(t, newServer(m))
	dialTCP(t, addr) // says nothing all the while, and holds up nobody
	shake := func() *tls.Conn {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		c, _, err := client.Handshake(ctx, dialTCP(t, addr), "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		expect(t, c, greeting)
		return c
	}

	c := shake()
	send(t, c, "ping beta\nconnect beta echo\nhello")
	expect(t, c, pong+"Connecting\nhello")
	if err := c.CloseWrite(); err != nil {
		t.Error(err)
	}
	expectEnd(t, c)

	// A stream that is cut off does not look like one that has ended.
	c = shake()
	send(t, c, "connect beta cut\n")
	expect(t, c, "Connecting\nhalf of what was to")
	close(cut)
	if b, err := io.ReadAll(c); err == nil {
		t.Errorf("read %q and a clean end", b)
	}

	// Who cannot prove anything gets nothing.
	stranger := tls.Client(dialTCP(t, addr), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	if b, err := io.ReadAll(stranger); err == nil || len(b) > 0 {
		t.Errorf("without a certificate: read %q, %v", b, err)
	}
	plain := dialTCP(t, addr)
	send(t, plain, "status\n")
	if b, err := io.ReadAll(plain); errors.Is(err, context.DeadlineExceeded) || len(b) > 0 && b[0] != 0x15 { // an alert of TLS
		t.Errorf("without TLS: read %q, %v", b, err)
	}
}

// When there are too many conversations, the next one is told so with TLS as well.
func TestTooManyOverTLS(t *testing.T) {
	t.Parallel()
	addr, client := serveTLS(t, newServer(&controltest.Mesh{}))
	for range control.MaxSessions {
		dialTCP(t, addr)
	}
	// They have all been accepted when one is turned away.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	const told = "ERROR: too many conversations, try again later\n"
	for got := ""; got != told; {
		c, _, err := client.Handshake(ctx, dialTCP(t, addr), "127.0.0.1")
		if ctx.Err() != nil {
			t.Fatal("nobody is told why")
		}
		if err != nil {
			continue // it was slow, and turned away without a word
		}
		b, _ := io.ReadAll(c) // an error is the end of one who was slow
		if got = string(b); got != "" && got != told {
			t.Fatalf("read %q, want %q", got, told)
		}
	}
}
