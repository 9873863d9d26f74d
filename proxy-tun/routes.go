package proxytun

import (
	"context"
	"errors"
	"net/netip"
	"sync"
)

// routes keeps the routes of an interface as they are wanted, and the item's state.
type routes struct {
	line *line
	kick chan struct{} // something has changed; capacity 1

	mu      sync.Mutex
	want    []netip.Prefix
	problem error
}

func newRoutes(l *line) *routes { return &routes{line: l, kick: make(chan struct{}, 1)} }

// set takes what is wanted, and what is wrong with what is not. It does not block.
func (r *routes) set(want []netip.Prefix, problem error) {
	r.mu.Lock()
	r.want, r.problem = want, problem
	r.mu.Unlock()
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// run makes it so, until ctx is done.
func (r *routes) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.kick:
		}
		r.mu.Lock()
		want, problem := r.want, r.problem
		r.mu.Unlock()
		if err := r.line.dev.SetRoutes(want); err != nil {
			problem = errors.Join(err, problem)
		}
		if problem != nil {
			r.line.item.Degraded(r.line.dev.Name(), problem)
			continue
		}
		r.line.item.Up(r.line.dev.Name())
	}
}
