package check

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// trial is one check that runs: what a *testing.T is to a test. Its methods are
// for the check's own goroutine, but for Error and Context.
type trial struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	cleanup []func()

	mu      sync.Mutex
	outcome Outcome
	detail  string // of the first failure
}

// try runs f as a check.
func try(ctx context.Context, timeout time.Duration, f func(*trial)) (Outcome, string) {
	ctx, stop := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("gave up after %v", timeout))
	defer stop()
	t := &trial{outcome: OK}
	t.ctx, t.cancel = context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() { // a goroutine of its own, so that Fatal can end it
		defer close(done)
		defer t.clean()
		f(t)
	}()
	<-done
	return t.outcome, t.detail
}

// clean undoes in reverse order, whatever happens on the way.
func (t *trial) clean() {
	for len(t.cleanup) > 0 {
		last := len(t.cleanup) - 1
		f := t.cleanup[last]
		t.cleanup = t.cleanup[:last]
		defer t.clean() // f may end the goroutine
		f()
	}
	t.cancel(nil)
}

// Helper is for *testing.T.
func (t *trial) Helper() {}

// Context ends with the check's time, or with the plug.
func (t *trial) Context() context.Context { return t.ctx }

// Cleanup has f called at the end, last first.
func (t *trial) Cleanup(f func()) { t.cleanup = append(t.cleanup, f) }

// Error fails the check; it goes on.
func (t *trial) Error(args ...any) { t.set(Fail, fmt.Sprint(args...)) }

// Fatal fails the check and ends it.
func (t *trial) Fatal(args ...any) {
	t.Error(args...)
	runtime.Goexit()
}

// Fatalf is Fatal with a format.
func (t *trial) Fatalf(format string, args ...any) { t.Fatal(fmt.Sprintf(format, args...)) }

// skip ends the check without a verdict.
func (t *trial) skip(format string, args ...any) {
	t.set(Skip, fmt.Sprintf(format, args...))
	runtime.Goexit()
}

// must fails the check with err.
func (t *trial) must(err error, doing string) {
	if err != nil {
		t.Fatalf("%s: %v", doing, err)
	}
}

// set makes this the outcome, unless it has failed already.
func (t *trial) set(o Outcome, detail string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.outcome == Fail {
		return
	}
	detail = strings.Join(strings.Fields(strings.TrimPrefix(detail, "plugtest: ")), " ")
	if cause := context.Cause(t.ctx); o == Fail && cause != nil && !strings.Contains(detail, cause.Error()) {
		detail += ": " + cause.Error()
	}
	t.outcome, t.detail = o, detail
}

// wait waits for c, or fails.
func wait[T any](t *trial, c <-chan T, what string) (v T) {
	select {
	case v = <-c:
	case <-t.ctx.Done():
		t.Fatalf("waited in vain for %s", what)
	}
	return v
}

// pause lets some time go by.
func (t *trial) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.ctx.Done():
	}
}

// oneOf fails unless got is one of want.
func (t *trial) oneOf(what, got string, want ...string) {
	if !slices.Contains(want, got) {
		t.Fatalf("%s: expected %s, got %q", what, strings.Join(want, " or "), got)
	}
}
