package plug_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// servePlug serves the service "web" by target.
func servePlug(target plug.TargetFunc) *plug.Plug {
	return testPlug(wire.RoleStream, func(ctx context.Context, it *plug.Item) error {
		return it.Serve(ctx, plug.Service{Name: "web", Advertise: true, Tags: map[string]string{"a": "b"}}, target)
	})
}

func TestServe(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	app, sock := tcpPair(t)
	core.RunPlug(servePlug(func(_ context.Context, from plug.Target) (net.Conn, error) {
		if from != (plug.Target{Node: "far", Service: "x"}) {
			return nil, errors.New("not you")
		}
		return sock, nil
	}))
	s := core.Session()
	s.Configure(item(t, "a", "1"))
	b := s.WaitBind("web")
	if b.Item != "a" || !b.Advertise || b.Tags["a"] != "b" {
		t.Errorf("BIND %+v", b)
	}
	if st := s.WaitItem("a", wire.StateUp); st.Addr != "web" {
		t.Errorf("status %+v", st)
	}

	// After a core's death it is bound again, by the same name.
	core.Kill()
	core.Start()
	s = core.Session()
	s.Configure(item(t, "a", "1"))
	if again := s.WaitBind("web"); again.Bind != b.Bind {
		t.Errorf("bound as %q, before as %q", again.Bind, b.Bind)
	}

	err := s.Accept(t.Context(), b.Bind, "s1", wire.RemoteAddr{Node: "other", Service: "x"})
	var told *wire.Error
	if !errors.As(err, &told) || told.Code != wire.CodeRefused || told.Msg != "not you" {
		t.Errorf("got %v, want refused: not you", err)
	}
	err = s.Accept(t.Context(), "nothing", "s1", wire.RemoteAddr{})
	if !errors.As(err, &told) || told.Code != wire.CodeNotFound {
		t.Errorf("got %v, want notfound", err)
	}

	if err := s.Accept(t.Context(), b.Bind, "s2", wire.RemoteAddr{Node: "far", Service: "x"}); err != nil {
		t.Fatal(err)
	}
	d := core.Attach()
	if a := d.AttachBody(); a.Object != "s2" || a.Session != s.Welcome.Session {
		t.Errorf("ATTACH %+v", a)
	}
	mesh := d.OpenStream("s2")
	say(t, mesh, "question")
	if err := mesh.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wantAll(t, app, "question")
	say(t, app, "answer")
	if err := app.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wantAll(t, mesh, "answer")

	s.Configure()
	s.WaitUnbind("web")
}

// A plug that stops leaves its services bound, and a stream that it will not serve any
// more to the next process: the core hears of that by the end of the session.
func TestStopKeepsServices(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	left, hold := make(chan struct{}), make(chan struct{})
	stop := core.RunPlug(testPlug(wire.RoleStream, func(ctx context.Context, it *plug.Item) error {
		err := it.Serve(ctx, plug.Service{Name: "web"}, nil)
		close(left)
		<-hold // as what it carries may
		return err
	}))
	s := core.Session()
	s.Configure(item(t, "a", "1"))
	b := s.WaitBind("web")
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	<-left
	accepted := make(chan error, 1)
	go func() { accepted <- s.Accept(t.Context(), b.Bind, "s1", wire.RemoteAddr{Node: "far", Service: "x"}) }()
	// Whatever it says to something else, it has had time to refuse that.
	if err := s.Call(t.Context(), wire.TypePing, struct{}{}, nil); err != nil {
		t.Error(err)
	}
	select {
	case err := <-accepted:
		t.Errorf("ACCEPT of a plug that stops was answered: %v", err)
	default:
	}
	close(hold)
	if err := <-accepted; !errors.Is(err, session.ErrClosed) {
		t.Errorf("ACCEPT ended with %v, expected %v", err, session.ErrClosed)
	}
	<-stopped
	s.WaitBind("web") // it is still there
}

// A stream that the core will not let attach is a reset at the application.
func TestServeAttachRefused(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	app, sock := tcpPair(t)
	core.RunPlug(servePlug(func(context.Context, plug.Target) (net.Conn, error) { return sock, nil }))
	s := core.Session()
	s.Configure(item(t, "a", "1"))
	if err := s.Accept(t.Context(), s.WaitBind("web").Bind, "s1", wire.RemoteAddr{}); err != nil {
		t.Fatal(err)
	}
	core.Attach().Refuse(wire.NewError(wire.CodeGone, "it has left"))
	wantReset(t, app)
}

// A stream that nobody waits for any more is not left open at the application.
func TestServeAcceptWithdrawn(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	app, sock := tcpPair(t)
	ctx, cancel := context.WithCancel(t.Context())
	core.RunPlug(servePlug(func(ctx context.Context, _ plug.Target) (net.Conn, error) {
		cancel()
		<-ctx.Done()
		return sock, nil
	}))
	s := core.Session()
	s.Configure(item(t, "a", "1"))
	if err := s.Accept(ctx, s.WaitBind("web").Bind, "s1", wire.RemoteAddr{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	wantReset(t, app)
}
