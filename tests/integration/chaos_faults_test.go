package integration

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// What is killed and frozen beside the programs that are started again.
const (
	supervisor = "supervisor"  // of a unit
	ctlFollow  = "receptorctl" // that follows a unit; it is killed only
)

// tally is what was done to a program.
type tally struct {
	kills, killsInFlow     int
	early                  int // ended while it started, after a kill
	freezes, freezesInFlow int
	frozen                 time.Duration
}

// targets are what is killed, in an order that is always the same.
func (c *chaos) targets() []string {
	return append(slices.Sorted(maps.Keys(c.again)), supervisor, ctlFollow)
}

// lacking are those that were not yet killed, and those that were not yet frozen, often
// enough while output flowed. Nobody depends on receptorctl, so once will do of that.
func (c *chaos) lacking() (kills, freezes []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, what := range c.targets() {
		t := c.tally[what]
		if t.killsInFlow < c.kills && what != ctlFollow || t.killsInFlow == 0 {
			kills = append(kills, what)
		}
		if t.freezesInFlow < c.freezes && what != ctlFollow {
			freezes = append(freezes, what)
		}
	}
	return kills, freezes
}

// A round has each of some targets once, in any order.
type round struct {
	random *rand.Rand
	left   []string
}

func (r *round) next(of []string) string {
	if len(r.left) == 0 {
		r.left = slices.Clone(of)
		r.random.Shuffle(len(r.left), func(i, j int) { r.left[i], r.left[j] = r.left[j], r.left[i] })
	}
	what := r.left[0]
	r.left = r.left[1:]
	return what
}

// between is a time in between.
func between(random *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(random.Int64N(int64(most-least)))
}

// flow waits until a follower has read something of a unit that is not yet all, and
// returns that. nil: there is none in a while.
func (c *chaos) flow(ctx context.Context) *chaosUnit {
	c.mu.Lock()
	before := c.flows
	c.mu.Unlock()
	for deadline := time.Now().Add(c.flowWait); time.Now().Before(deadline); {
		c.mu.Lock()
		flows, u := c.flows, c.flowing
		c.mu.Unlock()
		if flows != before {
			return u
		}
		if lab.Pause(ctx, time.Millisecond) != nil {
			return nil
		}
	}
	return nil
}

// aim waits a moment, and then for output to flow, but for one time in ten.
func (c *chaos) aim(ctx context.Context, random *rand.Rand) *chaosUnit {
	if lab.Pause(ctx, between(random, 0, 150*time.Millisecond)) != nil || random.IntN(10) == 0 {
		return nil
	}
	return c.flow(ctx)
}

// killOne kills something, mostly while output flows.
func (c *chaos) killOne(ctx context.Context, r *round, of []string) {
	u := c.aim(ctx, r.random)
	if ctx.Err() != nil {
		return
	}
	what, early := r.next(of), false
	switch what {
	case supervisor:
		p, id := c.supervisorOf(u, r.random)
		if p == nil {
			return
		}
		killed := p.Kill() == nil
		_ = p.Release()
		if !killed {
			return // it has ended in this moment
		}
		c.mu.Lock()
		c.orphaned[id] = true
		c.mu.Unlock()
	case ctlFollow:
		if u == nil || !c.killFollower(ctx, u) {
			return
		}
	default:
		early = c.restart(ctx, what, r.random)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tally[what]
	t.kills++
	if u != nil {
		t.killsInFlow++
	}
	if early {
		t.early++
	}
	c.tally[what] = t
}

// restart kills a program and starts it again; now and then it is also asked to end
// while it starts.
func (c *chaos) restart(ctx context.Context, what string, random *rand.Rand) (early bool) {
	c.procs[what].Kill()
	_ = lab.Pause(ctx, between(random, 0, 200*time.Millisecond))
	if early = random.IntN(4) == 0; early {
		p := c.again[what]()
		_ = lab.Pause(ctx, between(random, 0, 100*time.Millisecond))
		if err := p.Stop(); err != nil {
			c.t.Errorf("%s: %v", what, err)
		}
	}
	p := c.again[what]()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.procs[what] = p
	return early
}

// supervisorOf gets hold of the supervisor of a unit, or of any if that has none, and
// returns the ID of its unit, too.
func (c *chaos) supervisorOf(u *chaosUnit, random *rand.Rand) (*os.Process, string) {
	supervisors := c.supervisors()
	if len(supervisors) == 0 {
		return nil, ""
	}
	ids := slices.Sorted(maps.Keys(supervisors))
	id := ids[random.IntN(len(ids))]
	c.mu.Lock()
	if u != nil && supervisors[c.there(u)] != 0 {
		id = c.there(u)
	}
	c.mu.Unlock()
	p, err := os.FindProcess(supervisors[id])
	if err != nil {
		return nil, ""
	}
	// Now that this process is meant and no other that may get its number: is it the one?
	cmdline, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.Pid), "cmdline"))
	if err != nil || !strings.HasPrefix(string(cmdline), "receptor-work-supervisor\x00") || !strings.Contains(string(cmdline), "\x00"+id+"\x00") {
		_ = p.Release()
		return nil, ""
	}
	return p, id
}

