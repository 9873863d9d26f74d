package plug_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// Each kind is run by its own function, with its own parameters.
func TestByKind(t *testing.T) {
	t.Parallel()
	wait := wire.Param{Name: "wait", Type: schema.TypeDuration, Default: "90s"}
	addr := wire.Param{Name: "at", Type: schema.TypeString, Key: true}
	p := &plug.Plug{
		Program: "receptor-test",
		Kinds: []wire.Kind{
			{Kind: "a", Role: wire.RoleStream, Dir: "out", Help: "a", Params: []wire.Param{wait}},
			{Kind: "b", Role: wire.RoleStream, Dir: "out", Help: "b", Params: []wire.Param{addr}},
			{Kind: "c", Role: wire.RoleStream, Dir: "out", Help: "c"},
			{Kind: "d", Role: wire.RoleStream, Dir: "out", Help: "d", Params: []wire.Param{addr}},
		},
		Run: plug.ByKind(map[string]plug.RunFunc{
			"a": plug.With(func(_ context.Context, it *plug.Item, p struct{ Wait schema.Duration }) error {
				it.Up(time.Duration(p.Wait).String())
				return nil
			}),
			"b": plug.With(func(_ context.Context, it *plug.Item, p struct{ At string }) error {
				it.Up(p.At)
				return nil
			}),
			"d": plug.With(func(context.Context, *plug.Item, struct{ At int }) error { panic("it has no such parameters") }),
		}),
	}
	_, s := plugtest.Attached(t, p)
	a, b, c, d := s.Item("a", nil), s.Item("b", map[string]any{"at": "here"}), s.Item("c", nil), s.Item("d", map[string]any{"at": "x"})
	s.Configure(a, b, c, d)
	if st := s.WaitItem(a.Item, wire.StateUp); st.Addr != "1m30s" {
		t.Errorf("%+v", st)
	}
	if st := s.WaitItem(b.Item, wire.StateUp); st.Addr != "here" {
		t.Errorf("%+v", st)
	}
	if st := s.WaitItem(c.Item, wire.StateFailed); st.Err != "this plug does not say how to run items of kind c" {
		t.Errorf("%+v", st)
	}
	if st := s.WaitItem(d.Item, wire.StateFailed); !strings.HasPrefix(st.Err, "decode parameters of d at=x: ") {
		t.Errorf("%+v", st)
	}
}
