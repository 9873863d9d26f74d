package netceptor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/nettest"
)

// listen opens a service that is closed when the test ends.
func listen(t *testing.T, n *Node, service string) *Listener {
	t.Helper()
	l, err := n.Listen(service, ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// serve hands each stream of a service to a handler, until the test ends.
func serve(t *testing.T, n *Node, service string, handle func(c *Conn)) *Listener {
	t.Helper()
	l := listen(t, n, service)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { handle(c.(*Conn)) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		n.Close()
		all.Wait()
	})
	return l
}

// dial opens a stream that is reset, if it still lives, when the test ends.
func dial(t *testing.T, n *Node, node, service string) *Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := n.Dial(ctx, node, service)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Reset() })
	return c
}

// echo sends a text from a to b and back over a stream.
func echo(t *testing.T, a, b *Node, text string) {
	t.Helper()
	l, err := b.Listen("", ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := l.Accept(); err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	c := dial(t, a, b.NodeID(), l.Addr().(Addr).Service)
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || string(got) != text {
		t.Errorf("echo gave %q, %v", got, err)
	}
	c.Close()
	<-done
}

// 64 MiB through a transit node arrive whole; the answer comes after the
// half-close.
func TestStreamBulkAndHalfClose(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		nodes []string
	}{
		{"to itself", []string{"a"}},
		{"to a neighbour", []string{"a", "b"}},
		{"through a transit node", []string{"a", "b", "c"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			nodes := line(t, test.nodes...)
			last := nodes[len(nodes)-1]
			serve(t, last, "digest", func(c *Conn) {
				h := sha256.New()
				if _, err := io.Copy(h, c); err != nil {
					t.Errorf("receive: %v", err)
				}
				c.Write(h.Sum(nil))
				c.Close()
			})
			c := dial(t, nodes[0], last.NodeID(), "digest")
			size := int64(64 << 20)
			if testing.Short() {
				size = 8 << 20
			}
			h := sha256.New()
			source := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), size), h)
			if n, err := io.Copy(struct{ io.Writer }{c}, source); err != nil || n != size {
				t.Fatalf("sent %d: %v", n, err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, h.Sum(nil)) {
				t.Errorf("digest %x, want %x; %v", got, h.Sum(nil), err)
			}
		})
	}
}

func TestManyStreams(t *testing.T) {
	t.Parallel()
	nodes := line(t, "a", "b", "c")
	serve(t, nodes[2], "echo", func(c *Conn) {
		io.Copy(c, c)
		c.Close()
	})
	const streams = 500
	var conns [streams]*Conn
	var all sync.WaitGroup
	for i := range conns {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			c, err := nodes[0].Dial(ctx, "c", "echo")
			if err != nil {
				t.Errorf("dial %d: %v", i, err)
				return
			}
			conns[i] = c
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	for i, c := range conns { // all are open now
		all.Go(func() {
			text := fmt.Sprintf("stream %d", i)
			c.Write([]byte(text))
			c.CloseWrite()
			if got, err := io.ReadAll(c); err != nil || string(got) != text {
				t.Errorf("stream %d: %q, %v", i, got, err)
			}
			c.Close()
		})
	}
	all.Wait()
}

func TestStreamAddresses(t *testing.T) {
	t.Parallel()
	nodes := line(t, "a", "b")
	l := listen(t, nodes[1], "svc")
	if l.Addr() != (Addr{"b", "svc"}) || l.Addr().Network() != "receptor" || l.Addr().String() != "b:svc" {
		t.Errorf("listener address %v", l.Addr())
	}
	accepted := make(chan *Conn, 1)
	go func() {
		i, err := l.Next(t.Context())
		if err != nil {
			t.Error(err)
			close(accepted)
			return
		}
		if i.Remote().Node != "a" {
			t.Errorf("stream from %v", i.Remote())
		}
		c, err := i.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	c := dial(t, nodes[0], "b", "svc")
	far := <-accepted
	if far == nil {
		t.FailNow()
	}
	defer far.Reset()
	if c.RemoteAddr() != (Addr{"b", "svc"}) || far.LocalAddr() != (Addr{"b", "svc"}) {
		t.Errorf("service's end is %v and %v", c.RemoteAddr(), far.LocalAddr())
	}
	if c.LocalAddr() != far.RemoteAddr() || c.LocalAddr().(Addr).Node != "a" {
		t.Errorf("dialling end is %v and %v", c.LocalAddr(), far.RemoteAddr())
	}
}

func TestDialErrors(t *testing.T) {
	t.Parallel()
	nodes := line(t, "a", "b", "c")
	refusing := listen(t, nodes[2], "refuse")
	go func() {
		for {
			i, err := refusing.Next(context.Background())
			if err != nil {
				return
			}
			i.Refuse()
		}
	}()
	for _, test := range []struct {
		name, node, service string
		want                error
	}{
		{"unknown node", "nobody", "x", ErrNoRoute},
		{"unknown service", "c", "nosuch", ErrServiceUnknown},
		{"unknown service here", "a", "nosuch", ErrServiceUnknown},
		{"unknown service at localhost", "LOCALHOST", "nosuch", ErrServiceUnknown},
		{"long service name", "c", "ninechars", ErrTooLong},
		{"refused", "c", "refuse", ErrRefused},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, err := nodes[0].Dial(t.Context(), test.node, test.service)
			if err == nil {
				c.Reset()
			}
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			var op *net.OpError
			if !errors.As(err, &op) || op.Addr.(Addr).Service != test.service || op.Timeout() {
				t.Errorf("%#v does not name the address, or says that it is a timeout", err)
			}
		})
	}
}