// there is what a unit is called where it runs; empty: nobody has heard of that yet.
// The caller holds c.mu.
func (c *chaos) there(u *chaosUnit) string {
	if c.at == "" {
		return u.id
	}
	return c.remote[u.id]
}

// killFollower has somebody follow a unit, and kills that program once it has read
// something; not if the unit has ended by then.
func (c *chaos) killFollower(ctx context.Context, u *chaosUnit) bool {
	p, err := c.Start("receptorctl", "--socket", c.Socket(c.node), "work", "follow", u.id)
	if err != nil {
		c.t.Errorf("follow: %v", err)
		return false
	}
	defer p.Kill()
	if p.WaitOutput(ctx, "unit ") != nil {
		return false
	}
	select {
	case <-p.Done():
		return false
	default:
		return true
	}
}

// freezing freezes something for a while, mostly while output flows, again and again: in
// a short test until all was frozen often enough.
func (c *chaos) freezing(ctx context.Context) {
	r := &round{random: c.chance(2)}
	for ctx.Err() == nil {
		u := c.aim(ctx, r.random)
		_, of := c.lacking()
		if len(of) == 0 && !c.long {
			return
		}
		if len(of) == 0 {
			of = c.targets()[:len(c.again)+1]
		}
		what := r.next(of)
		long := between(r.random, 100*time.Millisecond, 1500*time.Millisecond)
		if c.long && r.random.IntN(4) == 0 {
			long = 5 * time.Second
		}
		if ctx.Err() != nil {
			return
		}
		if what == supervisor {
			p, _ := c.supervisorOf(u, r.random)
			if p == nil {
				continue
			}
			if p.Signal(syscall.SIGSTOP) == nil {
				_ = lab.Pause(ctx, long)
				_ = p.Signal(syscall.SIGCONT) // it may have been killed
			}
			_ = p.Release()
		} else {
			c.mu.Lock()
			p := c.procs[what]
			c.mu.Unlock()
			p.Freeze()
			_ = lab.Pause(ctx, long)
			p.Thaw()
		}
		c.mu.Lock()
		t := c.tally[what]
		t.freezes++
		if u != nil {
			t.freezesInFlow++
		}
		t.frozen += long
		c.tally[what] = t
		c.mu.Unlock()
	}
}

// report prints what was done.
func (c *chaos) report() {
	for _, what := range c.targets() {
		t := c.tally[what]
		frozen := ""
		if what != ctlFollow {
			frozen = fmt.Sprintf("; frozen %d times, %d of them while output flowed, %.1f s in all", t.freezes, t.freezesInFlow, t.frozen.Seconds())
		}
		c.t.Logf("%s: %d kills, %d of them while output flowed, %d more times ended while it started%s", what, t.kills, t.killsInFlow, t.early, frozen)
	}
}

// load is what a program holds.
type load struct {
	lab.Usage
	goroutines int // of a core
}

// usage is what programs hold. Those that are called core are of the node of their first
// letter, or of the only one.
func (c *chaos) usage(programs ...string) map[string]load {
	all := map[string]load{}
	for _, what := range programs {
		c.mu.Lock()
		p := c.procs[what]
		c.mu.Unlock()
		u, err := lab.UsageOf(p.PID())
		must(c.t, err)
		l := load{Usage: u}
		if node, ok := strings.CutSuffix(what, "core"); ok {
			s, err := c.Status(c.ctx, cmp.Or(strings.TrimSpace(node), c.node))
			must(c.t, err)
			l.goroutines = s.Goroutines
		}
		all[what] = l
	}
	return all
}

// What a program may hold more than it did at first: a shared connection that nobody
// uses any more lasts for 30 s, which only a long test waits for; and the race detector
// gives no memory back.
const (
	moreDescriptors     = 2
	moreGoroutines      = 4
	moreGoroutinesSoon  = 16
	moreMemory          = 32 << 10 // KiB
	moreMemoryWithRaces = 256 << 10
)

// back waits until programs hold what they did before.
func (c *chaos) back(before map[string]load) {
	c.t.Helper()
	goroutines, memory := moreGoroutinesSoon, moreMemoryWithRaces
	if c.long {
		goroutines = moreGoroutines
	}
	if *chaosPlain {
		memory = moreMemory
	}
	names := slices.Sorted(maps.Keys(before))
	for {
		now, more := c.usage(names...), ""
		for _, what := range names {
			b, n := before[what], now[what]
			if n.Descriptors > b.Descriptors+moreDescriptors || n.goroutines > b.goroutines+goroutines || n.RSS > b.RSS+memory {
				more = what
			}
		}
		if more != "" && lab.Pause(c.ctx, lab.PollEvery) == nil {
			continue
		}
		for _, what := range names {
			b, n := before[what], now[what]
			c.t.Logf("%s: %d descriptors, now %d; %d goroutines, now %d; %d KiB, now %d", what, b.Descriptors, n.Descriptors, b.goroutines, n.goroutines, b.RSS, n.RSS)
		}
		if more != "" {
			c.t.Errorf("%s holds more than at first", more)
		}
		return
	}
}
