package integration

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// A hub with fifty leaves, a core and a backend each, is killed and comes back: so
// do all leaves, each by itself, and reach each other. When their links stand again
// is printed; that they do not dial together is tested in package plug, and five
// hundred leaves in package netceptor.
func TestHubWithFiftyLeavesRestarts(t *testing.T) {
	const leaves = 50
	p, err := plain() // a hundred programs
	must(t, err)
	l, ctx := newLabOf(t, p)
	start := func(id string, link ...string) []*lab.Process {
		core, err := l.Start("receptor-core", append([]string{"--node", "id=" + id}, link...)...)
		must(t, err)
		backend, err := l.Start("receptor-backend-tcp", "--socket", l.PlugSocket(id))
		must(t, err)
		return []*lab.Process{core, backend}
	}
	port := freePort(t)
	startHub := func() []*lab.Process {
		return start("hub", "--tcp-listener", "bindaddr=127.0.0.1", "port="+strconv.Itoa(port))
	}
	names := make([]string, leaves)
	all := func(what string, since time.Time) {
		t.Helper()
		var hub *lab.Status
		must(t, l.WaitStatus(ctx, "hub", func(s *lab.Status) bool {
			hub = s
			return len(s.RoutingTable) == leaves
		}))
		t.Logf("%d leaves are %s after %.1f s", leaves, what, time.Since(since).Seconds())
		linked := make([]int, 1)
		for _, link := range hub.Links {
			tenth := max(int(link.Since.Sub(since)/(100*time.Millisecond)), 0)
			for len(linked) <= tenth {
				linked = append(linked, 0)
			}
			linked[tenth]++
		}
		t.Logf("links in each tenth of a second: %v", linked)
		for i, leaf := range names {
			must(t, l.WaitRoute(ctx, leaf, names[(i+1)%leaves]))
		}
		for i := range 5 {
			_, err := l.PingAt(ctx, l.Socket(names[i]), names[leaves-1-i])
			must(t, err)
		}
	}

	started := time.Now()
	hub := startHub()
	for i := range names {
		names[i] = fmt.Sprintf("leaf%02d", i)
		start(names[i], "--tcp-peer", "address="+lab.Local(port))
	}
	all("up", started)

	down := time.Now()
	for _, p := range hub {
		p.Kill()
	}
	startHub()
	all("back", down)
}
