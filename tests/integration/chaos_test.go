package integration

import (
	"cmp"
	"context"
	"sync"
	"testing"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// What the issue of units asks for: core, worker and supervisors are killed at random
// while units run. None that was acknowledged is missing, none ran twice, and every
// result is there to the byte; or its supervisor was killed, and it is lost, with its
// processes, and a prefix is there.
func TestChaosOfUnits(t *testing.T) {
	c := newChaos(t, "chaos", 4*patience)
	c.again["core"] = func() *lab.Process {
		return c.start("receptor-core", append([]string{"--node", "id=chaos", "--local-only", "--log-level", "level=warning"}, chaosWork...)...)
	}
	c.again["worker"] = func() *lab.Process {
		return c.start("receptor-worker-command", "--socket", c.PlugSocket("chaos"), "--log-level", "warn")
	}
	for name, start := range c.again {
		c.procs[name] = start()
	}
	c.offered("chaos")

	// Submitters go on until enough was submitted, and everything killed often enough.
	ctx, enough := context.WithCancel(c.ctx)
	defer enough()
	var next struct {
		sync.Mutex
		n int
	}
	var submitters, followers sync.WaitGroup
	for range 8 {
		submitters.Go(func() {
			for {
				next.Lock()
				n := next.n
				next.n++
				next.Unlock()
				if n >= cmp.Or(*chaosUnits, 200) && ctx.Err() != nil || c.ctx.Err() != nil {
					return
				}
				u := c.submitOne(n, lineByLine)
				if u == nil {
					return
				}
				followers.Go(func() { c.follow(c.c, u) })
				for c.waiting() > 16 && c.ctx.Err() == nil { // they are not to wait long for a slot
					if lab.Pause(c.ctx, pause) != nil {
						return
					}
				}
			}
		})
	}
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		for !c.killedEnough(cmp.Or(*chaosKills, 20)) && c.ctx.Err() == nil {
			c.killOne()
		}
		enough()
	}()
	<-killed
	submitters.Wait()
	followers.Wait()
	c.check()
	for what, kills := range c.kills {
		if c.inFlow[what]*2 < kills {
			t.Errorf("most kills of %s should be while output flows", what)
		}
	}
}

// waiting is how many units are followed that have not ended.
func (c *chaos) waiting() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range c.acked {
		for _, r := range u.live {
			if r.last.State == "" {
				n++
			}
		}
	}
	return n
}
