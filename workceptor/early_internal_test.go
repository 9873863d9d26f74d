package workceptor

import (
	"context"
	"testing"
	"time"

	"github.com/project-receptor/receptor/workceptor/internal/state"
	"github.com/project-receptor/receptor/workceptor/internal/store"
)

// A node that has just started does not say that it does not know what its worker is
// about to offer.
func TestWorkersMayBeOnTheirWay(t *testing.T) {
	t.Parallel()
	start := func(early time.Duration) *Workceptor {
		w, err := New(Config{Dir: t.TempDir(), NodeID: "n", Early: early})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		})
		return w
	}
	w := start(time.Hour)
	w.enqueue(store.Unit{ID: "before", Spec: state.Spec{WorkType: "echo"}}) // a unit of it is there already
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.awaitOffer(t.Context(), "echo")
	}()
	a := w.Attach("test", nil)
	for _, name := range []string{"other", "echo"} {
		select {
		case <-done:
			t.Error("it does not wait")
		default:
		}
		if err := a.Offer(WorkType{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	<-done
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	w.awaitOffer(gone, "never")                          // nobody waits
	start(0).awaitOffer(t.Context(), "never")            // nor has anybody to
	start(time.Millisecond).awaitOffer(t.Context(), "x") // for ever
}
