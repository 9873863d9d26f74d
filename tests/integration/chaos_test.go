package integration

import (
	"cmp"
	"context"
	"sync"
	"testing"

	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/workceptor/client"
)

// What the issue of units asks for: core, worker and supervisors are killed at random
// while units run. None that was acknowledged is missing, none ran twice, and every
// result is there to the byte; or its supervisor was killed, and it is lost, with its
// processes, and a prefix is there.
func TestChaosOfUnits(t *testing.T) {
	c := newChaos(t, "chaos", 4*patience)
	c.kills, c.freezes = cmp.Or(*chaosKills, 20), cmp.Or(*chaosFreezes, 2)
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

	before := c.usage("core", "worker")

	// Submitters go on until enough was submitted, and everything killed often enough.
	over, enough := context.WithCancel(c.ctx)
	defer enough()
	var next struct {
		sync.Mutex
		n int
	}
	var submitters, followers, others sync.WaitGroup
	for range 8 {
		submitters.Go(func() {
			for {
				next.Lock()
				n := next.n
				next.n++
				next.Unlock()
				if n >= cmp.Or(*chaosUnits, 200) && over.Err() != nil || c.ctx.Err() != nil {
					return
				}
				u := c.submitOne(n, lineByLine)
				if u == nil {
					return
				}
				followers.Go(func() { c.follow(c.c, u, map[string]*client.Client{"follower": c.c}) })
				for c.waiting() > 16 && c.ctx.Err() == nil { // they are not to wait long for a slot
					if lab.Pause(c.ctx, pause) != nil {
						return
					}
				}
			}
		})
	}
	unseen, end := context.WithCancel(c.ctx)
	defer end()
	others.Go(func() { c.watch(unseen, "here", "chaos", c.c) })
	others.Go(func() { c.asking(unseen, "here", "chaos", c.c, 3) })
	others.Go(func() { c.freezing(over) })
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		r := &round{random: c.chance(1)}
		for c.ctx.Err() == nil {
			if kills, freezes := c.lacking(); len(kills)+len(freezes) == 0 {
				break
			}
			c.killOne(over, r, c.targets())
		}
		enough()
	}()
	<-killed
	submitters.Wait()
	followers.Wait()
	end()
	others.Wait()
	c.check()
	c.back(before)
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
