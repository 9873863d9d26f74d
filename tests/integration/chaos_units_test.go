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
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/history"
	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/workceptor/client"
)

var (
	chaosSeed    = flag.Uint64("chaos-seed", 0, "seed of the chaos tests; 0: a new one")
	chaosUnits   = flag.Int("chaos-units", 0, "units of the chaos tests, at least; 0: 200 on one node, 60 on three")
	chaosKills   = flag.Int("chaos-kills", 0, "kills of each program in the chaos tests while output flows, at least; 0: 20 on one node, 2 on three")
	chaosPlain   = flag.Bool("chaos-plain", false, "programs of the chaos tests without the race detector, whose memory is looked at more closely")
	chaosFreezes = flag.Int("chaos-freezes", 0, "times that each program is frozen in the chaos tests while output flows, at least; 0: 2 on one node, 1 on three")
)

// A chaosKind is how a unit writes.
type chaosKind string

const (
	lineByLine chaosKind = "lines" // for some tenths of a second
	slowly     chaosKind = "slow"  // for some seconds, as many
	oneLine    chaosKind = "short"
	bulk512K   chaosKind = "bulk" // half a MiB at once
	noEnd      chaosKind = "wait" // a line, and then it stays
)

// chaosScript counts its own runs, and writes lines of which each can be told from all
// others.
const chaosScript = `read dir n kind; echo run $$ >> $dir/$n.runs; pause=0.005; case $kind in slow) pause=0.03;; esac; case $kind in ` +
	`lines|slow) i=0; while [ $i -lt 60 ]; do i=$((i+1)); ` +
	`echo "unit $n line $i ..............................................................."; sleep $pause; done;; ` +
	`bulk) seq -f "unit $n line %.0f ..............................................................." 1 6000;; ` +
	`wait) echo "unit $n waits"; sleep 3600;; ` +
	`esac; (sleep 0.01; echo "unit $n is done") & wait`

