package netceptor

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestTwoNodes(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, "a", "b")
	a, b := nodes[0], nodes[1]
	la, _ := joinWith(t, a, LinkConfig{Cost: 2.5, Item: "tcp-peer", Dir: "out", Medium: "tcp"},
		b, LinkConfig{NodeCost: map[string]float64{"a": 2.5}})
	waitRoutes(t, a, b)
	waitFor(t, a, "what b says about its links", func(s Status) bool { return s.KnownConnectionCosts["b"]["a"] == 2.5 })
	if la.Peer() != "b" {
		t.Errorf("the peer is %q", la.Peer())
	}
	s := a.Status()
	if !slices.Equal(s.Connections, []Connection{{"b", 2.5}}) {
		t.Errorf("connections %v", s.Connections)
	}
	if !maps.Equal(s.RoutingTable, map[string]string{"b": "b"}) {
		t.Errorf("routes %v", s.RoutingTable)
	}
	if s.KnownConnectionCosts["a"]["b"] != 2.5 {
		t.Errorf("costs %v", s.KnownConnectionCosts)
	}
	if len(s.Links) != 1 {
		t.Fatalf("links %+v", s.Links)
	}
	l := s.Links[0]
	if l.Peer != "b" || l.State != "established" || l.Legacy || l.Cost != 2.5 || l.Item != "tcp-peer" || l.Dir != "out" ||
		l.FramesIn == 0 || l.FramesOut == 0 || l.BytesIn == 0 || l.BytesOut == 0 || l.Authentication != "none" {
		t.Errorf("link %+v", l)
	}
}

func TestLineOfThree(t *testing.T) {
	t.Parallel()
	nodes := line(t, "a", "b", "c")
	for _, to := range []string{"a", "b", "c", "localhost"} {
		r, err := nodes[0].Ping(t.Context(), to, 30)
		want := to
		if to == "localhost" {
			want = "a"
		}
		if err != nil || r.From != want || r.Time <= 0 {
			t.Errorf("ping %s: %+v, %v", to, r, err)
		}
	}
	// What traceroute does.
	for hops, want := range []struct {
		from string
		err  error
	}{{"a", ErrExpired}, {"b", ErrExpired}, {"c", nil}} {
		r, err := nodes[0].Ping(t.Context(), "c", uint8(hops))
		if r.From != want.from || !errors.Is(err, want.err) {
			t.Errorf("ping with %d hops: %+v, %v, want %v", hops, r, err, want)
		}
	}
	if _, err := nodes[0].Ping(t.Context(), "nobody", 30); !errors.Is(err, ErrNoRoute) || err.Error() != "no route to node" {
		t.Errorf("ping of an unknown node: %v", err)
	}
}

func TestLinkLossIsNoticed(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, "a", "b", "c")
	join(t, nodes[0], nodes[1])
	toC, _ := join(t, nodes[1], nodes[2])
	waitRoutes(t, nodes...)
	if err := toC.Close(); err != nil {
		t.Fatal(err)
	}
	if toC.Err() != nil {
		t.Errorf("a link that was closed says %v", toC.Err())
	}
	waitFor(t, nodes[0], "c to be out of reach", func(s Status) bool { return s.RoutingTable["c"] == "" })
	if _, err := nodes[0].Ping(t.Context(), "c", 30); !errors.Is(err, ErrNoRoute) {
		t.Errorf("ping of a lost node: %v", err)
	}
	join(t, nodes[1], nodes[2])
	waitRoutes(t, nodes...)
	if _, err := nodes[0].Ping(t.Context(), "c", 30); err != nil {
		t.Errorf("ping after the link is back: %v", err)
	}
}

func TestRefusedLinks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		ca, cb LinkConfig
		peer   string
	}{
		{"not among the allowed peers", LinkConfig{AllowedPeers: []string{"x", "y"}}, LinkConfig{}, "b"},
		{"other cost", LinkConfig{Cost: 2}, LinkConfig{}, "b"},
		{"ourselves", LinkConfig{}, LinkConfig{}, "a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			nodes := startNodes(t, "a", test.peer)
			la, lb := joinWith(t, nodes[0], test.ca, nodes[1], test.cb)
			if err := ended(t, la); err == nil {
				t.Error("the link ended without a reason")
			}
			if err := ended(t, lb); err == nil {
				t.Error("the other end ended without a reason")
			}
			waitFor(t, nodes[0], "no links", func(s Status) bool { return len(s.Links) == 0 && len(s.Connections) == 0 })
		})
	}
}

func TestAllowedPeer(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, "a", "b")
	joinWith(t, nodes[0], LinkConfig{AllowedPeers: []string{"x", "b"}}, nodes[1], LinkConfig{})
	waitRoutes(t, nodes...)
}

func TestBadLinkConfig(t *testing.T) {
	t.Parallel()
	n := startNode(t, Config{NodeID: "a"})
	for _, c := range []LinkConfig{{Cost: -1}, {Cost: 2e9}, {NodeCost: map[string]float64{"b": 0}}} {
		conn := &closeConn{closed: make(chan struct{})}
		if _, err := n.AddLink(conn, c); err == nil {
			t.Errorf("%+v was taken", c)
		}
		if !isClosed(conn.closed) {
			t.Errorf("%+v: the connection was not closed", c)
		}
	}
}

