package plugtest

import (
	"context"
	"sync"
	"time"
)

// watched is a value that tests wait for.
type watched[T any] struct {
	mu      sync.Mutex
	value   T
	changed chan struct{} // closed at the next change; nil: nobody waits
}

// update changes the value.
func (w *watched[T]) update(f func(*T)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.value)
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// look shows the value to f.
func (w *watched[T]) look(f func(T)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w.value)
}

// wait returns when ok says so of the value, or fails the test.
func (w *watched[T]) wait(t TB, what string, ok func(T) bool) {
	t.Helper()
	timeout := time.After(Patience)
	for {
		w.mu.Lock()
		if ok(w.value) {
			w.mu.Unlock()
			return
		}
		if w.changed == nil {
			w.changed = make(chan struct{})
		}
		changed, last := w.changed, w.value
		w.mu.Unlock()
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("plugtest: waited in vain for %s; last: %+v", what, last)
		case <-t.Context().Done():
			t.Fatalf("plugtest: waited in vain for %s; last: %+v: %v", what, last, context.Cause(t.Context()))
		}
	}
}
