package streams

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/nettest"
)

// addressed makes a net.Conn of a stream.
type addressed struct{ *Stream }

func (a addressed) LocalAddr() net.Addr  { return a.Local().addr() }
func (a addressed) RemoteAddr() net.Addr { return a.Remote().addr() }

func TestNetConn(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
			m := newMesh(t, basic)
			a, b := m.node(1), m.node(2)
			l := listen(t, b, "echo")
			d, s := openStream(t, a, l, MakeEndpoint(2, svc("echo")))
			return addressed{d}, addressed{s}, func() { _, _ = d.Close(), s.Close() }, nil
		})
	})
}

func TestEndpoints(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		p := newPair(t, basic)
		eight := listen(t, p.b, "eightsvc")
		d, a := openStream(t, p.a, eight, MakeEndpoint(2, svc("eightsvc")))
		if want := MakeEndpoint(1, p.a.DialService()); d.Local() != want || a.Remote() != want {
			t.Errorf("dialler is %x and %x, want %x", d.Local(), a.Remote(), want)
		}
		if want := MakeEndpoint(2, svc("eightsvc")); d.Remote() != want || a.Local() != want {
			t.Errorf("listener is %x and %x, want %x", d.Remote(), a.Local(), want)
		}
		_, _ = d.Close(), a.Close()
	})
}

func TestHalfClose(t *testing.T) {
	for _, first := range []string{"dialler", "listener"} {
		t.Run(first, func(t *testing.T) {
			modes(t, func(t *testing.T, basic bool) {
				p := newPair(t, basic)
				one, two := p.open(t)
				if first == "listener" {
					one, two = two, one
				}
				const size = 300 << 10
				writeAll := func(s *Stream) {
					if _, err := io.Copy(s, &pattern{size: size}); err != nil {
						t.Errorf("write: %v", err)
					}
					if err := s.CloseWrite(); err != nil {
						t.Errorf("close: %v", err)
					}
				}
				go writeAll(one)
				if err := verify(two, size); err != nil {
					t.Fatal(err)
				}
				if _, err := one.Write([]byte{1}); !errors.Is(err, net.ErrClosed) {
					t.Errorf("write after CloseWrite: %v", err)
				}
				go writeAll(two)
				if err := verify(one, size); err != nil {
					t.Fatal(err)
				}
				for _, s := range []*Stream{one, two} {
					if err := s.Close(); err != nil {
						t.Errorf("close: %v", err)
					}
				}
				p.noneOpen(t)
			})
		})
	}
}

// noneOpen waits until no place on a connection is taken any more.
func (p *pair) noneOpen(t *testing.T) {
	t.Helper()
	for _, c := range []*Carrier{p.a, p.b} {
		eventually(t, "all streams over", func() bool { return openStreams(c) == 0 })
	}
}

func openStreams(c *Carrier) int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	n := 0
	for cn := range c.conns {
		cn.mu.Lock()
		n += cn.open
		cn.mu.Unlock()
	}
	return n
}

func TestCloseDelivers(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		p := newPair(t, basic)
		d, a := p.open(t)
		const size = 200 << 10 // less than a window, so that Write returns with nobody reading
		if _, err := io.Copy(d, &pattern{size: size}); err != nil {
			t.Fatal(err)
		}
		_ = d.Close()
		if err := verify(a, size); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read after the end: %v", err)
		}
		eventually(t, "the writer hears that nobody reads", func() bool {
			_, err := a.Write(make([]byte, 1024))
			return errors.Is(err, ErrReset)
		})
		_ = a.Close()
		p.noneOpen(t)
		if _, err := d.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read after Close: %v", err)
		}
		if err := d.SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("deadline after Close: %v", err)
		}
		wantErr(t, d.Close(), nil)
	})
}

// A Write that Close cuts off leaves the far side with part of it: that must not
// look like an end.
func TestCloseDuringWriteIsReset(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		p := newPair(t, basic)
		d, a := p.open(t)
		cut := make(chan error, 1)
		go func() {
			_, err := d.Write(make([]byte, 32<<20)) // more than any window
			cut <- err
		}()
		if _, err := io.ReadFull(a, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		_ = d.Close()
		wantErr(t, <-cut, net.ErrClosed)
		_, err := io.Copy(io.Discard, a)
		wantErr(t, err, ErrReset)
		_ = a.Close()
		p.noneOpen(t)
	})
}