// A second link to a neighbour is refused while the first one lives.
func TestDuplicateLink(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, "a", "b")
	first, _ := join(t, nodes[0], nodes[1])
	waitRoutes(t, nodes...)
	second, _ := join(t, nodes[0], nodes[1])
	ended(t, second)
	if isClosed(first.Done()) {
		t.Error("the first link ended")
	}
	if _, err := nodes[0].Ping(t.Context(), "b", 30); err != nil {
		t.Error(err)
	}
}

// A neighbour that is killed and comes back, three times within a second, is let
// in at once although the link to its old process stands half open, and is heard
// by the node behind.
func TestRestartsAreHeard(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, "a", "b")
	join(t, nodes[0], nodes[1])
	waitRoutes(t, nodes...)
	now := time.Now()
	var epoch uint64
	for i := range 4 {
		epoch = NextEpoch(now, epoch)
		c := startNode(t, Config{NodeID: "c", Epoch: epoch})
		join(t, nodes[1], c) // the ones before stay: nobody closes them
		for _, n := range nodes {
			waitFor(t, n, "routes to c", func(s Status) bool { return s.RoutingTable["c"] == "b" || s.RoutingTable["c"] == "c" })
		}
		waitRoutes(t, nodes[0], nodes[1], c)
		if r, err := c.Ping(t.Context(), "a", 30); err != nil {
			t.Fatalf("start %d: ping from c: %+v, %v", i, r, err)
		}
		if r, err := nodes[0].Ping(t.Context(), "c", 30); err != nil {
			t.Fatalf("start %d: ping to c: %+v, %v", i, r, err)
		}
	}
	if links := nodes[1].Status().Links; len(links) != 2 {
		t.Errorf("b has the links %+v, want one to a and one to c", links)
	}
}

// Traffic between two nodes goes on at full rate while the link to a third takes
// nothing.
func TestBlockedLinkStallsNoOther(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, "a", "b")
	join(t, nodes[0], nodes[1])
	stuck := attachRaw(t, nodes[1], "stuck")
	waitFor(t, nodes[0], "route to the stuck node", func(s Status) bool { return s.RoutingTable["stuck"] == "b" })
	stuck.stopReading()

	c, err := nodes[0].ListenPacket("", ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	datagram := make([]byte, 16<<10)
	dropped := func() bool {
		for _, l := range nodes[1].Status().Links {
			if l.Peer == "stuck" && l.FramesDropped > 0 {
				return true
			}
		}
		return false
	}
	for end := time.Now().Add(patience); !dropped(); {
		if time.Now().After(end) {
			t.Fatal("nothing was dropped for the stuck node")
		}
		if _, err := c.WriteTo(datagram, Addr{"stuck", "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := nodes[0].Ping(t.Context(), "b", 30); err != nil {
		t.Errorf("ping over the healthy link: %v", err)
	}
}

func TestAdvertisements(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := startNode(t, Config{NodeID: "a", noStreams: true})
		b := startNode(t, Config{NodeID: "b", noStreams: true})
		join(t, a, b)
		tags := map[string]string{"type": "UDP Proxy"}
		c, err := a.ListenPacket("udp", ListenOptions{Advertise: true, Tags: tags})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		hidden, err := a.ListenPacket("hidden", ListenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer hidden.Close()
		waitFor(t, b, "a's service", func(s Status) bool { return len(s.Advertisements) > 0 })
		for _, n := range []*Node{a, b} {
			ads := n.Status().Advertisements
			if len(ads) != 1 || ads[0].NodeID != "a" || ads[0].Service != "udp" || ads[0].ConnType != 0 || !maps.Equal(ads[0].Tags, tags) {
				t.Errorf("%s knows %+v", n.NodeID(), ads)
			}
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if ad := a.Status().Advertisements[0]; !ad.Time.Equal(time.Now()) {
			t.Errorf("our own service has the time %v, want now", ad.Time)
		}
	})
}

// Updates every 10 s keep a quiet link; without them it ends when it was idle for
// 21 s, as the check every 5 s finds.
func TestKeepAliveAndIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := startNode(t, Config{NodeID: "a", noStreams: true})
		b := startNode(t, Config{NodeID: "b", noStreams: true})
		la, lb := join(t, a, b)
		raw := attachRaw(t, a, "silent")
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if isClosed(raw.link.Done()) {
			t.Error("a link was ended before 21 s of silence")
		}
		<-raw.link.Done()
		if err := raw.link.Err(); err == nil {
			t.Error("the silent link ended without a reason")
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if isClosed(la.Done()) || isClosed(lb.Done()) {
			t.Error("a link between living nodes ended")
		}
	})
}

// A neighbour that never says who it is is given up after ten tries.
func TestNoHandshake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := startNode(t, Config{NodeID: "a", noStreams: true})
		start := time.Now()
		raw := connectRaw(t, a, "mute", LinkConfig{})
		<-raw.link.Done()
		if took := time.Since(start); took < 9*time.Second || took > 12*time.Second {
			t.Errorf("given up after %v", took)
		}
		if inits := len(raw.received()); inits != 10 {
			t.Errorf("%d init messages, want 10", inits)
		}
	})
}

// A ping that nobody answers ends after 10 s, not with the test.
func TestPingTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := startNode(t, Config{NodeID: "a", noStreams: true})
		attachRaw(t, a, "silent")
		start := time.Now()
		_, err := a.Ping(t.Context(), "silent", 30)
		if err == nil || err.Error() != "timeout" {
			t.Errorf("got %v, want timeout", err)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("after %v", took)
		}
	})
}