func TestDialContext(t *testing.T) {
	t.Parallel()
	nodes := line(t, "a", "b")
	listen(t, nodes[1], "mute") // nobody accepts
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := nodes[0].Dial(ctx, "b", "mute")
	var netErr net.Error
	if !errors.As(err, &netErr) || !netErr.Timeout() || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want a timeout", err)
	}
}

func TestListenErrors(t *testing.T) {
	t.Parallel()
	n := startNode(t, Config{NodeID: "a"})
	l := listen(t, n, "x")
	p, err := n.ListenPacket("p", ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		service string
		want    error
	}{
		{"x", ErrInUse}, {"p", ErrInUse}, {"ping", ErrInUse}, {"unreach", ErrInUse}, {"ninechars", ErrTooLong},
	} {
		if _, err := n.Listen(test.service, ListenOptions{}); !errors.Is(err, test.want) {
			t.Errorf("Listen(%q): %v, want %v", test.service, err, test.want)
		}
		if _, err := n.ListenPacket(test.service, ListenOptions{}); !errors.Is(err, test.want) {
			t.Errorf("ListenPacket(%q): %v, want %v", test.service, err, test.want)
		}
	}
	l.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	p.Close()
	listen(t, n, "x").Close()
	if p, err = n.ListenPacket("p", ListenOptions{}); err != nil {
		t.Errorf("a service that was closed cannot be bound again: %v", err)
	} else {
		p.Close()
	}
}

// An abort at one end is seen as one at the other, never as an end.
func TestReset(t *testing.T) {
	t.Parallel()
	nodes := line(t, "a", "b", "c")
	serve(t, nodes[2], "abort", func(c *Conn) {
		io.CopyN(io.Discard, c, 5)
		c.Write([]byte("half of it"))
		c.Reset()
	})
	c := dial(t, nodes[0], "c", "abort")
	c.Write([]byte("hello"))
	c.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadAll(c); !errors.Is(err, ErrReset) {
		t.Errorf("got %v, want a reset", err)
	}
}

// A stream outlives the link that carries it, if there is another soon.
func TestStreamSurvivesLinkLoss(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, "a", "b")
	l, _ := joinTCP(t, nodes[0], nodes[1])
	waitRoutes(t, nodes...)
	serve(t, nodes[1], "echo", func(c *Conn) {
		io.Copy(c, c)
		c.Close()
	})
	c := dial(t, nodes[0], "b", "echo")
	c.SetDeadline(time.Now().Add(patience))
	exchange := func(text string) {
		t.Helper()
		got := make([]byte, len(text))
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	exchange("before")
	for _, n := range nodes {
		l.Close()
		waitFor(t, n, "the loss of the link", func(s Status) bool { return len(s.RoutingTable) == 0 })
	}
	if _, err := c.Write([]byte("into the void")); err != nil {
		t.Fatal(err)
	}
	joinTCP(t, nodes[0], nodes[1])
	if _, err := io.ReadFull(c, make([]byte, len("into the void"))); err != nil {
		t.Fatal(err)
	}
	exchange("after")
}

