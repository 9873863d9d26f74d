package plugtest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

var streamKind = wire.Kind{Kind: "s", Role: wire.RoleStream}

// The two fakes meet: what one is told is what the other sees.
func TestFakesMeet(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	plug := plugtest.AttachPlug(t, core.Dial, plugtest.PlugOptions{Hello: plugtest.Hello("x", streamKind)})
	s := core.Session()
	if s.Hello.Name != "x" || plug.Welcome.Node != "fake" || plug.Welcome.Roles[0].Version != 1 {
		t.Fatalf("HELLO %+v, WELCOME %+v", s.Hello, plug.Welcome)
	}

	s.Configure(plugtest.NewItem(t, "s a=1", "s", map[string]any{"a": 1}))
	c := plug.WaitConfig("an item", func(c wire.Config) bool { return len(c.Items) == 1 })
	if c.Items[0].Item != "s a=1" || string(c.Items[0].Params) != `{"a":1}` {
		t.Errorf("CONFIG %+v", c)
	}
	plug.Status(wire.ItemStatus{Item: "s a=1", State: wire.StateUp, Addr: "here"})
	if st := s.WaitItem("s a=1", wire.StateUp); st.Addr != "here" {
		t.Errorf("STATUS %+v", st)
	}

	if _, err := plug.Bind(t.Context(), wire.Bind{Bind: "b", Service: "web"}); err != nil {
		t.Fatal(err)
	}
	b := s.WaitBind("web")
	if err := s.Accept(t.Context(), b.Bind, "o1", wire.RemoteAddr{Node: "n"}); err != nil {
		t.Fatal(err)
	}
	a := plug.NextAccept()
	go func() {
		stream, err := plug.Attach(t.Context(), a.Object)
		if err != nil {
			t.Error(err)
			return
		}
		_, err = stream.Write([]byte("hello"))
		if err := errors.Join(err, stream.CloseWrite()); err != nil {
			t.Error(err)
		}
	}()
	d := core.Attach()
	if d.AttachBody().Object != "o1" {
		t.Errorf("ATTACH %+v", d.AttachBody())
	}
	if b, err := io.ReadAll(d.OpenStream("o1")); string(b) != "hello" || err != nil {
		t.Errorf("read %q, %v", b, err)
	}
	if err := plug.Unbind(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	s.WaitUnbind("web")
}

func TestLinkAndDial(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	plug := plugtest.AttachPlug(t, core.Dial, plugtest.PlugOptions{Hello: plugtest.Hello("x")})
	core.Session()

	result := make(chan error, 1)
	go func() {
		c, o, err := plug.Link(t.Context(), wire.Link{Item: "i", Dir: "out"})
		if err == nil && o.Object != "l1" {
			err = errors.New(o.Object)
		}
		if err == nil {
			_, err = c.Write([]byte("\x00\x00raw"))
		}
		result <- err
	}()
	l := core.Link()
	if l.LinkBody().Dir != "out" {
		t.Errorf("LINK %+v", l.LinkBody())
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(l.OpenLink("l1"), b); err != nil || string(b) != "\x00\x00raw" {
		t.Errorf("read %q, %v", b, err)
	}
	if err := <-result; err != nil {
		t.Fatal(err)
	}

	go func() {
		_, err := plug.Dial(t.Context(), wire.Dial{Node: "n", Service: "none"})
		result <- err
	}()
	d := core.DialRequest()
	if d.DialBody().Service != "none" {
		t.Errorf("DIAL %+v", d.DialBody())
	}
	d.Refuse(wire.NewError(wire.CodeUnreachable, "no way"))
	var e *wire.Error
	if err := <-result; !errors.As(err, &e) || e.Code != wire.CodeUnreachable {
		t.Errorf("Dial = %v, want unreachable", err)
	}

	if _, err := plug.Dial(t.Context(), wire.Dial{Session: "guess"}); !errors.As(err, &e) || e.Code != wire.CodeDenied {
		t.Errorf("Dial with a wrong secret = %v, want denied", err)
	}
}

// A core dies and comes back on the same path; the plug sees end of file.
func TestCoreDiesAndComesBack(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	plug := plugtest.AttachPlug(t, core.Dial, plugtest.PlugOptions{Hello: plugtest.Hello("x")})
	core.Session()
	core.Kill()
	if err := plug.WaitEnd(); !errors.Is(err, io.EOF) {
		t.Errorf("Run = %v, want EOF", err)
	}
	if _, err := core.Dial(t.Context()); err == nil {
		t.Error("a dead core answers")
	}
	core.Start()
	again := plugtest.AttachPlug(t, core.Dial, plugtest.PlugOptions{Hello: plugtest.Hello("x")})
	s := core.Session()
	again.Kill()
	<-s.Done()
}

func TestRefusedHello(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t, func(c *plugtest.FakeCore) {
		c.Welcome = func(wire.Hello) (wire.Welcome, error) {
			return wire.Welcome{}, wire.NewError(wire.CodeExists, "x is here")
		}
	})
	_, err := plugtest.TryAttachPlug(t, core.Dial, plugtest.PlugOptions{Hello: plugtest.Hello("x")})
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != wire.CodeExists {
		t.Errorf("TryAttachPlug = %v, want exists", err)
	}
}

func TestRawBytes(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	c := plugtest.Raw(t, core.Dial,
		wire.Preamble{Major: wire.Major, Kind: wire.ConnSession}.Append(nil),
		plugtest.Frame(wire.TypePing, 0, 1, "{}"))
	b, err := io.ReadAll(c)
	if err != nil || len(b) < wire.HeaderSize || wire.Type(b[4]) != wire.TypeError {
		t.Errorf("read %q, %v; want ERROR", b, err)
	}
}

// A core names an item and fills in its defaults, by whatever name the user has for its kind.
func TestItemOf(t *testing.T) {
	t.Parallel()
	kinds := []wire.Kind{{
		Kind: "s", Role: wire.RoleStream, Aliases: []wire.Alias{{Kind: "old-s", Defaults: map[string]any{"at": "localhost"}}},
		Params: []wire.Param{
			{Name: "port", Type: schema.TypePort, Key: true, Required: true, Bare: true},
			{Name: "at", Type: schema.TypeString, Default: "0.0.0.0"},
		},
	}}
	for name, tc := range map[string]struct {
		kind   string
		params map[string]any
		want   string
	}{
		"a kind":     {"s", map[string]any{"port": "7"}, `s port=7 {"at":"0.0.0.0","port":7}`},
		"an alias":   {"old-s", map[string]any{schema.Bare: "7"}, `s port=7 {"at":"localhost","port":7}`},
		"a mistake":  {"s", map[string]any{"port": "x"}, `s: parameter port: expected a number from 0 to 65535, got "x"`},
		"no kind":    {"t", nil, "the plug has no kind t"},
		"two wrongs": {"s", map[string]any{"x": 1}, "s: unknown parameter x; s takes port, at\ns: parameter port is required: expected a number from 0 to 65535"},
	} {
		it, err := plugtest.ItemOf(kinds, tc.kind, tc.params)
		got := it.Item + " " + string(it.Params)
		if err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
	}
}

// A plug runs until it is stopped, whether its core is there or not; how it ends badly is told.
func TestRunPlug(t *testing.T) {
	t.Parallel()
	p := &plug.Plug{Program: "receptor-x", Kinds: []wire.Kind{{Kind: "s", Role: wire.RoleStream, Dir: "out", Help: "x"}}}
	p.Run = func(ctx context.Context, it *plug.Item) error {
		it.Up("here")
		it.Count("seen", 2)
		<-ctx.Done()
		return nil
	}
	core := plugtest.NewStopped(t)
	stop := core.RunPlug(p, func(o *plug.Options) { o.Name = "y" })
	core.Start()
	s := core.Session()
	if addr := s.StartItem(s.Item("s", nil)); addr != "here" || s.Hello.Name != "y" {
		t.Errorf("%s is up at %q", s.Hello.Name, addr)
	}
	s.WaitCount("seen", 2)
	stop()
	stop() // it does nothing more
	<-s.Done()

	told := &recorder{T: t}
	bad := plugtest.NewStopped(told)
	bad.RunPlug(&plug.Plug{})()
	if len(told.errors) != 1 {
		t.Errorf("of a plug that cannot be run is told %q", told.errors)
	}
}

// recorder notes what would fail a test.
type recorder struct {
	*testing.T
	errors []string
}

func (r *recorder) Error(args ...any) { r.errors = append(r.errors, fmt.Sprint(args...)) }