func TestReset(t *testing.T) {
	for _, by := range []string{"dialler", "listener"} {
		t.Run(by, func(t *testing.T) {
			modes(t, func(t *testing.T, basic bool) {
				p := newPair(t, basic)
				one, two := p.open(t)
				if by == "listener" {
					one, two = two, one
				}
				writes := make(chan error, 1)
				go func() {
					_, err := io.Copy(two, &pattern{size: 1 << 30})
					writes <- err
				}()
				if _, err := one.Write([]byte("some")); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(two, make([]byte, 2)); err != nil {
					t.Fatal(err)
				}
				_ = one.Reset()
				_, err := io.Copy(io.Discard, two)
				wantErr(t, err, ErrReset)
				wantErr(t, <-writes, ErrReset)
				_, err = one.Read(make([]byte, 1))
				wantErr(t, err, net.ErrClosed)
				_, err = one.Write(make([]byte, 1))
				wantErr(t, err, net.ErrClosed)
				_ = two.Close()
				_ = two.Reset()
				p.noneOpen(t)
			})
		})
	}
}

func TestDeadlines(t *testing.T) {
	t.Parallel()
	p := newPair(t, false)
	d, a := p.open(t)
	_ = d.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	_, err := d.Read(make([]byte, 1))
	wantErr(t, err, os.ErrDeadlineExceeded)
	_ = d.SetReadDeadline(time.Time{})
	if _, err := a.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read(make([]byte, 1)); err != nil {
		t.Fatalf("read after a deadline: %v", err)
	}
	_ = d.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	_, err = d.Write(make([]byte, 32<<20))
	wantErr(t, err, os.ErrDeadlineExceeded)
	_, _ = d.Reset(), a.Close()
}

func TestDialOutcomes(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		p := newPair(t, basic)
		ctx := testContext(t)

		_, err := p.a.Dial(ctx, MakeEndpoint(2, svc("nobody")))
		wantErr(t, err, ErrServiceUnknown)

		go func() {
			if in, err := p.l.Next(ctx); err == nil {
				in.Refuse()
				in.Refuse()
				if _, err := in.Accept(); !errors.Is(err, net.ErrClosed) {
					t.Errorf("accept after refusing: %v", err)
				}
			}
		}()
		_, err = p.a.Dial(ctx, p.to)
		wantErr(t, err, ErrRefused)

		// Unbound with a connection still there: the stream itself is refused.
		_ = p.l.Close()
		_, err = p.a.Dial(ctx, p.to)
		wantErr(t, err, ErrServiceUnknown)
		_, err = p.l.Next(ctx)
		wantErr(t, err, net.ErrClosed)

		// Bound again, the connection is used again.
		p.l = listen(t, p.b, "echo")
		if _, err := p.b.Listen(svc("echo")); !errors.Is(err, ErrInUse) {
			t.Errorf("second Listen: %v", err)
		}
		d, a := p.open(t)
		_, _ = d.Close(), a.Close()
		p.noneOpen(t)
	})
}

func TestDialGivesUp(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		p := newPair(t, basic)
		errGone := errors.New("gone")

		// During the handshake.
		p.m.attach(3, func(Endpoint, Endpoint, []byte, uint8) bool { return true })
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			eventually(t, "an attempt", func() bool {
				p.a.mu.RLock()
				defer p.a.mu.RUnlock()
				return len(p.a.attempts) == 1
			})
			cancel(errGone)
		}()
		_, err := p.a.Dial(ctx, MakeEndpoint(3, svc("silent")))
		wantErr(t, err, errGone)
		eventually(t, "no attempt left", func() bool {
			p.a.mu.RLock()
			defer p.a.mu.RUnlock()
			return len(p.a.attempts) == 0 && len(p.a.pools) == 0
		})

		// While the far side makes up its mind.
		ctx, cancel = context.WithCancelCause(t.Context())
		dialled := make(chan error, 1)
		go func() {
			_, err := p.a.Dial(ctx, p.to)
			dialled <- err
		}()
		in, err := p.l.Next(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		cancel(errGone)
		wantErr(t, <-dialled, errGone)
		eventually(t, "the listener hears of it", func() bool { return in.str.Context().Err() != nil })
		_, err = in.Accept()
		wantErr(t, err, ErrReset)
		p.noneOpen(t)
	})
}

func TestBacklog(t *testing.T) {
	t.Parallel()
	p := newPair(t, false)
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	var busy, other atomic.Int64
	var wg sync.WaitGroup
	const over = 10
	for range maxBacklog + over {
		wg.Go(func() {
			switch s, err := p.a.Dial(ctx, p.to); {
			case err == nil:
				_ = s.Close()
				other.Add(1)
			case errors.Is(err, ErrRefused):
				busy.Add(1)
			case !errors.Is(err, context.Canceled):
				other.Add(1)
			}
		})
	}
	eventually(t, "some are too many", func() bool { return busy.Load() == over })
	cancel()
	wg.Wait()
	if other.Load() != 0 || busy.Load() != over {
		t.Errorf("%d dials were refused, %d ended otherwise", busy.Load(), other.Load())
	}
	_ = p.l.Close()
	p.noneOpen(t)
}

