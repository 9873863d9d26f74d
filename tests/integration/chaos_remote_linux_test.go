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
)

var chaosTime = flag.Duration("chaos-time", 15*time.Second, "how long TestChaosOfRemoteUnits goes on, at least; from a minute on, links are also cut for longer than it takes to notice that")

// chaosLine is three hosts in a line, of which each has a node: units are submitted at
// a and run at c. The way from a to b is TCP, that from b to c UDP.
type chaosLine struct {
	*chaos
	wires map[string]*lab.Wire
	host  map[string]*lab.Host
}

// chaosRate is that of a wire that is as it should be.
const chaosRate = "200mbit"

func newChaosLine(t *testing.T) *chaosLine {
	t.Helper()
	network := newNetwork(t)
	l := &chaosLine{chaos: newChaos(t, "a", 4*patience+4**chaosTime), wires: map[string]*lab.Wire{}, host: map[string]*lab.Host{}}
	l.at, l.flowWait = "c", 300*time.Millisecond
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
	l.t.Logf("kills: %v", l.kills)
	l.mu.Lock()
	defer l.mu.Unlock()
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
// killed, and wires cut, slow and lossy, at random, while units are submitted at one
// node, run at another, and are followed, canceled and released. It holds for them what
// holds for those of one node. Whoever looks never sees one go back, and when all were
// released nothing of them is left anywhere.
func TestChaosOfRemoteUnits(t *testing.T) {
	t.Parallel()
	l := newChaosLine(t)
	begin := time.Now()
	since := func() string { return fmt.Sprintf("after %.1f s", time.Since(begin).Seconds()) }
	over, end := context.WithCancel(l.ctx) // of the chaos
	defer end()
	seen, unseen := context.WithCancel(l.ctx) // of who watches
	defer unseen()

	var watchers, wires, users sync.WaitGroup
	watchers.Go(func() { l.watch(seen, "a", l.c) })
	watchers.Go(func() { l.watch(seen, "b", l.via("b")) })
	for i, name := range slices.Sorted(maps.Keys(l.wires)) {
		wires.Go(func() { l.trouble(over, name, uint64(100+i)) })
	}
	units := cmp.Or(*chaosUnits, 60)
	for n := range units { // they are submitted all the time
		users.Go(func() {
			if lab.Pause(l.ctx, *chaosTime*time.Duration(n)/time.Duration(units)) == nil {
				l.use(n)
			}
		})
	}
	for time.Since(begin) < *chaosTime || !l.killedEnough(cmp.Or(*chaosKills, 2)) && l.waiting() > 0 && l.ctx.Err() == nil {
		l.killOne()
	}
	end()
	wires.Wait()
	t.Logf("the chaos is over %s", since())
	l.converged()
	t.Logf("the ways are as at first %s", since())
	users.Wait()
	l.settled()
	t.Logf("all units have ended %s", since())
	l.check()
	unseen()
	watchers.Wait()
	for _, u := range l.acked {
		if !u.released {
			_, err := l.c.Release(l.ctx, u.id, false)
			must(t, err)
		}
	}
	l.nothingLeft()
	t.Logf("nothing is left %s", since())
}

// trouble has all kinds of trouble on a wire.
func (l *chaosLine) trouble(ctx context.Context, name string, chance uint64) {
	wire, random := l.wires[name], l.chance(chance)
	between := func(least, most time.Duration) time.Duration {
		return least + time.Duration(random.Int64N(int64(most-least)))
	}
	count := map[string]int{}
	for lab.Pause(ctx, between(time.Second/2, 3*time.Second)) == nil {
		var begin, end func() error
		what, long := "", between(time.Second, 4*time.Second)
		switch random.IntN(3) {
		case 0:
			at := random.IntN(2)
			what, begin, end = "cut", func() error { return wire.Unplug(at) }, func() error { return wire.Plug(at) }
			if *chaosTime >= time.Minute && random.IntN(4) == 0 {
				what, long = "cut for long", between(25*time.Second, 35*time.Second)
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
	kind := []chaosKind{lineByLine, oneLine, bulk512K}[n%3]
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
		users.Go(func() { l.follow(l.c, u) })
	}
	if n%4 != 1 {
		users.Go(func() { l.follow(l.via("b"), u) })
	}
}

// unwanted cancels a unit after a moment, or releases it.
func (l *chaosLine) unwanted(u *chaosUnit) {
	if lab.Pause(l.ctx, time.Duration(l.chance(uint64(1000+u.n)).Int64N(int64(2*time.Second)))) != nil {
		return
	}
	var err error
	if u.released {
		_, err = l.c.Release(l.ctx, u.id, false)
	} else {
		_, err = l.c.Cancel(l.ctx, u.id)
	}
	if err != nil {
		l.t.Errorf("unit %d (%s), canceled: %v, released: %v: %v", u.n, u.id, u.canceled, u.released, err)
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
