package plug

import (
	"maps"
	"sync"
	"time"
)

// countersGather is how long counts are gathered before they are told: a flood of
// what is counted is not to be one of STATUS.
const countersGather = time.Second

// counters count what the items of a plug have seen, for its status.
type counters struct {
	mu     sync.Mutex
	values map[string]uint64
	told   bool // read has seen all, and the next count is to be told
}

func (r *runner) count(name string, n uint64) {
	c := &r.counters
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.values == nil {
		c.values = map[string]uint64{}
	}
	c.values[name] += n
	if c.told {
		c.told = false
		time.AfterFunc(countersGather, r.statusChanged)
	}
}

// read returns the counters, to be told.
func (c *counters) read() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = true
	return maps.Clone(c.values)
}