func TestManyStreams(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		p := newPair(t, basic)
		ctx := testContext(t)
		const streams = 500
		go func() {
			for {
				s, err := accept(ctx, p.l)
				if err != nil {
					return
				}
				go func() {
					_, _ = io.Copy(s, s)
					_ = s.CloseWrite()
					_ = s.Close()
				}()
			}
		}()
		var wg sync.WaitGroup
		for i := range streams {
			wg.Go(func() {
				s, err := p.a.Dial(ctx, p.to)
				if err != nil {
					t.Errorf("dial: %v", err)
					return
				}
				defer func() { _ = s.Close() }()
				want := bytes.Repeat([]byte{byte(i)}, 3000)
				if _, err := s.Write(want); err != nil {
					t.Errorf("write: %v", err)
				}
				_ = s.CloseWrite()
				got, err := io.ReadAll(s)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("read %d bytes: %v", len(got), err)
				}
			})
		}
		wg.Wait()
		p.noneOpen(t)
		if n, most := connCount(p.a), (streams+streamsPerConn-1)/streamsPerConn; n > 2*most {
			t.Errorf("%d connections for %d streams", n, streams)
		}
		_ = p.l.Close()
	})
}

func TestSelfDial(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		m := newMesh(t, basic)
		c := m.node(1)
		l := listen(t, c, "echo")
		d, a := openStream(t, c, l, MakeEndpoint(1, svc("echo")))
		const size = 1 << 20
		go func() {
			_, _ = io.Copy(d, &pattern{size: size})
			_ = d.CloseWrite()
		}()
		if err := verify(a, size); err != nil {
			t.Fatal(err)
		}
		_, _ = d.Close(), a.Close()
	})
}

func TestLossAndReordering(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		m := newMesh(t, basic)
		m.loss = 0.03
		m.reorder = 0.03
		p := m.pair()
		d, a := p.open(t)
		const size = 1 << 20
		go func() {
			_, _ = io.Copy(d, &pattern{size: size})
			_ = d.CloseWrite()
		}()
		if err := verify(a, size); err != nil {
			t.Fatal(err)
		}
		_, _ = d.Close(), a.Close()
	})
}

// Streams that nobody reads hold their windows for ever, grown ones the most.
// The others of their connection must not notice. The windows here begin as
// large as they can grow.
func TestUnreadStreamsDoNotStallOthers(t *testing.T) {
	t.Parallel()
	m := newMesh(t, false)
	m.window = maxStreamWindow / 8 // all in proportion, to move less
	p := m.pair()
	var unread []*Stream
	for range streamsPerConn - 1 {
		d, a := p.open(t)
		unread = append(unread, d, a)
		var written atomic.Int64
		go func() {
			b := make([]byte, 64<<10)
			for {
				n, err := d.Write(b)
				written.Add(int64(n))
				if err != nil {
					return
				}
			}
		}()
		eventually(t, "the window is full", func() bool { return written.Load() >= int64(m.window)-64<<10 })
	}
	d, a := p.open(t)
	const size = 16 << 20 // many times what windows leave
	go func() {
		_, _ = io.Copy(d, &pattern{size: size})
		_ = d.CloseWrite()
	}()
	if err := verify(a, size); err != nil {
		t.Fatal(err)
	}
	if n := connCount(p.a); n != 1 {
		t.Errorf("%d connections, want one", n)
	}
	for _, s := range append(unread, d, a) {
		_ = s.Reset()
	}
	p.noneOpen(t)
}

func connCount(c *Carrier) int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.conns)
}

// An idle connection is closed only when both sides are through with it: what
// the far side has not read yet must not be lost.
func TestIdleConnectionEndsWithItsLastStream(t *testing.T) {
	t.Parallel()
	p := newPair(t, false)
	d, a := p.open(t)
	const size = 200 << 10
	_, _ = io.Copy(d, &pattern{size: size})
	_ = d.Close()
	p.a.retireIdle(time.Now().Add(-time.Hour))
	if n := len(p.a.pools); n != 1 {
		t.Fatalf("%d pools, want 1: the connection has not been idle long", n)
	}
	p.a.retireIdle(time.Now())
	// The far side has been told once it takes no more streams.
	eventually(t, "the far side knows", func() bool {
		a.conn.mu.Lock()
		defer a.conn.mu.Unlock()
		return a.conn.retired
	})
	// A new dial has a connection of its own.
	d2, a2 := p.open(t)
	if d2.conn == d.conn {
		t.Error("the retired connection is used")
	}
	_, _ = d2.Close(), a2.Close()
	if err := verify(a, size); err != nil {
		t.Fatal(err)
	}
	_ = a.Close()
	eventually(t, "the connection ends", func() bool { return d.conn.q.Context().Err() != nil })
}
