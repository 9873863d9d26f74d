package integration

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/workceptor/client"
)

var chaosTime = flag.Duration("chaos-time", 15*time.Second, "how long TestChaosOfRemoteUnits goes on, at least; from a minute on, links are also cut for longer than it takes to notice that")

// chaosLine is three hosts in a line, of which each has a node: units are submitted at
// a and run at c. The way from a to b is TCP, that from b to c UDP.
type chaosLine struct {
	*chaos
	wires map[string]*lab.Wire
	host  map[string]*lab.Host
	disks []string // of who submits, and who runs
}

// chaosRate is that of a wire that is as it should be.
const chaosRate = "200mbit"

func newChaosLine(t *testing.T) *chaosLine {
	t.Helper()
	network := newNetwork(t)
	l := &chaosLine{chaos: newChaos(t, "a", 4*patience+4**chaosTime), wires: map[string]*lab.Wire{}, host: map[string]*lab.Host{}}
	l.at, l.flowWait, l.long = "c", 5*time.Second, *chaosTime >= time.Minute
	l.kills, l.freezes = cmp.Or(*chaosKills, 2), cmp.Or(*chaosFreezes, 1)
	for _, node := range []string{"a", "c"} { // for all that they keep
		l.disks = append(l.disks, diskOf(t, l.Lab, filepath.Join("state", node), 64))
	}
	for _, node := range []string{"a", "b", "c"} {
		h, err := network.Host(node)
		must(t, err)
		l.host[node] = h
	}
	for name, ends := range map[string]string{"tcp ab": "ab", "udp bc": "bc"} {
		wire, err := network.Wire(l.host[ends[:1]], l.host[ends[1:]])
		must(t, err)
		must(t, wire.Slow(chaosRate))
		l.wires[name] = wire
	}
	t.Cleanup(l.lastWords)
	l.core("a", "--tcp-listener", "port=1001")
	l.core("b", "--tcp-peer", "address="+l.wires["tcp ab"].A+":1001", "--udp-listener", "port=1002")
	l.core("c", append([]string{"--udp-peer", "address=" + l.wires["udp bc"].A + ":1002"}, chaosWork...)...)
	for _, plug := range []string{"a backend-tcp", "b backend-tcp", "b backend-udp", "c backend-udp", "c worker-command"} {
		node := plug[:1]
		l.program(plug, node, "receptor-"+plug[2:], "--socket", l.PlugSocket(node), "--log-level", "warn")
	}
	for name, start := range l.again {
		l.procs[name] = start()
	}
	l.converged()
	return l
}

