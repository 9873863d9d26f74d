package plug_test

import (
	"context"
	"testing"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
)

// leaving runs p, which leaves when it is told to; ended is closed when it has.
func leaving(t *testing.T, core *plugtest.FakeCore, p *plug.Plug) (leave func(), ended <-chan error) {
	t.Helper()
	asked, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- plug.Run(t.Context(), p, plug.Options{Dial: core.Dial, Leave: asked}) }()
	return func() { close(asked) }, done
}

// A plug that leaves takes on nothing new and tells its core so; what it relays goes on,
// with that core or without, and when it ends the plug does.
func TestLeave(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	app, sock := tcpPair(t)
	opened, drained := make(chan struct{}), make(chan struct{})
	leave, ended := leaving(t, core, testPlug(wire.RoleStream, func(ctx context.Context, it *plug.Item) error {
		context.AfterFunc(ctx, func() { close(drained) })
		return it.CarryDial(ctx, sock, plug.Target{Node: "far", Service: "web"}, plug.DialOptions{OnOpen: func() { close(opened) }})
	}))
	s := core.Session()
	s.Configure(item(t, "a", "1"))
	mesh := core.DialRequest().OpenStream("s1")
	plugtest.Receive(t, opened, "the stream to be open")
	leave()
	plugtest.Receive(t, drained, "the item to be drained")
	s.WaitDrain()
	s.Close(nil)
	say(t, mesh, "still here")
	if err := mesh.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wantAll(t, app, "still here")
	select {
	case err := <-ended:
		t.Fatalf("it has left before the other half of the stream has ended: %v", err)
	default:
	}
	if err := app.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wantAll(t, mesh, "")
	if err := plugtest.Receive(t, ended, "the plug to leave"); err != nil {
		t.Error(err)
	}
}

// Links that are relayed end at once, as their items of another process cannot have them
// before.
func TestLeaveEndsLinks(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	peer, sock := tcpPair(t)
	leave, ended := leaving(t, core, testPlug(wire.RoleLink, func(ctx context.Context, it *plug.Item) error {
		return it.CarryLink(ctx, sock, plug.LinkInfo{Dir: "in"})
	}))
	core.Session().Configure(item(t, "a", "1"))
	link := core.Link().OpenLink("l1")
	say(t, link, "\x01\x00a")
	wantPart(t, peer, "\x01\x00a")
	leave()
	wantAll(t, link, "")
	wantAll(t, peer, "")
	if err := plugtest.Receive(t, ended, "the plug to leave"); err != nil {
		t.Error(err)
	}
}
