package integration

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/workceptor/client"
)

var (
	chaosSeed  = flag.Uint64("chaos-seed", 0, "seed of the chaos test; 0: a new one")
	chaosUnits = flag.Int("chaos-units", 200, "units of the chaos test, at least")
	chaosKills = flag.Int("chaos-kills", 20, "kills of each program in the chaos test, at least")
)

// chaosScript counts its own runs, and writes for some tenths of a second: lines of
// which each can be told from all others.
const chaosScript = `read dir n; echo run >> $dir/$n.runs; i=0; while [ $i -lt 60 ]; do i=$((i+1)); ` +
	`echo "unit $n line $i ..............................................................."; sleep 0.005; done; ` +
	`(sleep 0.01; echo "unit $n is done") & wait`

func chaosOutput(n int) string {
	var b strings.Builder
	for i := 1; i <= 60; i++ {
		fmt.Fprintf(&b, "unit %d line %d ...............................................................\n", n, i)
	}
	fmt.Fprintf(&b, "unit %d is done\n", n)
	return b.String()
}

// chaos is a node whose programs are killed at random while units run.
type chaos struct {
	*workLab
	files  string
	random *rand.Rand
	again  map[string]func() *lab.Process
	procs  map[string]*lab.Process
	kills  map[string]int
	inFlow map[string]int // of these, while output flowed

	mu       sync.Mutex
	acked    map[string]*chaosUnit // that were acknowledged, by ID
	orphaned map[string]bool       // whose supervisors were killed
	read     int64                 // bytes by followers
}

// chaosUnit is a unit and what somebody has read who followed it.
type chaosUnit struct {
	n    int
	out  bytes.Buffer
	last client.Status
	err  error
}

// What the issue of units asks for: core, worker and supervisors are killed at random
// while units run. None that was acknowledged is missing, none ran twice, and every
// result is there to the byte; or its supervisor was killed, and it is lost, with its
// processes, and a prefix is there.
func TestChaosOfUnits(t *testing.T) {
	seed := *chaosSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) //nolint:gosec // any number will do
	}
	t.Logf("-chaos-seed %d", seed)
	c := &chaos{
		workLab: newWorkLabFor(t, "chaos", 4*patience), files: t.TempDir(),
		random: rand.New(rand.NewPCG(seed, 1)), //nolint:gosec // to be repeated
		procs:  map[string]*lab.Process{}, kills: map[string]int{}, inFlow: map[string]int{},
		acked: map[string]*chaosUnit{}, orphaned: map[string]bool{},
	}
	c.again = map[string]func() *lab.Process{
		"core": func() *lab.Process {
			return c.start("receptor-core", "--node", "id=chaos", "--local-only", "--log-level", "level=warning",
				"--work-command", "worktype=chaos", "command=sh", "maxconcurrent=6", `args=["-c", "`+strings.ReplaceAll(chaosScript, `"`, `\"`)+`"]`)
		},
		"worker": func() *lab.Process {
			return c.start("receptor-worker-command", "--socket", c.PlugSocket("chaos"), "--log-level", "warn")
		},
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
				if n >= *chaosUnits && ctx.Err() != nil || c.ctx.Err() != nil {
					return
				}
				u := c.submitOne(n)
				if u == "" {
					return
				}
				followers.Go(func() { c.follow(u) })
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
		for !c.killedEnough() && c.ctx.Err() == nil {
			c.killOne()
		}
		enough()
	}()
	<-killed
	submitters.Wait()
	followers.Wait()
	c.check()
}