// lastWords says how all is left, if the test has failed.
func (l *chaosLine) lastWords() {
	if !l.t.Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), atOnce)
	defer cancel()
	for _, node := range []string{"a", "b", "c"} {
		status, err := l.Status(ctx, node)
		l.t.Logf("%s: %+v, %v", node, status, err)
		list, err := workClient(l.Lab, node).List(ctx)
		l.t.Logf("%s: %+v, %v", node, list.Types, err)
		for _, u := range list.Units {
			if u.Node == "" || !u.State.Final() {
				l.t.Logf("%s: %+v", node, u)
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report()
	for _, u := range l.acked {
		for _, r := range u.live {
			if r.last.State == "" {
				l.t.Logf("unit %d %s, a %s, is followed after %d bytes, %v", u.n, u.id, u.kind, r.out.Len(), r.err)
			}
		}
	}
}

// core has the core of a node run.
func (l *chaosLine) core(node string, items ...string) {
	l.program(node+" core", node, "receptor-core", append([]string{"--node", "id=" + node, "--log-level", "level=warning", "--control-service", "service=control"}, items...)...)
}

// program has one run on the host of a node.
func (l *chaosLine) program(name, node, program string, args ...string) {
	l.again[name] = func() *lab.Process {
		p, err := l.StartAs(func(cmd *exec.Cmd) {
			cmd.Env = append(cmd.Env, l.mark)
			l.host[node].Run(cmd)
		}, program, args...)
		must(l.t, err)
		return p
	}
}

// converged waits until all is as it should be with nothing in the way.
func (l *chaosLine) converged() {
	l.t.Helper()
	must(l.t, l.WaitRoute(l.ctx, "a", "b", "c"))
	must(l.t, l.WaitRoute(l.ctx, "b", "a", "c"))
	must(l.t, l.WaitStatus(l.ctx, "c", func(s *lab.Status) bool {
		return s.RoutingTable["a"] != "" && s.RoutingTable["b"] != "" && s.Item("work-command worktype=chaos").State == "up"
	}))
}

// What the issue of remote units asks for: cores, backends, worker and supervisors are
// killed and frozen, wires cut, slow and lossy, and disks full, at random, while units are submitted at one node, run at another, and are followed,
// canceled and released. It holds for them what holds for those of one node. All that
// was told anywhere, at any time, are the same lives, and when all were released nothing
// of them is left anywhere, nor in any program.
func TestChaosOfRemoteUnits(t *testing.T) {
	t.Parallel()
	l := newChaosLine(t)
	before := l.calm()
	begin := time.Now()
	since := func() string { return fmt.Sprintf("after %.1f s", time.Since(begin).Seconds()) }
	over, end := context.WithCancel(l.ctx) // of the chaos
	defer end()
	seen, unseen := context.WithCancel(l.ctx) // of who watches
	defer unseen()

	var others, faults, users sync.WaitGroup
	far := workClient(l.Lab, "c")
	others.Go(func() { l.watch(seen, "at a", "a", l.c) })
	others.Go(func() { l.watch(seen, "from b", "a", l.via("b")) })
	others.Go(func() { l.watch(seen, "at c", "c", far) })
	others.Go(func() { l.asking(seen, "at a", "a", l.c, 3) })
	others.Go(func() { l.asking(seen, "from b", "a", l.via("b"), 4) })
	others.Go(func() { l.asking(seen, "at c", "c", far, 5) })
	rough, calm := context.WithTimeout(over, *chaosTime) // of what is not aimed
	defer calm()
	for i, name := range slices.Sorted(maps.Keys(l.wires)) {
		faults.Go(func() { l.trouble(rough, name, uint64(100+i)) })
	}
	faults.Go(func() { l.scarcity(rough) })
	faults.Go(func() { l.freezing(over) })
	users.Go(func() { // submits all the time, and more for as long as the chaos lasts
		units := cmp.Or(*chaosUnits, 60)
		for n := 0; n < units || over.Err() == nil; n++ {
			pause := *chaosTime / time.Duration(units)
			for lab.Pause(l.ctx, pause) == nil && n >= units && over.Err() == nil && l.waiting() > 6 {
				pause = 20 * time.Millisecond
			}
			if l.ctx.Err() != nil {
				return
			}
			users.Go(func() { l.use(n) })
		}
	})
	for r := (&round{random: l.chance(1)}); l.ctx.Err() == nil; {
		of := l.targets()
		if time.Since(begin) >= *chaosTime {
			var freezes []string
			if of, freezes = l.lacking(); len(of)+len(freezes) == 0 {
				break
			}
			r.left = nil
		}
		if len(of) > 0 {
			l.killOne(l.ctx, r, of)
		} else {
			_ = lab.Pause(l.ctx, pause)
		}
	}
	end()
	faults.Wait()
	t.Logf("the chaos is over %s", since())
	l.converged()
	t.Logf("the ways are as at first %s", since())
	users.Wait()
	l.settled()
	t.Logf("all units have ended %s", since())
	unseen()
	others.Wait()
	l.check()
	for _, u := range l.acked {
		if !u.released {
			_, err := l.c.Release(l.ctx, u.id, false)
			must(t, err)
		}
	}
	l.nothingLeft()
	t.Logf("nothing is left %s", since())
	l.back(before)
	t.Logf("all programs are as at first %s", since())
}

// calm has a unit run with nothing in the way, and returns what all programs hold then.
func (l *chaosLine) calm() map[string]load {
	l.t.Helper()
	u := l.submitOne(-1, oneLine)
	if u == nil {
		l.t.FailNow()
	}
	l.follow(l.via("b"), u, map[string]*client.Client{"a": l.c})
	l.checkOne(u)
	_, err := l.c.Release(l.ctx, u.id, false)
	must(l.t, err)
	l.mu.Lock()
	delete(l.acked, u.id)
	l.mu.Unlock()
	l.nothingLeft()
	return l.usage(slices.Sorted(maps.Keys(l.again))...)
}

// scarcity fills the disk of who submits units, or of who runs them, now and then.
func (l *chaosLine) scarcity(ctx context.Context) {
	random, count := l.chance(6), map[string]int{}
	for lab.Pause(ctx, between(random, 2*time.Second, 8*time.Second)) == nil {
		disk := l.disks[random.IntN(len(l.disks))]
		begin := time.Now()
		free, err := fillDisk(disk)
		if err == nil {
			_ = lab.Pause(ctx, between(random, 100*time.Millisecond, time.Second))
			err = free()
		}
		if err != nil {
			l.t.Errorf("fill a disk: %v", err)
			return
		}
		count[filepath.Base(disk)]++
		l.mu.Lock()
		l.scarce = append(l.scarce, span{begin, time.Now()})
		l.mu.Unlock()
	}
	l.t.Logf("full disks: %v", count)
}

// trouble has all kinds of trouble on a wire.
func (l *chaosLine) trouble(ctx context.Context, name string, chance uint64) {
	wire, random := l.wires[name], l.chance(chance)
	count := map[string]int{}
	for lab.Pause(ctx, between(random, time.Second/2, 3*time.Second)) == nil {
		var begin, end func() error
		what, long := "", between(random, time.Second, 4*time.Second)
		switch random.IntN(3) {
		case 0:
			at := random.IntN(2)
			what, begin, end = "cut", func() error { return wire.Unplug(at) }, func() error { return wire.Plug(at) }
			if *chaosTime >= time.Minute && random.IntN(4) == 0 {
				what, long = "cut for long", between(random, 25*time.Second, 35*time.Second)
			}
		case 1:
			percent := 5 + random.IntN(16)
			what, begin, end = "lossy", func() error { return wire.Lose(percent) }, func() error { return wire.Lose(0) }
		case 2:
			what, begin, end = "slow", func() error { return wire.Slow("1mbit") }, func() error { return wire.Slow(chaosRate) }
		}
		err := begin()
		_ = lab.Pause(ctx, long) // or until the chaos is over
		if err := errors.Join(err, end()); err != nil {
			l.t.Errorf("wire %s: %v", name, err)
			return
		}
		count[what]++
	}
	l.t.Logf("wire %s: %v", name, count)
}

// use submits a unit, follows it from here or there, and may want it no more.
func (l *chaosLine) use(n int) {
	kind := []chaosKind{slowly, oneLine, bulk512K}[n%3]
	if n%10 == 3 || n%10 == 7 {
		kind = noEnd
	}
	u := l.submitOne(n, kind)
	if u == nil {
		return
	}
	var users sync.WaitGroup
	defer users.Wait()
	if n%10 == 3 || n%10 == 5 || n%10 == 7 {
		u.canceled, u.released = n%10 != 7, n%10 == 7
		users.Go(func() { l.unwanted(u) })
	}
	if u.released {
		return
	}
	if n%4 != 0 {
		users.Go(func() { l.follow(l.c, u, map[string]*client.Client{"b": l.via("b")}) })
	}
	if n%4 != 1 {
		users.Go(func() { l.follow(l.via("b"), u, map[string]*client.Client{"a": l.c}) })
	}
}

// unwanted cancels a unit after a moment, or releases it.
func (l *chaosLine) unwanted(u *chaosUnit) {
	if lab.Pause(l.ctx, time.Duration(l.chance(uint64(1000+u.n)).Int64N(int64(2*time.Second)))) != nil {
		return
	}
	if u.released {
		asked := time.Since(l.begin)
		released, err := l.c.Release(l.ctx, u.id, false)
		if err != nil {
			l.t.Errorf("release unit %d (%s): %v", u.n, u.id, err)
		} else if released {
			l.told("", "a", asked, client.Status{ID: u.id, Released: true})
		}
		return
	}
	ended, err := l.c.Cancel(l.ctx, u.id)
	if err != nil {
		l.t.Errorf("cancel unit %d (%s): %v", u.n, u.id, err)
		return
	}
	if now := l.ask("b", "a", l.via("b"), u.id); ended && !now.State.Final() || !now.State.Final() && !now.CancelAsked {
		l.t.Errorf("unit %d (%s) was canceled, ended: %v; then it is %+v", u.n, u.id, ended, now)
	}
}

// settled waits until every unit has ended, and those that were released are gone.
func (l *chaosLine) settled() {
	l.t.Helper()
	for {
		list, err := l.c.List(l.ctx)
		must(l.t, err)
		open := ""
		for _, u := range list.Units {
			if !u.State.Final() || l.acked[u.ID] != nil && l.acked[u.ID].released {
				open = fmt.Sprintf("%+v", u)
			}
		}
		if open == "" {
			return
		}
		if err := lab.Pause(l.ctx, pause); err != nil {
			l.t.Fatalf("it does not end: %s", open)
		}
	}
}

// nothingLeft waits until no node has anything of any unit.
func (l *chaosLine) nothingLeft() {
	l.t.Helper()
	for {
		var left []string
		for _, node := range []string{"a", "b", "c"} {
			state := filepath.Join(l.Dir, "state", node)
			must(l.t, filepath.WalkDir(state, func(path string, d os.DirEntry, err error) error {
				if errors.Is(err, os.ErrNotExist) {
					return nil
				}
				if err == nil && unitDirectory.MatchString(d.Name()) && path != state {
					left = append(left, path)
				}
				return err
			}))
		}
		for unit, pid := range l.supervisors() {
			left = append(left, fmt.Sprintf("supervisor %d of unit %s", pid, unit))
		}
		if len(left) == 0 {
			return
		}
		if err := lab.Pause(l.ctx, pause); err != nil {
			l.t.Fatalf("it is left: %q", left)
		}
	}
}

var unitDirectory = regexp.MustCompile(`^[A-Za-z0-9]{8}$`)
