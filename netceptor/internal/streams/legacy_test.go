package streams

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// legacyNode is an existing node as far as streams go: plain quic-go on a packet
// connection without any of the fast path, ALPN netceptor only, packets of 1200
// bytes, one connection for each stream.
type legacyNode struct {
	conn *basicConn
	tr   *quic.Transport
	ln   *quic.Listener
	cert tls.Certificate
}

func legacyConfig() *quic.Config {
	return &quic.Config{
		InitialPacketSize: 1200, DisablePathMTUDiscovery: true,
		HandshakeIdleTimeout: 15 * time.Second, MaxIdleTimeout: 30 * time.Second, KeepAlivePeriod: 15 * time.Second,
	}
}

// legacy attaches a legacy node with one service.
func (m *testMesh) legacy(id uint64, service string) *legacyNode {
	m.t.Helper()
	self := MakeEndpoint(id, svc(service))
	n := &legacyNode{conn: newBasicConn(self, m.send)}
	m.attach(id, func(src, dst Endpoint, b []byte, ecn uint8) bool {
		if dst != self {
			return false
		}
		n.conn.put(src, dst, b, ecn)
		return true
	})
	var err error
	if n.cert, err = newCertificate(); err != nil {
		m.t.Fatal(err)
	}
	n.tr = &quic.Transport{Conn: n.conn}
	n.ln, err = n.tr.Listen(&tls.Config{Certificates: []tls.Certificate{n.cert}, NextProtos: []string{"netceptor"}}, legacyConfig())
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _, _ = n.tr.Close(), n.conn.Close() })
	return n
}

// dial opens a stream as a legacy node does.
func (n *legacyNode) dial(ctx context.Context, to Endpoint) (*quic.Conn, *quic.Stream, error) {
	q, err := n.tr.Dial(ctx, to.addr(), &tls.Config{
		InsecureSkipVerify: true, ServerName: "legacy", NextProtos: []string{"netceptor"},
		VerifyConnection: func(s tls.ConnectionState) error {
			if s.PeerCertificates[0].Subject.CommonName != "netceptor-insecure-common-name" {
				return errors.New("insecure connection to secure service")
			}
			return nil
		},
	}, legacyConfig())
	if err != nil {
		return nil, nil, err
	}
	str, err := q.OpenStream()
	if err == nil {
		_, err = str.Write([]byte{0})
	}
	return q, str, err
}

// accept takes the next connection as a legacy node does.
func (n *legacyNode) accept(ctx context.Context) (*quic.Conn, *quic.Stream, error) {
	q, err := n.ln.Accept(ctx)
	if err != nil {
		return nil, nil, err
	}
	str, err := q.AcceptStream(ctx)
	if err != nil {
		return nil, nil, err
	}
	var first [1]byte
	if _, err := io.ReadFull(str, first[:]); err != nil || first[0] != 0 {
		return nil, nil, errors.Join(err, q.CloseWithError(500, "Read Data Error"))
	}
	return q, str, nil
}

// legacyPair is a legacy node that dials our service, or one that we dial.
type legacyPair struct {
	ours *Stream
	q    *quic.Conn
	str  *quic.Stream
}

func newLegacyPair(t *testing.T, basic, weDial bool) (*testMesh, *Carrier, legacyPair) {
	t.Helper()
	ctx := testContext(t)
	m := newMesh(t, basic)
	c := m.node(1)
	n := m.legacy(9, "theirs")
	var p legacyPair
	var err error
	if weDial {
		done := make(chan error, 1)
		go func() {
			var err error
			p.q, p.str, err = n.accept(ctx)
			done <- err
		}()
		if p.ours, err = c.Dial(ctx, MakeEndpoint(9, svc("theirs"))); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		return m, c, p
	}
	l := listen(t, c, "ours")
	if p.q, p.str, err = n.dial(ctx, MakeEndpoint(1, svc("ours"))); err != nil {
		t.Fatal(err)
	}
	if p.ours, err = accept(ctx, l); err != nil {
		t.Fatal(err)
	}
	return m, c, p
}

// legacyModes runs a test with both packet connections, dialling and dialled.
func legacyModes(t *testing.T, f func(t *testing.T, basic, weDial bool)) {
	modes(t, func(t *testing.T, basic bool) {
		for _, weDial := range []bool{true, false} {
			name := "we dial"
			if !weDial {
				name = "they dial"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f(t, basic, weDial)
			})
		}
	})
}

