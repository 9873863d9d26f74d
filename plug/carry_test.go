package plug_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/wire"
)

// tcpPair is a TCP connection over loopback: the application's end, and the
// plug's.
func tcpPair(t *testing.T) (app, sock *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{c, s} {
		t.Cleanup(func() { _ = c.Close() })
		if err := c.SetDeadline(time.Now().Add(plugtest.Patience)); err != nil {
			t.Fatal(err)
		}
	}
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// carried is a stream that a plug carries, seen from both ends.
type carried struct {
	core *plugtest.FakeCore
	app  *net.TCPConn     // the application
	mesh *recordconn.Conn // the core's end of the stream
	err  <-chan error     // what CarryDial returned
	stop func()           // stops the plug
}

func carryDial(t *testing.T) carried {
	t.Helper()
	core := plugtest.NewCore(t)
	app, sock := tcpPair(t)
	result := make(chan error, 1)
	stop := core.RunPlug(testPlug(wire.RoleStream, func(ctx context.Context, it *plug.Item) error {
		result <- it.CarryDial(ctx, sock, plug.Target{Node: "far", Service: "web"}, plug.DialOptions{})
		return nil
	}))
	s := core.Session()
	s.Configure(item(t, "a", "1"))
	d := core.DialRequest()
	if b := d.DialBody(); b.Node != "far" || b.Service != "web" || b.Item != "a" || b.Session != s.Welcome.Session || b.TimeoutMS <= 0 {
		t.Errorf("DIAL %+v", b)
	}
	return carried{core, app, d.OpenStream("s1"), result, stop}
}

func say(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

func wantAll(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got, err := io.ReadAll(r)
	if err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q and a clean end", got, err, want)
	}
}

func wantPart(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

// wantReset reads until an error, which must be a reset.
func wantReset(t *testing.T, r io.Reader) {
	t.Helper()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("got %v, want a reset", err)
	}
}

func TestCarryDialEnds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		end   func(t *testing.T, c carried)
		clean bool
	}{
		"application ends first": {func(t *testing.T, c carried) {
			say(t, c.app, "question")
			if err := c.app.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			wantAll(t, c.mesh, "question")
			say(t, c.mesh, "answer after the half-close")
			if err := c.mesh.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			wantAll(t, c.app, "answer after the half-close")
		}, true},
		"mesh ends first": {func(t *testing.T, c carried) {
			say(t, c.mesh, "greeting")
			if err := c.mesh.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			wantAll(t, c.app, "greeting")
			say(t, c.app, "thanks")
			if err := c.app.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			wantAll(t, c.mesh, "thanks")
		}, true},
		"mesh resets": {func(t *testing.T, c carried) {
			say(t, c.mesh, "part")
			wantPart(t, c.app, "part")
			if err := c.mesh.Reset(wire.Reset{Code: wire.CodeGone, Msg: "far side reset"}); err != nil {
				t.Fatal(err)
			}
			wantReset(t, c.app)
		}, false},
		"mesh resets after its end": {func(t *testing.T, c carried) {
			if err := c.mesh.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			wantAll(t, c.app, "")
			if err := c.mesh.Reset(wire.Reset{Code: wire.CodeGone, Msg: "far side reset"}); err != nil {
				t.Fatal(err)
			}
			// The application has had its clean end; its own talk has failed.
			for {
				if _, err := c.app.Write([]byte("x")); err != nil {
					break
				}
			}
		}, false},
		"application resets": {func(t *testing.T, c carried) {
			say(t, c.app, "part")
			wantPart(t, c.mesh, "part")
			if err := errors.Join(c.app.SetLinger(0), c.app.Close()); err != nil {
				t.Fatal(err)
			}
			wantReset(t, c.mesh)
		}, false},
		"core dies": {func(t *testing.T, c carried) {
			say(t, c.mesh, "part")
			wantPart(t, c.app, "part")
			c.core.Kill()
			wantReset(t, c.app)
		}, false},
		"plug stops": {func(t *testing.T, c carried) {
			say(t, c.mesh, "part")
			wantPart(t, c.app, "part")
			go c.stop()
			wantReset(t, c.app)
			wantReset(t, c.mesh)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := carryDial(t)
			tc.end(t, c)
			if err := plugtest.Receive(t, c.err, "CarryDial to return"); (err == nil) != tc.clean {
				t.Errorf("CarryDial returned %v", err)
			}
		})
	}
}

// Much goes both ways at once, in pieces that fit nothing.
func TestCarryDialBulk(t *testing.T) {
	t.Parallel()
	c := carryDial(t)
	data := bytes.Repeat([]byte("0123456789abcde"), 300_000)
	for _, w := range []interface {
		io.Writer
		CloseWrite() error
	}{c.app, c.mesh} {
		go func() {
			for b := data; len(b) > 0; {
				n := min(len(b), 77_777)
				if _, err := w.Write(b[:n]); err != nil {
					t.Error(err)
					return
				}
				b = b[n:]
			}
			if err := w.CloseWrite(); err != nil {
				t.Error(err)
			}
		}()
	}
	back := make(chan []byte, 1)
	go func() {
		b, err := io.ReadAll(c.app)
		if err != nil {
			t.Error(err)
		}
		back <- b
	}()
	there, err := io.ReadAll(c.mesh)
	if err != nil || !bytes.Equal(there, data) {
		t.Errorf("into the mesh: %d bytes, %v", len(there), err)
	}
	if b := <-back; !bytes.Equal(b, data) {
		t.Errorf("from the mesh: %d bytes", len(b))
	}
	if err := plugtest.Receive(t, c.err, "CarryDial to return"); err != nil {
		t.Error(err)
	}
}

