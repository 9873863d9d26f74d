package integration

import (
	"maps"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/tests/legacy"
)

const (
	starving      = 30 * time.Second // longer than a link may be silent
	busyProcesses = 20               // under the same limit
)

// T5: three nodes that share 30 % of one core with twenty busy processes keep
// their links, among them one with an existing node, and answer each question.
func TestStarvedNodesKeepTheirLinks(t *testing.T) {
	limit := newCPULimit(t)
	m := newMixed(t)
	ab, bc, cd := freePort(t), freePort(t), freePort(t)
	d := m.model(legacy.Config{ID: "d"})
	m.listen(d, cd, legacy.LinkConfig{})
	launchers := []*lab.Process{
		m.ours("a", listens(ab)...),
		m.ours("b", append(listens(bc), dials(ab)...)...),
		m.ours("c", append(dials(bc), dials(cd)...)...),
	}
	nodes := []string{"a", "b", "c"}
	links := map[string]map[string]string{}
	must(t, m.WaitRoute(m.ctx, "a", "b", "c", "d"))
	m.reaches(d, "a", "b", "c")
	for _, node := range nodes {
		s, err := m.Status(m.ctx, node)
		must(t, err)
		links[node] = linksOf(s)
	}

	var busy []*exec.Cmd
	stop := func() {
		for _, p := range busy {
			_ = p.Process.Kill()
			_ = p.Wait() // with that
		}
		busy = nil
	}
	t.Cleanup(stop)
	for range busyProcesses {
		p := exec.Command("sh", "-c", "while :; do :; done")
		must(t, p.Start())
		busy = append(busy, p)
	}
	t.Cleanup(func() { must(t, limit.lift()) }) // before what is limited ends: its number may be another's then
	for _, l := range launchers {
		must(t, limitNode(limit, l))
	}
	for _, p := range busy {
		must(t, limit.add(p.Process.Pid))
	}
	var took []time.Duration
	for start := time.Now(); time.Since(start) < starving; {
		for _, node := range nodes {
			asked := time.Now()
			s, err := m.Status(m.ctx, node)
			must(t, err)
			took = append(took, time.Since(asked))
			if now := linksOf(s); !maps.Equal(now, links[node]) {
				t.Fatalf("%v after the start, the links of %s are %v, they were %v", time.Since(start), node, now, links[node])
			}
		}
	}
	slices.Sort(took)
	t.Logf("limited by %v", limit)
	t.Logf("%d questions answered: p50 %v, p99 %v, the slowest %v", len(took),
		took[len(took)/2].Round(time.Millisecond), took[len(took)*99/100].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))

	must(t, limit.lift())
	stop()
	m.pingsFrom("a", "d", "b", "c")
	for _, node := range nodes {
		s, err := m.Status(m.ctx, node)
		must(t, err)
		if now := linksOf(s); !maps.Equal(now, links[node]) {
			t.Errorf("afterwards the links of %s are %v, they were %v", node, now, links[node])
		}
	}
}