func TestLegacyHalfClose(t *testing.T) {
	legacyModes(t, func(t *testing.T, basic, weDial bool) {
		m, c, p := newLegacyPair(t, basic, weDial)
		const size = 500 << 10
		go func() {
			_, _ = io.Copy(p.ours, &pattern{size: size})
			_ = p.ours.CloseWrite()
		}()
		if err := verify(p.str, size); err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = io.Copy(p.str, &pattern{size: size})
			_ = p.str.Close()
		}()
		if err := verify(p.ours, size); err != nil {
			t.Fatal(err)
		}
		if n := m.largestTo(9); n > 1200 {
			t.Errorf("a packet of %d bytes went to a legacy node", n)
		}
		// The connection lingers: what they have not read would be lost.
		if err := context.Cause(p.q.Context()); err != nil {
			t.Errorf("the connection was closed at once: %v", err)
		}
		_ = p.ours.Close()
		if openStreams(c) != 0 {
			t.Error("the stream is still counted")
		}
	})
}

// A legacy node closes its connection once it has what it wants, whether we
// have read everything or not. What came before its FIN is there to be read.
func TestLegacyFullCloseAfterFIN(t *testing.T) {
	legacyModes(t, func(t *testing.T, basic, weDial bool) {
		_, _, p := newLegacyPair(t, basic, weDial)
		const size = 200 << 10
		if _, err := io.Copy(p.str, &pattern{size: size}); err != nil {
			t.Fatal(err)
		}
		_ = p.str.Close()
		r := p.ours.in.(*legacyReader)
		eventually(t, "all has arrived", func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.read == r.final
		})
		_ = p.q.CloseWithError(0, "normal close")
		eventually(t, "we know of the close", func() bool { return p.ours.conn.q.Context().Err() != nil })
		if err := verify(p.ours, size); err != nil {
			t.Fatal(err)
		}
		_, err := p.ours.Write([]byte("x"))
		wantErr(t, err, ErrReset)
		_ = p.ours.Close()
	})
}

// Without a FIN, a closed connection is no end, however normal it was meant.
func TestLegacyFullCloseWithoutFIN(t *testing.T) {
	legacyModes(t, func(t *testing.T, basic, weDial bool) {
		_, _, p := newLegacyPair(t, basic, weDial)
		if _, err := p.str.Write([]byte("some")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(p.ours, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		_ = p.q.CloseWithError(0, "normal close")
		_, err := p.ours.Read(make([]byte, 1))
		wantErr(t, err, ErrReset)
		_ = p.ours.Close()
	})
}

func TestLegacyReset(t *testing.T) {
	legacyModes(t, func(t *testing.T, basic, weDial bool) {
		_, _, p := newLegacyPair(t, basic, weDial)
		if _, err := p.ours.Write([]byte("some")); err != nil {
			t.Fatal(err)
		}
		_ = p.ours.Reset()
		_, err := io.Copy(io.Discard, p.str)
		if err == nil {
			t.Fatal("an aborted stream looks complete")
		}
		eventually(t, "the connection is closed", func() bool { return p.q.Context().Err() != nil })
		var a *quic.ApplicationError
		if err := context.Cause(p.q.Context()); !errors.As(err, &a) || a.ErrorCode == 0 {
			t.Errorf("the connection ended with %v", err)
		}
	})
}

func TestLegacyBadFirstByte(t *testing.T) {
	m := newMesh(t, false)
	c := m.node(1)
	listen(t, c, "ours")
	n := m.legacy(9, "theirs")
	ctx := testContext(t)
	q, err := n.tr.Dial(ctx, MakeEndpoint(1, svc("ours")).addr(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"netceptor"}}, legacyConfig())
	if err != nil {
		t.Fatal(err)
	}
	str, err := q.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = str.Write([]byte{7})
	eventually(t, "the connection is closed", func() bool { return q.Context().Err() != nil })
	var a *quic.ApplicationError
	if err := context.Cause(q.Context()); !errors.As(err, &a) || a.ErrorCode != 500 || a.ErrorMessage != "Read Data Error" {
		t.Errorf("the connection ended with %v", err)
	}
}

func TestLegacyRefused(t *testing.T) {
	m := newMesh(t, false)
	c := m.node(1)
	l := listen(t, c, "ours")
	n := m.legacy(9, "theirs")
	ctx := testContext(t)
	q, _, err := n.dial(ctx, MakeEndpoint(1, svc("ours")))
	if err != nil {
		t.Fatal(err)
	}
	in, err := l.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	in.Refuse()
	eventually(t, "the connection is closed", func() bool { return q.Context().Err() != nil })
	eventually(t, "nothing is left", func() bool { return connCount(c) == 0 })
}

// Dials to a node that is known to be legacy do not wait for one another, and
// each has its own connection.
func TestLegacyManyDials(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		m := newMesh(t, basic)
		c := m.node(1)
		n := m.legacy(9, "theirs")
		ctx := testContext(t)
		go func() {
			for {
				_, str, err := n.accept(ctx)
				if err != nil {
					return
				}
				go func() {
					_, _ = io.Copy(str, str)
					_ = str.Close()
				}()
			}
		}()
		const dials = 20
		var wg sync.WaitGroup
		for i := range dials {
			wg.Go(func() {
				s, err := c.Dial(ctx, MakeEndpoint(9, svc("theirs")))
				if err != nil {
					t.Errorf("dial: %v", err)
					return
				}
				want := bytes.Repeat([]byte{byte(i)}, 5000)
				_, _ = s.Write(want)
				_ = s.CloseWrite()
				if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, want) {
					t.Errorf("read %d bytes: %v", len(got), err)
				}
				_ = s.Close()
			})
		}
		wg.Wait()
		if got := connCount(c); got != dials {
			t.Errorf("%d connections, want %d", got, dials)
		}
	})
}

