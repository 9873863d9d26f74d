package plughost

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
)

// inside runs a plug in the host's process; the function it returns ends it and
// gives what RunPlug returned.
func (r *rig) inside(p *plug.Plug) (end func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.RunPlug(ctx, p) }()
	r.t.Cleanup(cancel)
	return func() error {
		cancel()
		return <-ended
	}
}

// echo is a plug whose one kind of item serves a service that answers what it
// is told.
func echo() *plug.Plug {
	k := tcpServer()
	k.Kind, k.Aliases = "echo", nil
	return &plug.Plug{
		Program: "receptor-echo",
		Kinds:   []wire.Kind{k},
		Run: func(ctx context.Context, it *plug.Item) error {
			return it.Serve(ctx, plug.Service{Name: "echo"}, func(context.Context, plug.Target) (net.Conn, error) {
				near, far := net.Pipe()
				go func() { // ends with near
					_, _ = io.Copy(far, far)
					_ = far.Close()
				}()
				return near, nil
			})
		},
	}
}

// hesitant is a plug like echo that tells of each stream that it is asked to
// take, and takes none before full is closed.
func hesitant() (p *plug.Plug, opened, full chan struct{}) {
	opened, full = make(chan struct{}, 4*wire.MaxOpensPerItem), make(chan struct{})
	p = echo()
	p.Run = func(ctx context.Context, it *plug.Item) error {
		return it.Serve(ctx, plug.Service{Name: "echo"}, func(ctx context.Context, _ plug.Target) (net.Conn, error) {
			opened <- struct{}{}
			select {
			case <-full:
			case <-ctx.Done():
			}
			near, far := net.Pipe()
			go func() { // ends with near
				_, _ = io.Copy(io.Discard, far)
				_ = far.Close()
			}()
			return near, nil
		})
	}
	return p, opened, full
}

// allOpen waits until a hesitant plug is asked about as many streams as it may be at
// once, and lets it take them: then all dials must succeed.
func allOpen(t *testing.T, opened <-chan struct{}, full chan<- struct{}, dialled <-chan error) {
	t.Helper()
	for range wire.MaxOpensPerItem {
		select {
		case <-opened:
		case err := <-dialled:
			t.Fatalf("a dial returned early: %v", err)
		}
	}
	close(full)
	for range cap(dialled) { // one for each
		if err := <-dialled; err != nil {
			t.Fatal(err)
		}
	}
}

func TestPlugInTheHostsProcess(t *testing.T) {
	t.Parallel()
	r := newHostOnly(t, "inside", Config{})
	r.SetItems([]Item{{Kind: "echo", Params: map[string]any{"port": 1}}})
	end := r.inside(echo())
	if err := r.WaitFor(t.Context(), func(i []ItemStatus) bool { return i[0].State == wire.StateUp }); err != nil {
		t.Fatal(err)
	}
	if s := r.Items()[0]; s.Plug != "echo" || s.Addr != "echo" {
		t.Errorf("item is %+v", s)
	}
	conn, err := r.node.Dial(t.Context(), "inside", "echo")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	got := make([]byte, 5)
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Fatalf("the service answers %q, %v", got, err)
	}
	if err := end(); err != nil {
		t.Errorf("RunPlug returned %v", err)
	}
	r.itemIs(0, wire.StateWaiting, "receptor-echo has gone")
}

// Close ends the plugs inside, and waits for them.
func TestCloseEndsPlugsInside(t *testing.T) {
	t.Parallel()
	r := newHostOnly(t, "closing", Config{})
	stopped := make(chan struct{})
	p := echo()
	p.Run = func(ctx context.Context, it *plug.Item) error {
		it.Up("here")
		<-ctx.Done()
		close(stopped)
		return nil
	}
	r.SetItems([]Item{{Kind: "echo", Params: map[string]any{"port": 1}}})
	ended := make(chan error, 1)
	go func() { ended <- r.RunPlug(context.Background(), p) }()
	r.itemIs(0, wire.StateUp, "")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-stopped:
	default:
		t.Error("Close has not waited for the item")
	}
	if err := <-ended; err != nil {
		t.Errorf("RunPlug returned %v", err)
	}
	if err := r.RunPlug(context.Background(), echo()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("RunPlug on a closed host: %v", err)
	}
	if err := r.WaitFor(t.Context(), func([]ItemStatus) bool { return false }); !errors.Is(err, net.ErrClosed) {
		t.Errorf("WaitFor on a closed host: %v", err)
	}
}

// The policy holds for plugs inside as for others.
func TestPolicyHoldsInside(t *testing.T) {
	t.Parallel()
	r := newHostOnly(t, "strict", Config{Policy: Policy{Rules: []Rule{{Kinds: []string{"tcp-*"}}}}})
	r.SetItems([]Item{{Kind: "echo", Params: map[string]any{"port": 1}}})
	r.inside(echo())
	r.eventually("the plug, without its kind", func() bool {
		p := r.Plugs()
		return len(p) == 1 && p[0].Err == "kind echo: not allowed by plugs-policy"
	})
}

func TestPlugInsideThatIsWrong(t *testing.T) {
	t.Parallel()
	r := newHostOnly(t, "wrong", Config{})
	p := echo()
	p.Kinds[0].Help = ""
	p.Kinds[0].Kind = "No Kind"
	ctx, cancel := context.WithTimeout(t.Context(), plugtest.Patience)
	defer cancel()
	if err := r.RunPlug(ctx, p); err == nil || ctx.Err() != nil {
		t.Errorf("a plug with a broken kind runs: %v", err)
	}
}

// A plug with more streams to open than the core lets wait for one item opens
// them all: what is over waits its turn, on both sides.
func TestManyStreamsAtOnce(t *testing.T) {
	t.Parallel()
	const streams = 2*wire.MaxOpensPerItem + 50
	r := newHostOnly(t, "crowd", Config{})
	ctx, cancel := context.WithTimeout(t.Context(), plugtest.Patience)
	defer cancel()
	dialled := make(chan error, streams)
	dialler := echo()
	dialler.Program, dialler.Kinds[0].Kind = "receptor-dialler", "dialler"
	dialler.Run = func(_ context.Context, it *plug.Item) error {
		for range streams {
			go func() {
				c, err := it.Dial(ctx, plug.Target{Node: "crowd", Service: "echo"})
				if err == nil {
					err = c.Close()
				}
				dialled <- err
			}()
		}
		return nil
	}
	acceptor, opened, full := hesitant()
	r.SetItems([]Item{{Kind: "echo", Params: map[string]any{"port": 1}}, {Kind: "dialler", Params: map[string]any{"port": 1}}})
	r.inside(acceptor)
	r.itemIs(0, wire.StateUp, "")
	r.inside(dialler)
	allOpen(t, opened, full, dialled)
}

// Streams from several nodes wait for one plug, more than it may be asked about
// at once: none is refused.
func TestManyStreamsForOneBind(t *testing.T) {
	t.Parallel()
	const streams = wire.MaxOpensPerItem + 100
	r := newHostOnly(t, "hall", Config{})
	acceptor, opened, full := hesitant()
	r.SetItems([]Item{{Kind: "echo", Params: map[string]any{"port": 1}}})
	r.inside(acceptor)
	r.itemIs(0, wire.StateUp, "")
	ctx, cancel := context.WithTimeout(t.Context(), plugtest.Patience)
	defer cancel()
	dialled := make(chan error, streams)
	for range streams {
		go func() {
			c, err := r.node.Dial(ctx, "hall", "echo")
			if err == nil {
				err = c.Close()
			}
			dialled <- err
		}()
	}
	allOpen(t, opened, full, dialled)
}
