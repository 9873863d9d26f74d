package integration

import (
	"bytes"
	"sync/atomic"
	"testing"

	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/tests/legacy"
)

// A proxy that was killed and does not come back: its service is taken back from the
// whole mesh once the time has passed in which the next process could have taken it
// over. It is so through existing nodes, which form a ring here: they lose its tags, and
// say so to each other once.
func TestKilledProxyIsWithdrawn(t *testing.T) {
	t.Parallel()
	m := newMixed(t)
	near, far := freePort(t), freePort(t)
	args := []string{"--node", "id=far", "--socket", m.PlugSocket("far")}
	_, err := m.Start("receptor-core", append(append(args, listens(far)...), "--tcp-client", "service=app", "address=127.0.0.1:1")...)
	must(t, err)
	_, err = m.Start("receptor-backend-tcp", "--socket", m.PlugSocket("far"))
	must(t, err)
	proxy, err := m.Start("receptor-proxy-tcp", "--socket", m.PlugSocket("far"))
	must(t, err)
	m.ours("near", listens(near)...)

	var farewells atomic.Int64
	count := func(e legacy.Event) {
		m.script.Trace(e)
		if e.Way != legacy.Note && bytes.Contains(e.Message, []byte(`"Gone":true`)) {
			farewells.Add(1)
		}
	}
	models := make([]*legacy.Node, 2)
	for i, id := range []string{"b", "c"} {
		n, err := legacy.Start(legacy.Config{ID: id, Trace: count, RedialPace: 0.1})
		must(t, err)
		t.Cleanup(func() { n.Close() })
		models[i] = n
		n.DialTCP(lab.Local(far), legacy.LinkConfig{}, nil, true)
	}
	between := m.listen(models[0], 0, legacy.LinkConfig{}).Addr
	models[1].DialTCP(between.String(), legacy.LinkConfig{}, nil, true)
	models[0].DialTCP(lab.Local(near), legacy.LinkConfig{}, nil, true)

	tags := func(n *legacy.Node) (found map[string]string) {
		for _, ad := range n.Adverts() {
			if ad.NodeID == "far" && ad.Service == "app" {
				found = ad.Tags
			}
		}
		return found
	}
	must(t, m.WaitRoute(m.ctx, "near", "far"))
	must(t, m.WaitStatus(m.ctx, "near", func(s *lab.Status) bool { return s.Advertisement("far", "app").Tags["type"] == "TCP Proxy" }))
	for _, n := range models {
		m.eventually(n.ID()+" hears of the service", func() bool { return tags(n)["type"] == "TCP Proxy" })
	}

	proxy.Kill()
	must(t, m.WaitStatus(m.ctx, "near", func(s *lab.Status) bool { return s.Advertisement("far", "app").Service == "" }))
	for _, n := range models {
		m.eventually(n.ID()+" hears of the end", func() bool { return len(tags(n)) == 0 })
	}
	// Each link of the models carries it at most once each way, and the one between them is counted twice.
	if n := farewells.Load(); n > 10 {
		t.Errorf("the models have sent and received %d farewells", n)
	}
}