// A notice ends an accepted connection whose dialler is gone, and a dial; never
// a shared connection.
func TestUnreachable(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		_, c, p := newLegacyPair(t, basic, false)
		c.Unreachable(p.ours.Local(), p.ours.Remote(), errors.New("message expired"))
		c.Unreachable(p.ours.Local(), MakeEndpoint(9, svc("other")), ErrServiceUnknown)
		if _, err := p.str.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := p.ours.Read(make([]byte, 1)); err != nil {
			t.Fatalf("a notice about something else: %v", err)
		}
		c.Unreachable(p.ours.Local(), p.ours.Remote(), ErrServiceUnknown)
		_, err := p.ours.Read(make([]byte, 1))
		wantErr(t, err, ErrReset)
		_ = p.ours.Close()

		ours := newPair(t, basic)
		d, a := ours.open(t)
		ours.a.Unreachable(d.Local(), d.Remote(), ErrServiceUnknown)
		ours.b.Unreachable(a.Local(), a.Remote(), ErrServiceUnknown)
		if _, err := d.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Read(make([]byte, 1)); err != nil {
			t.Fatalf("a notice ended a shared connection: %v", err)
		}
		_, _ = d.Close(), a.Close()
	})
}

// A certificate with another name says that the service wants a TLS profile.
func TestInsecureToSecure(t *testing.T) {
	cs := tls.ConnectionState{}
	if err := clientTLS().VerifyConnection(cs); err == nil {
		t.Error("no certificate is taken for a good one")
	}
}

// A dial that gives up just when its connection has been made does not leave it
// behind: an existing node would wait for a stream on it.
func TestLegacyConnectionThatNobodyTakes(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		m := newMesh(t, basic)
		c := m.node(1)
		m.legacy(9, "theirs")
		c.mu.Lock()
		made := c.newAttempt(peer{endpoint: MakeEndpoint(9, svc("theirs"))})
		c.mu.Unlock()
		<-made.done
		if made.err != nil {
			t.Fatal(made.err)
		}
		// As it is between the making of the connection and the telling.
		a := &attempt{to: made.to, ctx: made.ctx, cancel: made.cancel, waiters: 1, done: make(chan struct{}), conn: made.conn}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if cn, err := c.await(ctx, a); cn != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, %v", cn, err)
		}
		select {
		case <-made.conn.q.Context().Done():
		case <-testContext(t).Done():
			t.Error("the connection was left behind")
		}
	})
}