func TestCarryDialRefused(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	app, sock := tcpPair(t)
	result := make(chan error, 1)
	core.RunPlug(testPlug(wire.RoleStream, func(ctx context.Context, it *plug.Item) error {
		result <- it.CarryDial(ctx, sock, plug.Target{Node: "far", Service: "web"}, plug.DialOptions{OnOpen: func() { t.Error("was opened") }})
		return nil
	}))
	core.Session().Configure(item(t, "a", "1"))
	core.DialRequest().Refuse(wire.NewError(wire.CodeUnreachable, "no way to far"))
	wantReset(t, app)
	err := plugtest.Receive(t, result, "CarryDial to return")
	var dial *plug.DialError
	var told *wire.Error
	if !errors.As(err, &dial) || !errors.As(err, &told) || !strings.Contains(err.Error(), "dial far/web: unreachable: no way to far") {
		t.Errorf("got %v", err)
	}
}

// A drained item takes on nothing new, but what it carries may finish.
func TestCarryDialOutlivesDrain(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	app, sock := tcpPair(t)
	result, opened, drained := make(chan error, 1), make(chan struct{}), make(chan struct{})
	core.RunPlug(testPlug(wire.RoleStream, func(ctx context.Context, it *plug.Item) error {
		context.AfterFunc(ctx, func() { close(drained) })
		result <- it.CarryDial(ctx, sock, plug.Target{Node: "far", Service: "web"}, plug.DialOptions{OnOpen: func() { close(opened) }})
		return nil
	}))
	s := core.Session()
	s.Configure(item(t, "a", "1"))
	mesh := core.DialRequest().OpenStream("s1")
	plugtest.Receive(t, opened, "the stream to be open")
	if err := s.Call(t.Context(), wire.TypeDrain, wire.Drain{}, nil); err != nil {
		t.Fatal(err)
	}
	plugtest.Receive(t, drained, "the item to be drained")
	say(t, mesh, "still here")
	if err := mesh.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wantAll(t, app, "still here")
	if err := app.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wantAll(t, mesh, "")
	if err := plugtest.Receive(t, result, "CarryDial to return"); err != nil {
		t.Error(err)
	}
}

func TestCarryLink(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		end  func(t *testing.T, peer *net.TCPConn, core net.Conn)
		fine bool
	}{
		"the other node closes": {func(t *testing.T, peer *net.TCPConn, core net.Conn) {
			say(t, peer, "last words")
			if err := peer.Close(); err != nil {
				t.Fatal(err)
			}
			wantAll(t, core, "last words")
		}, true},
		"the core closes": {func(t *testing.T, peer *net.TCPConn, core net.Conn) {
			say(t, peer, "never read by the core") // and no reason to lose the last words
			say(t, core, "last words")
			if err := core.Close(); err != nil {
				t.Fatal(err)
			}
			wantAll(t, peer, "last words")
		}, true},
		"the other node resets": {func(t *testing.T, peer *net.TCPConn, core net.Conn) {
			if err := errors.Join(peer.SetLinger(0), peer.Close()); err != nil {
				t.Fatal(err)
			}
			wantAll(t, core, "") // links have no ends to keep
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			core := plugtest.NewCore(t)
			peer, sock := tcpPair(t)
			result := make(chan error, 1)
			core.RunPlug(testPlug(wire.RoleLink, func(ctx context.Context, it *plug.Item) error {
				result <- it.CarryLink(ctx, sock, plug.LinkInfo{Dir: "in", Local: "l", Remote: "r", Medium: "tcp"})
				return nil
			}))
			s := core.Session()
			s.Configure(item(t, "a", "1"))
			d := core.Link()
			if b := d.LinkBody(); !reflect.DeepEqual(b, wire.Link{Session: s.Welcome.Session, Item: "a", Dir: "in", Local: "l", Remote: "r", Medium: "tcp"}) {
				t.Errorf("LINK %+v", b)
			}
			link := d.OpenLink("l1")
			say(t, link, "\x01\x00a")
			wantPart(t, peer, "\x01\x00a")
			tc.end(t, peer, link)
			if err := plugtest.Receive(t, result, "CarryLink to return"); (err == nil) != tc.fine {
				t.Errorf("CarryLink returned %v", err)
			}
			if _, err := sock.Write(nil); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the socket is still open: %v", err)
			}
		})
	}
}

// What is carried ends with its item.
func TestCarryLinkOfAnItemThatIsGone(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	peer, sock := tcpPair(t)
	core.RunPlug(testPlug(wire.RoleLink, func(ctx context.Context, it *plug.Item) error {
		return it.CarryLink(ctx, sock, plug.LinkInfo{Dir: "in"})
	}))
	s := core.Session()
	s.Configure(item(t, "a", "1"))
	link := core.Link().OpenLink("l1")
	say(t, link, "\x01\x00a")
	wantPart(t, peer, "\x01\x00a")
	s.Configure()
	wantAll(t, link, "")
	wantAll(t, peer, "")
}
