package integration

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
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
	chaosSeed  = flag.Uint64("chaos-seed", 0, "seed of the chaos tests; 0: a new one")
	chaosUnits = flag.Int("chaos-units", 0, "units of the chaos tests, at least; 0: 200 on one node, 60 on three")
	chaosKills = flag.Int("chaos-kills", 0, "kills of each program in the chaos tests, at least; 0: 20 on one node, 2 on three")
)

// A chaosKind is how a unit writes.
type chaosKind string

const (
	lineByLine chaosKind = "lines" // for some tenths of a second
	oneLine    chaosKind = "short"
	bulk512K   chaosKind = "bulk" // half a MiB at once
	noEnd      chaosKind = "wait" // a line, and then it stays
)

// chaosScript counts its own runs, and writes lines of which each can be told from all
// others.
const chaosScript = `read dir n kind; echo run $$ >> $dir/$n.runs; case $kind in ` +
	`lines) i=0; while [ $i -lt 60 ]; do i=$((i+1)); ` +
	`echo "unit $n line $i ..............................................................."; sleep 0.005; done;; ` +
	`bulk) seq -f "unit $n line %.0f ..............................................................." 1 6000;; ` +
	`wait) echo "unit $n waits"; sleep 3600;; ` +
	`esac; (sleep 0.01; echo "unit $n is done") & wait`

// output is what the unit writes that has the number n.
func (k chaosKind) output(n int) string {
	var b strings.Builder
	for i := range map[chaosKind]int{lineByLine: 60, bulk512K: 6000}[k] {
		fmt.Fprintf(&b, "unit %d line %d ...............................................................\n", n, i+1)
	}
	if k == noEnd {
		fmt.Fprintf(&b, "unit %d waits\n", n)
	}
	fmt.Fprintf(&b, "unit %d is done\n", n)
	return b.String()
}

// chaosWork is the item that runs it.
var chaosWork = []string{
	"--work-command", "worktype=chaos", "command=sh", "maxconcurrent=6", `args=["-c", "` + strings.ReplaceAll(chaosScript, `"`, `\"`) + `"]`,
}

// chaos is units that are submitted, and programs that are killed at random meanwhile.
type chaos struct {
	*workLab
	seed     uint64
	at       string // the node that runs the units; empty: the one that is asked
	files    string
	flowWait time.Duration // for output before something is killed all the same

	random *rand.Rand
	again  map[string]func() *lab.Process
	procs  map[string]*lab.Process
	round  []string // what is killed next
	kills  map[string]int
	inFlow map[string]int // of these, while output flowed

	mu       sync.Mutex
	acked    map[string]*chaosUnit // that were acknowledged, by ID
	orphaned map[string]bool       // whose supervisors were killed, by the ID where they run
	read     int64                 // bytes by followers
}

// chaosUnit is a unit, and what others wanted of it.
type chaosUnit struct {
	n        int
	id       string
	kind     chaosKind
	canceled bool // somebody has asked for that
	released bool
	live     []*chaosReader // who followed it from the beginning
}

// chaosReader is what somebody has read who followed a unit, until its end.
type chaosReader struct {
	out  bytes.Buffer
	last client.Status // when it has ended
	err  error
}

// newChaos makes one whose units are submitted at a node; it takes so long at most.
func newChaos(t *testing.T, node string, most time.Duration) *chaos {
	t.Helper()
	seed := *chaosSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) //nolint:gosec // any number will do
	}
	t.Logf("-chaos-seed %d", seed)
	c := &chaos{
		workLab: newWorkLabFor(t, node, most), seed: seed, files: t.TempDir(), flowWait: 3 * time.Second,
		again: map[string]func() *lab.Process{}, procs: map[string]*lab.Process{}, kills: map[string]int{}, inFlow: map[string]int{},
		acked: map[string]*chaosUnit{}, orphaned: map[string]bool{},
	}
	c.random = c.chance(1)
	return c
}

