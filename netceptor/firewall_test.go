package netceptor

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/forward"
	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// lineWith is a line of the nodes a, b and c with firewall rules.
func lineWith(t *testing.T, rules map[string][]FirewallRule) []*Node {
	t.Helper()
	var nodes []*Node
	for _, name := range []string{"a", "b", "c"} {
		nodes = append(nodes, startNode(t, Config{NodeID: name, Firewall: rules[name]}))
	}
	join(t, nodes[0], nodes[1])
	join(t, nodes[1], nodes[2])
	waitRoutes(t, nodes...)
	return nodes
}

// A rule about one service, at the node that dials, at a hop and at the end: the
// dial fails at once and says where; other services on the same nodes are as ever.
func TestFirewallStopsOneService(t *testing.T) {
	t.Parallel()
	toService := []FirewallRule{{ToService: "web", Action: "reject"}}
	for name, tc := range map[string]struct {
		rules map[string][]FirewallRule
		want  string
	}{
		"at the dialler":           {map[string][]FirewallRule{"a": toService}, "dial receptor c:web: blocked by firewall of node a (rule 1: reject toservice=web)"},
		"at the dialler, dropped":  {map[string][]FirewallRule{"a": {{FromNode: "x", Action: "reject"}, {ToService: "web", Action: "drop"}}}, "dial receptor c:web: blocked by firewall of node a (rule 2: drop toservice=web)"},
		"at the dialler, way back": {map[string][]FirewallRule{"a": {{FromService: "web", Action: "reject"}}}, "dial receptor c:web: blocked by firewall of node a (rule 1: reject fromservice=web)"},
		"at a hop":                 {map[string][]FirewallRule{"b": toService}, "dial receptor c:web: blocked by firewall of node b"},
		"at the end":               {map[string][]FirewallRule{"c": toService}, "dial receptor c:web: blocked by firewall of node c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := lineWith(t, tc.rules)
			for _, service := range []string{"web", "ssh"} {
				serve(t, nodes[2], service, func(c *Conn) { _, _ = io.Copy(c, c) })
			}
			for range 2 {
				_, err := nodes[0].Dial(t.Context(), "c", "web")
				if !errors.Is(err, ErrBlocked) || err.Error() != tc.want {
					t.Errorf("got  %v\nwant %s", err, tc.want)
				}
			}
			c := dial(t, nodes[0], "c", "ssh")
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
				t.Error(err)
			}
		})
	}
}

// Nodes change their mind while streams are open: those of the service stop, the
// dial over the connection that they share fails at once, others go on.
func TestFirewallOnSharedConnections(t *testing.T) {
	t.Parallel()
	for _, at := range []int{1, 2} {
		nodes := lineWith(t, nil)
		for _, service := range []string{"web", "ssh"} {
			serve(t, nodes[2], service, func(c *Conn) { _, _ = io.Copy(c, c) })
		}
		web1, web2, ssh := dial(t, nodes[0], "c", "web"), dial(t, nodes[0], "c", "web"), dial(t, nodes[0], "c", "ssh")
		answers := func(c *Conn) error {
			if _, err := c.Write([]byte("x")); err != nil {
				return err
			}
			_, err := io.ReadFull(c, make([]byte, 1))
			return err
		}
		for _, c := range []*Conn{web1, web2, ssh} {
			if err := answers(c); err != nil {
				t.Fatal(err)
			}
		}

		restartWith(t, nodes, at, FirewallRule{ToService: "web", Action: "reject"})
		if at == 2 {
			for _, service := range []string{"web", "ssh"} {
				serve(t, nodes[2], service, func(c *Conn) { _, _ = io.Copy(c, c) })
			}
			ssh = dial(t, nodes[0], "c", "ssh")
		}
		if err := answers(ssh); err != nil {
			t.Errorf("rules at %s: the stream to another service: %v", nodes[at].NodeID(), err)
		}
		_, err := nodes[0].Dial(t.Context(), "c", "web")
		if want := "dial receptor c:web: blocked by firewall of node " + nodes[at].NodeID(); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		for _, c := range []*Conn{web1, web2} {
			_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if err := answers(c); err == nil {
				t.Errorf("rules at %s: a stream to the service goes on", nodes[at].NodeID())
			}
		}
	}
}

