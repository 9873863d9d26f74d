package plug

import (
	"sync"

	"github.com/project-receptor/receptor/plug/wire"
)

// reports are what a plug has to say of units: the last word on each, until it is
// released, and which of these the core has not heard yet.
type reports struct {
	due chan struct{} // there is something to tell; capacity 1

	mu    sync.Mutex
	last  map[string]wire.Unit
	queue []string        // units to be told of, the longest waiting first
	dirty map[string]bool // those in queue
}

func newReports() *reports {
	return &reports{due: make(chan struct{}, 1), last: make(map[string]wire.Unit), dirty: make(map[string]bool)}
}

// put replaces what there is to say of a unit.
func (r *reports) put(u wire.Unit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last[u.Unit] = u
	r.touch(u.Unit)
}

// touch has a unit told of. The caller holds mu.
func (r *reports) touch(unit string) {
	if !r.dirty[unit] {
		r.dirty[unit] = true
		r.queue = append(r.queue, unit)
	}
	r.wake()
}

func (r *reports) wake() {
	select {
	case r.due <- struct{}{}:
	default:
	}
}

// again has units told of that were taken, and not told.
func (r *reports) again(units []wire.Unit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range units {
		r.touch(u.Unit)
	}
}

// tellAll has all units told of.
func (r *reports) tellAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for unit := range r.last {
		r.touch(unit)
	}
}

// take returns what is to be told next, of n units at most.
func (r *reports) take(n int) []wire.Unit {
	r.mu.Lock()
	defer r.mu.Unlock()
	n = min(n, len(r.queue))
	units := make([]wire.Unit, 0, n)
	for _, unit := range r.queue[:n] {
		delete(r.dirty, unit)
		if u, ok := r.last[unit]; ok {
			units = append(units, u)
		}
	}
	r.queue = append(r.queue[:0], r.queue[n:]...)
	if len(r.queue) > 0 {
		r.wake()
	}
	return units
}

// forget drops a unit: there is nothing more to say.
func (r *reports) forget(unit string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.last, unit)
}