// submitOne submits a unit through whatever happens, and returns its ID.
func (c *chaos) submitOne(n int) string {
	u, err := c.c.Submit(c.ctx, client.Job{Type: "chaos", Payload: strings.NewReader(fmt.Sprintf("%s %d\n", c.files, n)), Submission: "chaos-" + strconv.Itoa(n)})
	if err != nil {
		c.t.Errorf("submit unit %d: %v", n, err)
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.acked[u.ID] != nil {
		c.t.Errorf("units %d and %d are both %s", n, c.acked[u.ID].n, u.ID)
	}
	c.acked[u.ID] = &chaosUnit{n: n}
	return u.ID
}

// follow reads what a unit writes, until its end.
func (c *chaos) follow(id string) {
	c.mu.Lock()
	u := c.acked[id]
	c.mu.Unlock()
	last, err := c.c.Results(c.ctx, id, client.From{}, func(k client.Chunk) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.read += int64(len(k.Data))
		if k.Stream == client.Stdout {
			u.out.Write(k.Data)
		}
		return nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	u.last, u.err = last, err
}

// waiting is how many units have not ended.
func (c *chaos) waiting() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range c.acked {
		if u.last.State == "" {
			n++
		}
	}
	return n
}

// chaosTargets are what is killed.
var chaosTargets = []string{"core", "worker", "supervisor"}

func (c *chaos) killedEnough() bool {
	for _, what := range chaosTargets {
		if c.kills[what] < *chaosKills {
			return false
		}
	}
	return true
}

// killOne waits a moment and kills something, mostly when output flows.
func (c *chaos) killOne() {
	if lab.Pause(c.ctx, time.Duration(c.random.IntN(300))*time.Millisecond) != nil {
		return
	}
	flows := false
	if c.random.IntN(10) > 0 {
		flows = c.awaitFlow()
	}
	what := chaosTargets[c.random.IntN(len(chaosTargets))]
	if what == "supervisor" {
		supervisors := c.supervisors()
		if len(supervisors) == 0 {
			return
		}
		ids := slices.Sorted(maps.Keys(supervisors))
		id := ids[c.random.IntN(len(ids))]
		c.mu.Lock()
		c.orphaned[id] = true
		c.mu.Unlock()
		if syscall.Kill(supervisors[id], syscall.SIGKILL) != nil {
			return // it has ended in this moment
		}
	} else {
		c.procs[what].Kill()
		if lab.Pause(c.ctx, time.Duration(c.random.IntN(200))*time.Millisecond) != nil {
			return
		}
		c.procs[what] = c.again[what]()
	}
	c.kills[what]++
	if flows {
		c.inFlow[what]++
	}
}

// flowWait is how long is waited for output before something is killed all the same.
const flowWait = 3 * time.Second

// awaitFlow waits until a follower has read something, and says whether one has.
func (c *chaos) awaitFlow() bool {
	count := func() int64 {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.read
	}
	before := count()
	for deadline := time.Now().Add(flowWait); time.Now().Before(deadline) && c.ctx.Err() == nil; {
		if count() != before {
			return true
		}
		if lab.Pause(c.ctx, time.Millisecond) != nil {
			return false
		}
	}
	return false
}

// check checks every unit, and prints it.
func (c *chaos) check() {
	t := c.t
	list, err := c.c.List(c.ctx)
	must(t, err)
	listed := map[string]client.Status{}
	for _, u := range list.Units {
		listed[u.ID] = u
	}
	ids := slices.Collect(maps.Keys(c.acked))
	slices.SortFunc(ids, func(a, b string) int { return c.acked[a].n - c.acked[b].n })
	states := map[client.State]int{}
	for _, id := range ids {
		u := c.acked[id]
		runs := 0
		if data, err := os.ReadFile(filepath.Join(c.files, fmt.Sprintf("%d.runs", u.n))); err == nil {
			runs = strings.Count(string(data), "run\n")
		}
		digest := sha256.Sum256(u.out.Bytes())
		t.Logf("unit %3d %s: %s, %d run, %d bytes, sha256 %s", u.n, id, u.last.State, runs, u.out.Len(), hex.EncodeToString(digest[:8]))
		states[u.last.State]++
		now, there := listed[id]
		if u.err != nil || !there || now.State != u.last.State {
			t.Errorf("unit %d: read with %v; listed: %v, as %s, then %s", u.n, u.err, there, now.State, u.last.State)
		}
		want := chaosOutput(u.n)
		switch {
		case u.last.State == client.Succeeded:
			if runs != 1 || u.out.String() != want {
				t.Errorf("unit %d has succeeded with %d runs and %d of %d bytes", u.n, runs, u.out.Len(), len(want))
			}
		case u.last.State == client.Lost && c.orphaned[id]:
			if runs > 1 || !strings.HasPrefix(want, u.out.String()) {
				t.Errorf("unit %d was lost with %d runs and %q", u.n, runs, u.out.String())
			}
		default:
			t.Errorf("unit %d, supervisor killed: %v: %+v", u.n, c.orphaned[id], u.last)
		}
		delete(listed, id)
	}
	for id, u := range listed {
		t.Errorf("unit %s, which nobody has submitted: %+v", id, u)
	}
	if left := c.units(); len(left) > 0 {
		t.Errorf("processes of units are left: %v", left)
	}
	for _, what := range chaosTargets {
		t.Logf("%s: %d kills, %d of them while output flowed", what, c.kills[what], c.inFlow[what])
		if c.inFlow[what]*2 < c.kills[what] {
			t.Errorf("most kills of %s should be while output flows", what)
		}
	}
	t.Logf("%d units: %v", len(ids), states)
}