// Whoever dials while a link is made anew waits for it; where none comes, not for long.
func TestDialWhileTheWayIsLost(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, "a", "b")
	l, _ := joinTCP(t, nodes[0], nodes[1])
	waitRoutes(t, nodes...)
	serve(t, nodes[1], "echo", func(c *Conn) {
		io.Copy(c, c)
		c.Close()
	})
	lose := func() {
		t.Helper()
		l.Close()
		for _, n := range nodes {
			waitFor(t, n, "the loss of the link", func(s Status) bool { return len(s.RoutingTable) == 0 })
		}
	}
	lose()
	dialled := make(chan error, 1)
	go func() {
		c, err := nodes[0].Dial(t.Context(), "b", "echo")
		if err == nil {
			c.Reset()
		}
		dialled <- err
	}()
	l, _ = joinTCP(t, nodes[0], nodes[1])
	if err := <-dialled; err != nil {
		t.Fatalf("the way is back: %v", err)
	}
	waitRoutes(t, nodes...)
	began := time.Now()
	lose()
	if _, err := nodes[0].Dial(t.Context(), "b", "echo"); !errors.Is(err, ErrNoRoute) || time.Since(began) < routePatience {
		t.Errorf("the way has just been lost: %v after %v", err, time.Since(began))
	}
	began = time.Now()
	if _, err := nodes[0].Dial(t.Context(), "b", "echo"); !errors.Is(err, ErrNoRoute) || time.Since(began) > routePatience {
		t.Errorf("the way was lost long ago: %v after %v", err, time.Since(began))
	}
}

// A node that restarts has forgotten its streams: they end as resets at once.
func TestStreamToRestartedNode(t *testing.T) {
	t.Parallel()
	a := startNode(t, Config{NodeID: "a"})
	old := startNode(t, Config{NodeID: "b", Epoch: NextEpoch(time.Now(), 0)})
	join(t, a, old)
	waitRoutes(t, a, old)
	serve(t, old, "mute", func(c *Conn) { io.Copy(io.Discard, c) })
	c := dial(t, a, "b", "mute")
	c.SetDeadline(time.Now().Add(patience))

	fresh := startNode(t, Config{NodeID: "b", Epoch: NextEpoch(time.Now(), old.config.Epoch)})
	join(t, a, fresh)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, ErrReset) {
		t.Errorf("got %v, want a reset", err)
	}
}

// Streams through the mesh are connections as any other.
func TestConn(t *testing.T) {
	t.Parallel()
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		a, err := New(Config{NodeID: "a"})
		if err != nil {
			return nil, nil, nil, err
		}
		b, err := New(Config{NodeID: "b"})
		if err != nil {
			return nil, nil, nil, err
		}
		stop = func() {
			a.Close()
			b.Close()
		}
		c1, c2, err = connect(t, a, b)
		if err != nil {
			stop()
			return nil, nil, nil, err
		}
		return c1, c2, stop, nil
	})
}

// connect starts and joins two nodes and opens a stream between them.
func connect(t *testing.T, a, b *Node) (c1, c2 net.Conn, err error) {
	if err := errors.Join(a.Start(), b.Start()); err != nil {
		return nil, nil, err
	}
	join(t, a, b)
	waitRoutes(t, a, b)
	l, err := b.Listen("svc", ListenOptions{})
	if err != nil {
		return nil, nil, err
	}
	accepted := make(chan error, 1)
	go func() {
		var err error
		c2, err = l.Accept()
		accepted <- err
	}()
	c1, err = a.Dial(t.Context(), "b", "svc")
	if err != nil {
		l.Close()
	}
	return c1, c2, errors.Join(err, <-accepted)
}

// What streams are told of routes is what routing knows.
func TestReached(t *testing.T) {
	t.Parallel()
	a, b := startNode(t, Config{NodeID: "a"}), startNode(t, Config{NodeID: "b"})
	if !a.reached(a.self) || a.reached(b.self) {
		t.Error("alone, a node reaches itself and nobody else")
	}
	join(t, a, b)
	waitRoutes(t, a, b)
	if !a.reached(b.self) {
		t.Error("there is a route, and the node is not reached")
	}
	b.Close()
	waitFor(t, a, "the loss of the route", func(s Status) bool { return len(s.RoutingTable) == 0 })
	if a.reached(b.self) {
		t.Error("the node has gone and is reached")
	}
}
