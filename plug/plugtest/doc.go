// Package plugtest holds fakes for both ends of the plug protocol: a core that
// drives a plug, and a plug that drives a core, for tests without the other.
//
// They speak the protocol as it is specified and check nothing more: what is
// right is for the test to say. Their methods that take no error fail the test
// instead, so they are for the test's own goroutine. A method that waits gives
// up after Patience. What a fake has started has ended when the test ends.
package plugtest

import (
	"context"
	"net"
	"testing"
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
func patient(t testing.TB) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), Patience)
}

// next receives from c, or fails the test.
func next[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(Patience):
		t.Fatalf("plugtest: waited in vain for %s", what)
		panic("unreachable")
	}
}
