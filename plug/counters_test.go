package plug_test

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
)

// idlePlug hands out its items, which do nothing.
func idlePlug() (*plug.Plug, <-chan *plug.Item) {
	items := make(chan *plug.Item, 10)
	return testPlug(wire.RoleLink, func(ctx context.Context, it *plug.Item) error {
		items <- it
		it.Up("here")
		<-ctx.Done()
		return nil
	}), items
}

// The last greeting counts, also for an item that goes on, and none without a core. At a
// core that has none the item begins anew.
func TestGreeting(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	p, items := idlePlug()
	core.RunPlug(p)
	a := item(t, "a", "1")
	a.Greeting = []byte("first")
	s := core.Session()
	s.Configure(a)
	it := plugtest.Receive(t, items, "the item")
	if got := it.Greeting(); string(got) != "first" {
		t.Errorf("greeting %q", got)
	}
	a.Greeting = []byte("second")
	s.Configure(a)
	if got := it.Greeting(); string(got) != "second" {
		t.Errorf("greeting %q", got)
	}
	core.Kill()
	for it.Greeting() != nil { // it ends by the test's timeout at the latest
		time.Sleep(time.Millisecond)
	}
	core.Start()
	a.Greeting = nil
	core.Session().Configure(a)
	it = plugtest.Receive(t, items, "the item, anew")
	if it.Attached(t.Context()) != nil || it.Greeting() != nil {
		t.Errorf("greeting %q of a core that tells none", it.Greeting())
	}
}

// Counts of all items are told together, and soon, but gathered.
func TestCounters(t *testing.T) {
	t.Parallel()
	core := plugtest.NewCore(t)
	p, items := idlePlug()
	core.RunPlug(p)
	s := core.Session()
	s.Configure(item(t, "a", "1"), item(t, "b", "2"))
	for range 2 {
		it := plugtest.Receive(t, items, "an item")
		for range 500 {
			it.Count("lost", 1)
		}
		it.Count("found", 2)
	}
	want := map[string]uint64{"lost": 1000, "found": 4}
	s.WaitStatus("counters", func(st wire.Status) bool { return maps.Equal(st.Counters, want) })
}
