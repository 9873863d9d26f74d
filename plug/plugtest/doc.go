// Package plugtest holds fakes for both ends of the plug protocol: a core that
// drives a plug, and a plug that drives a core, for tests without the other.
//
// The test of a plug of the SDK begins so:
//
//	core, s := plugtest.Attached(t, mine.New())
//	addr := s.StartItem(s.Item("mine-listener", map[string]any{"port": 0}))
//
// They speak the protocol as it is specified and check nothing more: what is
// right is for the test to say. Their methods that take no error fail the test
// instead, so they are for the test's own goroutine. A method that waits gives
// up after Patience, or with the test's context. What a fake has started has ended when the test ends.
package plugtest

import (
	"context"
	"net"
	"time"
)

// Patience is how long the fakes wait for what must happen; far more than it takes.
const Patience = 20 * time.Second

// Dialer connects to a core: what plug.Options.Dial is.
type Dialer func(context.Context) (net.Conn, error)

// Unix returns a Dialer for the plug socket at path.
func Unix(path string) Dialer {
	return func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
}

// patient returns a context that ends with the test or after Patience.
func patient(t TB) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), Patience)
}

// TB is what the fakes need of a test: a *testing.T has it, and so has a check
// that runs outside go test.
type TB interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Error(args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// Receive receives from c, or fails the test after Patience.
func Receive[T any](t TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(Patience):
		t.Fatalf("plugtest: waited in vain for %s", what)
	case <-t.Context().Done():
		t.Fatalf("plugtest: waited in vain for %s: %v", what, context.Cause(t.Context()))
	}
	panic("unreachable")
}