// chance is chance for one goroutine, by its number: the same with the same seed.
func (c *chaos) chance(of uint64) *rand.Rand {
	return rand.New(rand.NewPCG(c.seed, of)) //nolint:gosec // to be repeated
}

// submitOne submits a unit through whatever happens; nil: it could not.
func (c *chaos) submitOne(n int, kind chaosKind) *chaosUnit {
	u, err := c.persist(client.Job{
		Node: c.at, Type: "chaos", Payload: strings.NewReader(fmt.Sprintf("%s %d %s\n", c.files, n, kind)), Submission: "chaos-" + strconv.Itoa(n),
	})
	if err != nil {
		c.t.Errorf("submit unit %d: %v", n, err)
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.acked[u.ID] != nil {
		c.t.Errorf("units %d and %d are both %s", n, c.acked[u.ID].n, u.ID)
	}
	c.acked[u.ID] = &chaosUnit{n: n, id: u.ID, kind: kind}
	return c.acked[u.ID]
}

// follow reads what a unit writes, until its end.
func (c *chaos) follow(k *client.Client, u *chaosUnit) {
	r := new(chaosReader)
	c.mu.Lock()
	u.live = append(u.live, r)
	c.mu.Unlock()
	last, err := k.Results(c.ctx, u.id, client.From{}, func(k client.Chunk) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.read += int64(len(k.Data))
		if k.Stream == client.Stdout {
			r.out.Write(k.Data)
		}
		return nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	r.last, r.err = last, err
}

// killedEnough tells whether everything was killed so often.
func (c *chaos) killedEnough(often int) bool {
	for what := range c.again {
		if c.kills[what] < often {
			return false
		}
	}
	return c.kills[supervisor] >= often
}

// supervisor is what is killed beside the programs that are started again.
const supervisor = "supervisor"

// killOne waits a moment and kills something, mostly when output flows.
func (c *chaos) killOne() {
	if lab.Pause(c.ctx, time.Duration(c.random.IntN(300))*time.Millisecond) != nil {
		return
	}
	flows := false
	if c.random.IntN(10) > 0 {
		flows = c.awaitFlow()
	}
	if len(c.round) == 0 {
		c.round = append(slices.Sorted(maps.Keys(c.again)), supervisor)
		c.random.Shuffle(len(c.round), func(i, j int) { c.round[i], c.round[j] = c.round[j], c.round[i] })
	}
	what := c.round[0]
	c.round = c.round[1:]
	if what == supervisor {
		supervisors := c.supervisors()
		if len(supervisors) == 0 {
			c.round = append(c.round, supervisor) // after the others, and nothing else before
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

// awaitFlow waits until a follower has read something, and says whether one has.
func (c *chaos) awaitFlow() bool {
	count := func() int64 {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.read
	}
	before := count()
	for deadline := time.Now().Add(c.flowWait); time.Now().Before(deadline) && c.ctx.Err() == nil; {
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
	units := slices.SortedFunc(maps.Values(c.acked), func(a, b *chaosUnit) int { return a.n - b.n })
	states := map[client.State]int{}
	for _, u := range units {
		now, there := listed[u.id]
		delete(listed, u.id)
		if u.released {
			t.Logf("unit %3d %s: %s, released, %d run", u.n, u.id, u.kind, c.runs(u))
			if runs := c.runs(u); there || runs > 1 {
				t.Errorf("unit %d was released, has %d runs, and is %+v", u.n, runs, now)
			}
			states["released"]++
			continue
		}
		if !there {
			t.Errorf("unit %d, acknowledged as %s, is missing", u.n, u.id)
			continue
		}
		states[now.State]++
		c.checkOne(u)
	}
	for id, u := range listed {
		t.Errorf("unit %s, which nobody has submitted: %+v", id, u)
	}
	if left := c.units(); len(left) > 0 {
		t.Errorf("processes of units are left: %v", left)
	}
	for _, what := range append(slices.Sorted(maps.Keys(c.again)), supervisor) {
		t.Logf("%s: %d kills, %d of them while output flowed", what, c.kills[what], c.inFlow[what])
	}
	t.Logf("%d units: %v", len(units), states)
}

// runs is how often a unit has run, as it says itself.
func (c *chaos) runs(u *chaosUnit) int {
	data, err := os.ReadFile(filepath.Join(c.files, fmt.Sprintf("%d.runs", u.n)))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		c.t.Error(err)
	}
	return strings.Count(string(data), "run ")
}

// checkOne compares what is known of a unit now, what its followers have seen, and what
// it has done.
func (c *chaos) checkOne(u *chaosUnit) {
	t := c.t
	now, err := c.c.Status(c.ctx, u.id)
	must(t, err)
	later := new(chaosReader)
	u.live = append(u.live, later)
	later.last, later.err = c.c.Results(c.ctx, u.id, client.From{Stderr: client.Skip}, func(k client.Chunk) error {
		later.out.Write(k.Data)
		return nil
	})
	runs, orphaned, want := c.runs(u), c.orphaned[u.id] || c.orphaned[now.RemoteUnit], u.kind.output(u.n)
	out := later.out.String()
	digest := sha256.Sum256([]byte(out))
	t.Logf("unit %3d %s: %s, %s, %d run, %d bytes, sha256 %s", u.n, u.id, u.kind, now.State, runs, len(out), hex.EncodeToString(digest[:8]))

	for _, r := range u.live {
		if r.err != nil || r.last.State != now.State || r.out.String() != out {
			t.Errorf("unit %d was read with %v as %s with %d bytes; it is %s and has %d", u.n, r.err, r.last.State, r.out.Len(), now.State, len(out))
		}
	}
	if now.Stdout.Size != int64(len(out)) || now.Stdout.SHA256 != hex.EncodeToString(digest[:]) && len(out) > 0 {
		t.Errorf("unit %d is said to have written %+v; what is there are %d bytes, %x", u.n, now.Stdout, len(out), digest)
	}
	for i, h := range now.History {
		if i > 0 && !follows(now.History[i-1].State, h.State) || i == len(now.History)-1 && h.State != now.State {
			t.Errorf("unit %d is %s and has gone back: %+v", u.n, now.State, now.History)
		}
	}
	switch {
	case now.State == client.Succeeded:
		if runs != 1 || out != want {
			t.Errorf("unit %d has succeeded with %d runs and %d of %d bytes", u.n, runs, len(out), len(want))
		}
	case now.State == client.Lost && orphaned, now.State == client.Canceled && u.canceled:
		if runs > 1 || !strings.HasPrefix(want, out) {
			t.Errorf("unit %d was %s with %d runs and %d bytes, which begin with %.100q", u.n, now.State, runs, len(out), out)
		}
	default:
		t.Errorf("unit %d, supervisor killed: %v, canceled: %v: %+v", u.n, orphaned, u.canceled, now)
	}
}

// follows tells whether a unit may be in one state after another.
func follows(before, after client.State) bool {
	switch {
	case before == "" || before == after:
		return true
	case before.Final():
		return false
	}
	return after != client.Pending
}

// watch looks at all units until the context ends: none of them goes back.
func (c *chaos) watch(ctx context.Context, where string, k *client.Client) {
	seen := map[string]client.State{}
	for e, err := range k.Watch(ctx, client.WatchOptions{}) {
		if err != nil {
			if ctx.Err() == nil {
				c.t.Errorf("watch at %s: %v", where, err)
			}
			return
		}
		for _, u := range e.Units {
			before := seen[u.ID]
			switch {
			case u.Released:
				seen[u.ID] = chaosReleased
			case !follows(before, u.State):
				c.t.Errorf("at %s unit %s was %s, and is %s", where, u.ID, before, u.State)
			default:
				seen[u.ID] = u.State
			}
		}
	}
}

// chaosReleased is after all states: nothing may be told of such a unit.
const chaosReleased client.State = "released"
