package plug_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
)

// testPlug is a plug of one kind whose items do what run says.
func testPlug(role string, run func(context.Context, *plug.Item) error) *plug.Plug {
	return &plug.Plug{
		Program: "receptor-test",
		Kinds:   []wire.Kind{{Kind: "test", Role: role, Help: "a test", Params: []wire.Param{{Name: "value", Type: "string", Key: true}}}},
		Run:     run,
	}
}

// event is something that happened to an item.
type event struct{ what, item, value string }

// eventPlug is a plug whose items tell when they are started and stopped.
func eventPlug() (*plug.Plug, <-chan event) {
	events := make(chan event, 100)
	return testPlug(wire.RoleLink, func(ctx context.Context, it *plug.Item) error {
		var p struct{ Value string }
		if err := it.Decode(&p); err != nil {
			return err
		}
		events <- event{"start", it.ID, p.Value}
		it.Up("at " + p.Value)
		<-ctx.Done()
		events <- event{"stop", it.ID, p.Value}
		return nil
	}), events
}

func item(t *testing.T, id, value string) wire.ConfigItem {
	t.Helper()
	return plugtest.NewItem(t, id, "test", map[string]string{"value": value})
}

func wantEvents(t *testing.T, events <-chan event, want ...event) {
	t.Helper()
	for len(want) > 0 {
		got := plugtest.Receive(t, events, "an event")
		i := slices.Index(want, got)
		if i < 0 {
			t.Fatalf("got %v, want one of %v", got, want)
		}
		want = slices.Delete(want, i, i+1)
	}
}

func wantNoEvent(t *testing.T, events <-chan event) {
	t.Helper()
	select {
	case e := <-events:
		t.Fatalf("unexpected %v", e)
	default:
	}
}

func TestConfigIsDiffed(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	p, events := eventPlug()
	stop := core.RunPlug(p)
	s := core.Session()
	if s.Hello.Name != "test" || len(s.Hello.Roles) != 1 || s.Hello.Process == "" {
		t.Errorf("HELLO %+v", s.Hello)
	}

	configure := func(items ...wire.ConfigItem) {
		t.Helper()
		if r := s.Configure(items...); len(r.Errors) > 0 {
			t.Fatal(r.Errors)
		}
	}
	configure(item(t, "a", "1"), item(t, "b", "1"))
	wantEvents(t, events, event{"start", "a", "1"}, event{"start", "b", "1"})
	if st := s.WaitItem("a", wire.StateUp); st.Addr != "at 1" {
		t.Errorf("status %+v", st)
	}

	// The one that changed is stopped before it and new ones start.
	configure(item(t, "a", "1"), item(t, "b", "2"), item(t, "c", "1"))
	wantEvents(t, events, event{"stop", "b", "1"})
	wantEvents(t, events, event{"start", "b", "2"}, event{"start", "c", "1"})
	wantNoEvent(t, events)

	// A new core brings the same configuration: nothing is touched.
	core.Kill()
	core.Start()
	s = core.Session()
	configure(item(t, "a", "1"), item(t, "b", "2"))
	wantEvents(t, events, event{"stop", "c", "1"})
	wantNoEvent(t, events)
	s.WaitItem("a", wire.StateUp) // told again, though it has not changed

	stop()
	wantEvents(t, events, event{"stop", "a", "1"}, event{"stop", "b", "2"})
	wantNoEvent(t, events)
}

// One mistake and nothing is applied; each is told.
func TestConfigIsCheckedWhole(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	p, events := eventPlug()
	p.Check = func(it *plug.Item) error {
		if it.ID == "bad" {
			return errors.New("is bad")
		}
		return nil
	}
	core.RunPlug(p)
	s := core.Session()
	s.Configure(item(t, "a", "1"))
	wantEvents(t, events, event{"start", "a", "1"})
	r := s.Configure(item(t, "b", "1"), item(t, "bad", "1"), item(t, "c", "1"), item(t, "c", "2"),
		plugtest.NewItem(t, "d", "other", map[string]string{}), wire.ConfigItem{Item: "e", Kind: "test", Params: []byte("[]")})
	var got []string
	for _, e := range r.Errors {
		got = append(got, e.Item+": "+e.Msg)
	}
	for i, want := range []string{"bad: is bad", "c: is configured twice", "d: kind other is not one of this plug", "e: "} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) {
			t.Fatalf("got %q, want %q at %d", got, want, i)
		}
	}
	wantNoEvent(t, events)
}

// A core that does not take the parameter for itself speaks no TLS.
func TestNoTLSInTheOpen(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	p, events := eventPlug()
	p.Kinds[0].Params = append(p.Kinds[0].Params, wire.Param{Name: "tls", Type: "string", TLS: wire.TLSClient})
	core.RunPlug(p)
	s := core.Session()
	r := s.Configure(plugtest.NewItem(t, "a", "test", map[string]string{"value": "1", "tls": "c"}))
	if len(r.Errors) != 1 || r.Errors[0].Msg != "parameter tls: this core is too old to speak TLS" {
		t.Errorf("got %+v", r.Errors)
	}
	wantNoEvent(t, events)
	s.Configure(plugtest.NewItem(t, "a", "test", map[string]string{"value": "1", "tls": ""}))
	wantEvents(t, events, event{"start", "a", "1"})
}

