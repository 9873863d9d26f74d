//go:build unix

package plug_test

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
)

// greetPlug says hello to whoever connects.
func greetPlug(addrs chan<- string) *plug.Plug {
	return testPlug(wire.RoleLink, func(ctx context.Context, it *plug.Item) error {
		l, err := it.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		addrs <- l.Addr().String()
		defer context.AfterFunc(ctx, func() { _ = l.Close() })()
		for {
			c, err := l.Accept()
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			if _, err := io.WriteString(c, "hello"); err != nil {
				return err
			}
			if err := c.Close(); err != nil {
				return err
			}
		}
	})
}

func wantGreeting(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(plugtest.Patience)); err != nil {
		t.Fatal(err)
	}
	wantAll(t, c, "hello")
}

func dialTCP(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Nobody who connects is refused while a plug restarts, or its core does.
func TestListenIsKept(t *testing.T) {
	t.Parallel()
	core := handoffCore(t)
	addrs := make(chan string, 10)
	a := item(t, "a", "1")

	stop := core.RunPlug(greetPlug(addrs))
	s := core.Session()
	s.Configure(a)
	addr := plugtest.Receive(t, addrs, "the item to listen")
	if k := s.WaitKept("a"); k.Key != "tcp 127.0.0.1:0" {
		t.Errorf("KEEP %+v", k)
	}
	wantGreeting(t, dialTCP(t, addr))
	stop()
	waits := dialTCP(t, addr) // while nobody accepts

	stop = core.RunPlug(greetPlug(addrs))
	s = core.Session()
	s.Configure(a)
	if got := plugtest.Receive(t, addrs, "the item to listen"); got != addr {
		t.Errorf("listens on %s, before on %s", got, addr)
	}
	wantGreeting(t, waits)
	s.WaitKept("a")

	core.Kill()
	wantGreeting(t, dialTCP(t, addr))
	core.Start()
	s = core.Session()
	s.Configure(a)
	s.WaitKept("a") // by the new core, of the same listener
	stop()
	dialTCP(t, addr)
	core.Kill()
	if c, err := net.Dial("tcp", addr); err == nil {
		_ = c.Close()
		t.Error("somebody holds the listener still")
	}
}

// Where nothing can be kept a listener is one like any other.
func TestListenWithoutHandoff(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	addrs := make(chan string, 10)
	stop := core.RunPlug(greetPlug(addrs))
	core.Session().Configure(item(t, "a", "1"))
	addr := plugtest.Receive(t, addrs, "the item to listen")
	wantGreeting(t, dialTCP(t, addr))
	stop()
	if c, err := net.Dial("tcp", addr); err == nil {
		_ = c.Close()
		t.Error("somebody holds the listener still")
	}
}

// A process that dies with a connection accepted, and nothing done with it, leaves
// its application a reset, which is no end.
func TestAcceptedIsArmed(t *testing.T) {
	t.Parallel()
	core := handoffCore(t)
	addrs, dialled := make(chan string, 1), make(chan struct{})
	core.RunPlug(testPlug(wire.RoleStream, func(ctx context.Context, it *plug.Item) error {
		l, err := it.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		addrs <- l.Addr().String()
		c, err := l.Accept()
		if err != nil {
			return err
		}
		select {
		case <-dialled:
		case <-ctx.Done():
		}
		return c.Close() // as the kernel does for the dead
	}))
	core.Session().Configure(item(t, "a", "1"))
	c := dialTCP(t, plugtest.Receive(t, addrs, "the item to listen"))
	close(dialled)
	if err := c.SetDeadline(time.Now().Add(plugtest.Patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read %d bytes and %v, expected a reset", n, err)
	}
}

// A UDP socket is kept like a listener, with what waits in it.
func TestListenUDPIsKept(t *testing.T) {
	t.Parallel()
	core := handoffCore(t)
	socks := make(chan *plug.UDPSocket, 10)
	p := testPlug(wire.RoleLink, func(ctx context.Context, it *plug.Item) error {
		sock, err := it.ListenUDP(ctx, "udp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		socks <- sock
		<-ctx.Done()
		return sock.Close()
	})
	a := item(t, "a", "1")
	stop := core.RunPlug(p)
	s := core.Session()
	s.Configure(a)
	addr := plugtest.Receive(t, socks, "the socket").LocalAddr()
	s.WaitKept("a")
	stop()
	c, err := net.Dial("udp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, "hello"); err != nil { // while nobody reads
		t.Fatal(err)
	}

	core.RunPlug(p)
	s = core.Session()
	s.Configure(a)
	sock := plugtest.Receive(t, socks, "the socket again")
	if sock.LocalAddr().String() != addr.String() {
		t.Errorf("bound to %s, before to %s", sock.LocalAddr(), addr)
	}
	if err := sock.SetReadDeadline(time.Now().Add(plugtest.Patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if n, err := sock.Read(b); err != nil || string(b[:n]) != "hello" {
		t.Errorf("received %q, %v", b[:n], err)
	}
	s.WaitKept("a") // else it may be on its way there
	s.Configure()   // with the item it goes
	again, err := net.ListenPacket("udp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

// A plug that takes over waits for a port that the process before is about to let go.
func TestListenAwaitsThePortOfTheProcessBefore(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	before, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = before.Close() })
	runs, listening := make(chan struct{}, 10), make(chan struct{})
	core.RunPlug(testPlug(wire.RoleStream, func(ctx context.Context, it *plug.Item) error {
		runs <- struct{}{}
		l, err := it.Listen(ctx, "tcp", before.Addr().String())
		if err != nil {
			return err
		}
		close(listening)
		<-ctx.Done()
		return l.Close()
	}), func(o *plug.Options) { o.Takeover = true })
	core.Session().Configure(item(t, "a", "1"))
	plugtest.Receive(t, runs, "the item to run")
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}
	plugtest.Receive(t, listening, "the listener")
	if len(runs) > 0 {
		t.Error("the item has failed meanwhile")
	}
}
