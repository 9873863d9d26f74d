package plugtest

import (
	"context"
	"sync"
	"time"

	"github.com/project-receptor/receptor/plug"
)

// Attached starts a core as NewCore does, and a plug of the SDK that has attached to it.
func Attached(t TB, p *plug.Plug, configure ...func(*FakeCore)) (*FakeCore, *CoreSession) {
	t.Helper()
	c := NewCore(t, configure...)
	c.RunPlug(p)
	return c, c.Session()
}

// RunPlug runs a plug of the SDK in this process until stop is called, or the test ends.
// It attaches to this core, and waits for it where it is not there. configure may change its
// options. The test fails if it ends with an error, or does not end.
func (c *FakeCore) RunPlug(p *plug.Plug, configure ...func(*plug.Options)) (stop func()) {
	c.t.Helper()
	o := plug.Options{Dial: c.Dial}
	for _, set := range configure {
		set(&o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- plug.Run(ctx, p, o) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				c.t.Error("plugtest: run the plug: ", err)
			}
		case <-time.After(Patience):
			c.t.Error("plugtest: the plug does not end")
		}
	})
	c.t.Cleanup(stop)
	return stop
}