func TestFailedItemIsRunAgain(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	runs := make(chan int, 10)
	n := 0
	core.RunPlug(testPlug(wire.RoleLink, func(ctx context.Context, it *plug.Item) error {
		n++
		runs <- n
		if n == 1 {
			return errors.New("first try")
		}
		it.Up("here")
		return nil // before its context is done: it stays as it is
	}))
	s := core.Session()
	s.Configure(item(t, "a", "1"))
	if st := s.WaitItem("a", wire.StateFailed); st.Err != "first try" {
		t.Errorf("status %+v", st)
	}
	if st := s.WaitItem("a", wire.StateUp); st.Err != "" || st.Addr != "here" {
		t.Errorf("status %+v", st)
	}
	if got := []int{<-runs, <-runs}; got[1] != 2 || len(runs) != 0 {
		t.Errorf("runs %v and %d more", got, len(runs))
	}
}

func TestWithoutCore(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	items := make(chan *plug.Item, 1)
	core.RunPlug(testPlug(wire.RoleLink, func(_ context.Context, it *plug.Item) error {
		items <- it
		return nil
	}))
	core.Session().Configure(item(t, "a", "1"))
	it := plugtest.Receive(t, items, "the item")
	if err := it.Attached(t.Context()); err != nil {
		t.Fatal(err)
	}
	core.Kill()
	for { // until the plug has seen it, it fails otherwise
		_, err := it.Dial(t.Context(), plug.Target{Node: "n", Service: "s"})
		if errors.Is(err, plug.ErrDetached) {
			break
		}
		if err == nil {
			t.Fatal("dialled a dead core")
		}
	}
	if _, err := it.OpenLink(t.Context(), plug.LinkInfo{}); !errors.Is(err, plug.ErrDetached) {
		t.Errorf("OpenLink: %v, want ErrDetached", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := it.Attached(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("Attached: %v", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- it.Attached(t.Context()) }()
	core.Start()
	core.Session().Configure(item(t, "a", "1"))
	if err := plugtest.Receive(t, waited, "Attached"); err != nil {
		t.Error(err)
	}
}

// A core that refuses is asked again, and not hammered.
func TestRefusedIsTriedAgain(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	refusals := 0
	core := plugtest.NewCore(t, func(c *plugtest.FakeCore) {
		granted := c.Welcome
		c.Welcome = func(h wire.Hello) (wire.Welcome, error) {
			mu.Lock()
			defer mu.Unlock()
			if refusals < 2 {
				refusals++
				return wire.Welcome{}, wire.NewError(wire.CodeExists, "another is here")
			}
			return granted(h)
		}
	})
	p, _ := eventPlug()
	core.RunPlug(p)
	core.Session()
}

// A plug takes over once; whoever takes over from it then is not fought.
func TestTakeoverIsAskedOnce(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	p, _ := eventPlug()
	core.RunPlug(p, func(o *plug.Options) { o.Takeover = true })
	for i, want := range []bool{true, false} {
		s := core.Session()
		if s.Hello.Takeover != want {
			t.Errorf("HELLO %d: takeover is %v", i, s.Hello.Takeover)
		}
		s.Close(nil)
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	p, events := eventPlug()
	core.RunPlug(p)
	s := core.Session()
	s.Configure(item(t, "a", "1"))
	wantEvents(t, events, event{"start", "a", "1"})
	if err := s.Call(t.Context(), wire.TypeDrain, wire.Drain{Reason: "test"}, nil); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, events, event{"stop", "a", "1"})
	s.WaitItem("a", wire.StateWaiting)
	s.Configure(item(t, "a", "1")) // configured again: it starts again
	wantEvents(t, events, event{"start", "a", "1"})
}

func TestUnsupportedRequest(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	p, _ := eventPlug()
	core.RunPlug(p)
	err := core.Session().Call(t.Context(), wire.TypeWatch, struct{}{}, nil)
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != wire.CodeUnsupported {
		t.Errorf("got %v, want unsupported", err)
	}
}

func TestRunRefusesBadDescriptions(t *testing.T) {
	t.Parallel()
	good, _ := eventPlug()
	core := plugtest.NewCore(t)
	for name, tc := range map[string]struct {
		p plug.Plug
		o plug.Options
	}{
		"no dial":  {*good, plug.Options{}},
		"bad name": {*good, plug.Options{Dial: core.Dial, Name: "Ä"}},
		"no kinds": {plug.Plug{Program: "x", Run: good.Run}, plug.Options{Dial: core.Dial}},
		"no run":   {plug.Plug{Program: "x", Kinds: good.Kinds}, plug.Options{Dial: core.Dial}},
		"bad kind": {plug.Plug{Program: "x", Kinds: []wire.Kind{{Kind: "X"}}, Run: good.Run}, plug.Options{Dial: core.Dial}},
	} {
		if err := plug.Run(t.Context(), &tc.p, tc.o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