// output is what the unit writes that has the number n.
func (k chaosKind) output(n int) string {
	var b strings.Builder
	for i := range map[chaosKind]int{lineByLine: 60, slowly: 60, bulk512K: 6000}[k] {
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

// chaos is units that are submitted, and programs that are killed and frozen at random
// meanwhile.
type chaos struct {
	*workLab
	seed     uint64
	at       string // the node that runs the units; empty: the one that is asked
	files    string
	begin    time.Time
	flowWait time.Duration // for output before something is killed all the same
	kills    int           // of each program while output flows, at least
	freezes  int           // likewise
	long     bool          // programs are also frozen for long
	again    map[string]func() *lab.Process

	mu       sync.Mutex
	procs    map[string]*lab.Process
	tally    map[string]tally
	acked    map[string]*chaosUnit // that were acknowledged, by ID
	remote   map[string]string     // what they are called where they run
	orphaned map[string]bool       // whose supervisors were killed, by the ID where they run
	flows    int                   // pieces that followers have read, but for the last of each unit
	flowing  *chaosUnit            // that has written the last of these
	looks    []history.Look
	scarce   []span // when there was no space where they run
}

// span is a time.
type span struct{ begin, end time.Time }

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
	p := programs
	if *chaosPlain {
		var err error
		p, err = plain()
		must(t, err)
	}
	return &chaos{
		workLab: newWorkLabOf(t, p, node, most), seed: seed, files: t.TempDir(), begin: time.Now(), flowWait: 3 * time.Second,
		again: map[string]func() *lab.Process{}, procs: map[string]*lab.Process{}, tally: map[string]tally{},
		acked: map[string]*chaosUnit{}, remote: map[string]string{}, orphaned: map[string]bool{},
	}
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

// follow reads what a unit writes, until its end, and then asks for it elsewhere.
func (c *chaos) follow(k *client.Client, u *chaosUnit, elsewhere map[string]*client.Client) {
	r := new(chaosReader)
	c.mu.Lock()
	u.live = append(u.live, r)
	c.mu.Unlock()
	all := len(u.kind.output(u.n))
	asked := time.Since(c.begin)
	last, err := k.Results(c.ctx, u.id, client.From{}, func(k client.Chunk) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if k.Stream == client.Stdout {
			r.out.Write(k.Data)
		}
		if r.out.Len() < all {
			c.flows, c.flowing = c.flows+1, u
		}
		return nil
	})
	c.mu.Lock()
	r.last, r.err = last, err
	c.mu.Unlock()
	if err != nil {
		return // which check tells
	}
	c.told("", c.node, asked, last)
	for where, k := range elsewhere {
		c.ask(where, c.node, k, u.id)
	}
}

// told notes what somebody was told of units.
func (c *chaos) told(by, node string, asked time.Duration, units ...client.Status) {
	now := time.Since(c.begin)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range units {
		c.looks = append(c.looks, history.Look{Node: node, By: by, Asked: asked, Told: now, Unit: u})
		if node == c.node && u.RemoteUnit != "" {
			c.remote[u.ID] = u.RemoteUnit
		}
	}
}

// ask asks for a unit of a node, once.
func (c *chaos) ask(by, node string, k *client.Client, id string) client.Status {
	asked := time.Since(c.begin)
	u, err := k.Status(c.ctx, id)
	switch {
	case errors.Is(err, client.ErrGone), errors.Is(err, client.ErrNotFound):
		u = client.Status{ID: id, Released: true}
	case err != nil:
		if c.ctx.Err() == nil {
			c.t.Errorf("%s asks %s for unit %s: %v", by, node, id, err)
		}
		return u
	}
	c.told("", node, asked, u)
	return u
}

// asking asks a node for any of its units, one after another.
func (c *chaos) asking(ctx context.Context, by, node string, k *client.Client, chance uint64) {
	for random := c.chance(chance); lab.Pause(ctx, between(random, 0, 200*time.Millisecond)) == nil; {
		c.mu.Lock()
		ids := slices.Sorted(maps.Keys(c.acked))
		if node != c.node {
			ids = slices.Sorted(maps.Values(c.remote))
		}
		c.mu.Unlock()
		if len(ids) > 0 {
			c.ask(by, node, k, ids[random.IntN(len(ids))])
		}
	}
}

// watch looks at all units of a node until the context ends.
func (c *chaos) watch(ctx context.Context, by, node string, k *client.Client) {
	asked := time.Since(c.begin)
	for e, err := range k.Watch(ctx, client.WatchOptions{}) {
		if err != nil {
			if ctx.Err() == nil {
				c.t.Errorf("watch %s: %v", by, err)
			}
			return
		}
		c.told("watch "+by, node, asked, e.Units...)
	}
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
	c.mu.Lock()
	defer c.mu.Unlock()
	faults := history.Check(c.looks)
	for _, err := range faults {
		t.Error(err)
	}
	c.report()
	t.Logf("%d units: %v; %d looks at them, of which %d do not fit", len(units), states, len(c.looks), len(faults))
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
	now := c.ask("", c.node, c.c, u.id)
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
	switch {
	case now.State == client.Succeeded:
		if runs != 1 || out != want {
			t.Errorf("unit %d has succeeded with %d runs and %d of %d bytes", u.n, runs, len(out), len(want))
		}
	case now.State == client.Lost && orphaned, now.State == client.Canceled && u.canceled:
		if runs > 1 || !strings.HasPrefix(want, out) {
			t.Errorf("unit %d was %s with %d runs and %d bytes, which begin with %.100q", u.n, now.State, runs, len(out), out)
		}
	case now.State == client.Failed && errors.Is(client.Refusal(now), client.ErrNoRoom) && c.hadNoSpace(now):
		if runs > 0 || out != "" {
			t.Errorf("unit %d was refused with %d runs and %d bytes", u.n, runs, len(out))
		}
	default:
		t.Errorf("unit %d, supervisor killed: %v, canceled: %v: %+v", u.n, orphaned, u.canceled, now)
	}
}

// hadNoSpace tells whether there was none in the time of a unit.
func (c *chaos) hadNoSpace(u client.Status) bool {
	return slices.ContainsFunc(c.scarce, func(s span) bool { return u.Created.Before(s.end) && u.Ended.After(s.begin) })
}
