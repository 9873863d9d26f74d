package netceptor

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// Every obstacle that a node can know of, and none.
func TestExplain(t *testing.T) {
	t.Parallel()
	nodes := lineWith(t, map[string][]FirewallRule{
		"a": {{FromNode: "a", ToService: "there", Action: "drop"}, {FromService: "back", Action: "reject"}, {ToNode: "c", Action: "accept"}},
		"b": {{ToService: "hop", Action: "reject"}},
	})
	a, c := nodes[0], nodes[2]
	l, err := c.Listen("ad", ListenOptions{Advertise: true, Tags: map[string]string{"type": "test"}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	serve(t, c, "hop", func(*Conn) {})
	serve(t, c, "quiet", func(c *Conn) { _, _ = io.Copy(c, c) })
	listen(t, a, "mine")
	waitFor(t, a, "the advertisement", func(s Status) bool { return len(s.Advertisements) == 1 })

	const fine, quiet = "nothing that is known here stands in the way", "nothing that is known here stands in the way, but the service is not advertised"
	check := func(node, service string, ok bool, reason string) Explanation {
		t.Helper()
		e := a.Explain(node, service)
		if e.OK != ok || e.Reason != reason || e.Node != "a" || e.To.Service != service {
			t.Errorf("%s:%s: %+v\nwant %s", node, service, e, reason)
		}
		return e
	}
	e := check("c", "ad", true, fine)
	if fmt.Sprint(e.Path) != "[{b 1} {c 1}]" || e.Link == nil || e.Link.Peer != "b" || e.Advertisement == nil || e.Advertisement.Tags["type"] != "test" || e.LastDial != nil {
		t.Errorf("%+v", e)
	}
	if e.There.Number != 3 || e.There.Rule != "accept tonode=c" || e.There.To != (Addr{"c", "ad"}) || e.There.From.Node != "a" || e.Back.Number != 0 || e.Back.From != e.There.To || e.Back.To != e.There.From {
		t.Errorf("rules %+v, %+v", e.There, e.Back)
	}
	check("c", "quiet", true, quiet)
	check("c", "there", false, "blocked by firewall of node a (rule 1: drop fromnode=a toservice=there)")
	check("c", "back", false, "blocked by firewall of node a (rule 2: reject fromservice=back)")
	check("localhost", "mine", true, fine)
	check("a", "other", false, "no such service is bound on this node")
	check("x", "any", false, "no route to node: it was never heard of")
	check("c", "ninechars", false, "there can be no such service: service name is longer than 8 bytes")

	check("c", "hop", true, quiet)
	if _, err := a.Dial(t.Context(), "c", "hop"); err == nil {
		t.Error("a dial that a hop rejects succeeds")
	}
	e = check("c", "hop", false, "the last dial failed: blocked by firewall of node b")
	if e.LastDial == nil || e.LastDial.Time.IsZero() || e.LastDial.Took <= 0 {
		t.Errorf("last dial %+v", e.LastDial)
	}
	dial(t, a, "c", "quiet")
	if e = check("c", "quiet", true, quiet); e.LastDial == nil || e.LastDial.Err != "" {
		t.Errorf("last dial %+v", e.LastDial)
	}

	// The node is heard of, but has gone.
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	waitFor(t, a, "the loss of c", func(s Status) bool { return s.RoutingTable["c"] == "" })
	e = check("c", "quiet", false, "no route to node: it was heard of, but no links that both ends report lead there now")
	if e.Path != nil || e.Link != nil {
		t.Errorf("%+v", e)
	}
	if got := a.Status().Counters["firewall_dropped"]; got != 0 {
		t.Errorf("explaining has counted %d", got)
	}
}

// What is remembered of dials has a bound.
func TestDialRecordsAreBounded(t *testing.T) {
	t.Parallel()
	a := startNode(t, Config{NodeID: "a"})
	for i := range 2 * maxDials {
		if _, err := a.Dial(t.Context(), fmt.Sprintf("n%d", i), "x"); err == nil || !strings.Contains(err.Error(), "no route") {
			t.Fatal(err)
		}
	}
	if got := len(a.dials.all); got != maxDials {
		t.Errorf("%d dials are remembered, want %d", got, maxDials)
	}
	if a.Explain(fmt.Sprintf("n%d", 2*maxDials-1), "x").LastDial == nil {
		t.Error("the last dial is not remembered")
	}
}