// restartWith replaces a node of a line of three by one with a rule.
func restartWith(t *testing.T, nodes []*Node, at int, rule FirewallRule) {
	t.Helper()
	old := nodes[at]
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	nodes[at] = startNode(t, Config{NodeID: old.NodeID(), Epoch: NextEpoch(time.Now(), old.config.Epoch), Firewall: []FirewallRule{rule}})
	if at == 1 {
		join(t, nodes[0], nodes[1])
	}
	join(t, nodes[1], nodes[2])
	waitRoutes(t, nodes...)
	waitFor(t, nodes[0], "the new links", func(s Status) bool {
		return s.KnownConnectionCosts["b"]["c"] == 1 && s.KnownConnectionCosts["c"]["b"] == 1 && s.RoutingTable["c"] == "b"
	})
}

// Datagrams, pings and what is said of them.
func TestFirewallOnDatagrams(t *testing.T) {
	t.Parallel()
	nodes := lineWith(t, map[string][]FirewallRule{
		"a": {{ToService: "la", Action: "reject"}, {ToService: "ld", Action: "drop"}},
		"b": {{FromNode: "a", ToService: "ping", ToNode: "c", Action: "reject"}, {ToService: "hr", Action: "reject"}, {ToService: "hd", Action: "drop"}},
	})
	r, err := nodes[0].Ping(t.Context(), "c", 30)
	if !errors.Is(err, ErrBlocked) || err.Error() != "blocked by firewall" || r.From != "b" {
		t.Errorf("ping through a hop that rejects: %+v, %v", r, err)
	}
	if r, err := nodes[0].Ping(t.Context(), "b", 30); err != nil || r.From != "b" {
		t.Errorf("ping of the hop: %+v, %v", r, err)
	}
	// Hops do not count before the rules do.
	if r, err := nodes[0].Ping(t.Context(), "c", 1); !errors.Is(err, ErrBlocked) || r.From != "b" {
		t.Errorf("ping that would expire at the hop: %+v, %v", r, err)
	}

	c, err := nodes[0].ListenPacket("", ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.WriteTo([]byte("x"), Addr{"c", "la"}); !errors.Is(err, ErrBlocked) {
		t.Errorf("our own rule: %v", err)
	}
	for _, service := range []string{"ld", "hd", "hr"} {
		if _, err := c.WriteTo([]byte("x"), Addr{"c", service}); err != nil {
			t.Errorf("%s: %v", service, err)
		}
	}
	select {
	case n := <-c.Unreachable(): // nothing is said of the first two
		if want := (Notice{From: "b", To: Addr{"c", "hr"}, Problem: "blocked by firewall"}); n != want {
			t.Errorf("notice %+v, want %+v", n, want)
		}
	case <-time.After(patience):
		t.Error("no notice")
	}
	s := nodes[1].Status()
	if s.Counters["firewall_rejected"] != 3 || s.Counters["firewall_dropped"] != 1 {
		t.Errorf("counters %v", s.Counters)
	}
	f := s.Firewall
	if len(f) != 4 || f[0] != (FirewallRuleStatus{1, "reject fromnode=a tonode=c toservice=ping", 2}) || f[2] != (FirewallRuleStatus{3, "drop toservice=hd", 1}) || f[3].Messages == 0 {
		t.Errorf("rules %+v", f)
	}
}

// A node that was told nothing of notices stays so: none is sent about one, nor
// more than are allowed.
func TestFirewallNotices(t *testing.T) {
	t.Parallel()
	n := startNode(t, Config{NodeID: "a", Firewall: []FirewallRule{{FromNode: "p", Action: "reject"}}})
	p := attachRaw(t, n, "p")
	p.send(data(30, Addr{"p", "unreach"}, Addr{"a", "unreach"}, `{"FromNode":"a","ToNode":"p","FromService":"x","ToService":"y","Problem":"service unknown"}`))
	for range 3 * answersBurst * answersPerSource {
		p.send(data(30, Addr{"p", "x"}, Addr{"a", "y"}, "hello"))
	}
	p.expect("a notice", func(msg []byte) bool { return strings.Contains(string(msg), `"Problem":"blocked by firewall"`) })
	waitCounter(t, n, "firewall_rejected", 1+3*answersBurst*answersPerSource)
	waitCounter(t, n, "rate_limited", answersBurst*answersPerSource)
	for _, msg := range p.received() {
		if strings.Contains(string(msg), `"FromService":"unreach"`) {
			t.Errorf("a notice about a notice: %q", msg)
		}
	}
}

// The other way out of an open dial is its context.
func TestFirewallDroppedOnTheWay(t *testing.T) {
	t.Parallel()
	nodes := lineWith(t, map[string][]FirewallRule{"b": {{ToService: "web", Action: "drop"}}})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := nodes[0].Dial(ctx, "c", "web"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("dial: %v", err)
	}
}

func TestFirewallConfig(t *testing.T) {
	t.Parallel()
	_, err := New(Config{NodeID: "a", Firewall: []FirewallRule{{Action: "drop"}, {ToNode: "/x", Action: "drop"}}})
	want := `check node configuration: Firewall[1]: tonode: expected a regular expression between slashes, got "/x" without the second one`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// What passes costs nothing that is left behind, with rules or without.
func TestFirewallAllocs(t *testing.T) {
	for name, rules := range map[string][]FirewallRule{
		"no rules": nil,
		"rules":    {{ToService: "/w.*/", Action: "reject"}, {FromNode: "b", Action: "drop"}},
	} {
		n, err := New(Config{NodeID: "a", Firewall: rules, noStreams: true})
		if err != nil {
			t.Fatal(err)
		}
		n.table.Store(&forward.Table{Self: n.self, Nodes: map[uint64]forward.Entry{n.self: {Name: "a"}, wire.NodeHash("c"): {Name: "c"}}})
		msg := data(30, Addr{"c", "x"}, Addr{"a", "y"}, "hello")
		if allocs := testing.AllocsPerRun(100, func() {
			if !n.pass(msg) {
				t.Fatal("it may not pass")
			}
		}); allocs != 0 {
			t.Errorf("%s: %v allocations to let a message pass", name, allocs)
		}
		h := wire.Header{Hops: 30, From: n.self, To: wire.NodeHash("c")}
		if allocs := testing.AllocsPerRun(100, func() { _ = n.send(h, nil, 0, 0) }); allocs != 0 {
			t.Errorf("%s: %v allocations to send a message nowhere", name, allocs)
		}
	}
}

// A notice of an existing node ends a dial at once, whatever its problem is; its
// text and who sent it are the error. One with a problem that we do not know says
// nothing.
func TestNoticesEndDials(t *testing.T) {
	t.Parallel()
	n := startNode(t, Config{NodeID: "a"})
	p := attachRaw(t, n, "p")
	for service, tc := range map[string]struct {
		problem string
		want    error
		text    string
	}{
		"unknown": {"service unknown", ErrServiceUnknown, "service unknown"},
		"expired": {"message expired", ErrExpired, "message expired at node p"},
		"blocked": {"blocked by firewall", ErrBlocked, "blocked by firewall of node p"},
	} {
		dialled := make(chan error, 1)
		go func() {
			_, err := n.Dial(t.Context(), "p", service)
			dialled <- err
		}()
		initial := p.expect("a packet for the service", func(msg []byte) bool {
			h, err := wire.ParseHeader(msg)
			return err == nil && h.ToService.String() == service
		})
		h, err := wire.ParseHeader(initial)
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range []string{"something new", tc.problem} {
			notice := wire.Notice{FromNode: "a", FromService: h.FromService.String(), ToNode: "p", ToService: service, Problem: problem}
			p.send(data(30, Addr{"p", "unreach"}, Addr{"a", "unreach"}, string(notice.Append(nil))))
		}
		select {
		case err := <-dialled:
			if want := "dial receptor p:" + service + ": " + tc.text; !errors.Is(err, tc.want) || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		case <-time.After(patience):
			t.Fatalf("%s: the dial goes on", tc.problem)
		}
	}
	for _, service := range []string{"ping", "unreach"} {
		if _, err := n.Dial(t.Context(), "p", service); !errors.Is(err, ErrServiceUnknown) {
			t.Errorf("a stream to %s: %v", service, err)
		}
	}
}
