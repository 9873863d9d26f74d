package legacy

import (
	"context"
	"errors"
	"maps"
	"testing"
	"testing/synctest"
	"time"
)

// line links nodes of these names one after the other.
func line(t *testing.T, ids ...string) []*Node {
	t.Helper()
	var nodes []*Node
	for i, id := range ids {
		nodes = append(nodes, start(t, Config{ID: id}))
		if i > 0 {
			join(nodes[i-1], nodes[i], LinkConfig{}, LinkConfig{})
		}
	}
	return nodes
}

func TestLineRoutesAndPings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		nodes := line(t, "a", "b", "c", "d")
		time.Sleep(2 * time.Second)
		if got, want := nodes[0].Routes(), map[string]string{"b": "b", "c": "b", "d": "b"}; !maps.Equal(got, want) {
			t.Fatalf("the routes of a are %v, expected %v", got, want)
		}
		if p := nodes[0].Ping(t.Context(), "d", maxHops); p.Err != nil || p.From != "d" {
			t.Errorf("ping: %+v", p)
		}
		var by []string
		for _, p := range nodes[3].Traceroute(t.Context(), "a") {
			by = append(by, p.From)
			if p.Err != nil {
				t.Errorf("traceroute: %+v", p)
			}
		}
		if len(by) != 4 || by[0] != "d" || by[1] != "c" || by[2] != "b" || by[3] != "a" {
			t.Errorf("the route is %v", by)
		}
		if p := nodes[0].Ping(t.Context(), "e", maxHops); !errors.Is(p.Err, ErrNoRoute) {
			t.Errorf("ping of nobody: %+v", p)
		}
	})
}

func TestCutAndAnotherWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b, c := start(t, Config{ID: "a"}), start(t, Config{ID: "b"}), start(t, Config{ID: "c"})
		cut := join(a, c, LinkConfig{}, LinkConfig{})
		join(a, b, LinkConfig{}, LinkConfig{})
		join(b, c, LinkConfig{}, LinkConfig{})
		time.Sleep(2 * time.Second)
		if got := a.Routes()["c"]; got != "c" {
			t.Errorf("the way to c is %q", got)
		}
		cut()
		time.Sleep(time.Second)
		if got := a.Routes()["c"]; got != "b" {
			t.Errorf("after the cut, the way to c is %q", got)
		}
	})
}

// The first ten messages are a second apart, and then the link is given up.
func TestSilentPeer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := start(t, Config{ID: "a"})
		l := attach(t, n, "", LinkConfig{})
		time.Sleep(initTries*initInterval - time.Millisecond)
		if got := len(l.take(typeRouting)); got != initTries {
			t.Errorf("%d messages, expected %d", got, initTries)
		}
		time.Sleep(2 * time.Millisecond)
		if !l.ended() {
			t.Error("the link is there still")
		}
	})
}

// Updates come every 10 s, and a link on which nothing comes ends.
func TestPeriodAndIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := start(t, Config{ID: "a"})
		l := attach(t, n, "b", LinkConfig{})
		time.Sleep(time.Second)
		first := len(l.take(typeRouting))
		time.Sleep(20 * time.Second)
		if got := len(l.take(typeRouting)); got != 2 || first < 2 || first > 3 {
			t.Errorf("%d messages at first and %d in 20 s, expected 2 or 3 and 2", first, got)
		}
		time.Sleep(3900 * time.Millisecond) // 24.9 s: the look at 20 s was too early
		if len(n.Neighbours()) == 0 {
			t.Error("the link ended too early")
		}
		time.Sleep(200 * time.Millisecond)
		if !l.ended() {
			t.Error("the idle link is there still")
		}
	})
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	wrong := func(change func(u *Update)) func(n *Node, l *tool) {
		return func(n *Node, l *tool) {
			l.introduce(n, 1)
			u := &Update{NodeID: "b", UpdateID: "x", UpdateEpoch: 1, UpdateSequence: 9, ForwardingNode: "b", Connections: map[string]float64{"a": 1}}
			change(u)
			l.send(u.Append(nil))
		}
	}
	for name, test := range map[string]struct {
		config LinkConfig
		do     func(n *Node, l *tool)
		stays  bool
	}{
		"fine":                {do: func(n *Node, l *tool) { l.introduce(n, 1) }, stays: true},
		"another cost":        {do: func(n *Node, l *tool) { l.introduce(n, 2) }},
		"the node's cost":     {config: LinkConfig{NodeCost: map[string]float64{"b": 2}}, do: func(n *Node, l *tool) { l.introduce(n, 2) }, stays: true},
		"not allowed":         {config: LinkConfig{AllowedPeers: []string{"c"}}, do: func(n *Node, l *tool) { l.introduce(n, 1) }},
		"our own name":        {do: func(n *Node, l *tool) { l.name = "a"; l.introduce(n, 1) }},
		"another's name":      {do: wrong(func(u *Update) { u.ForwardingNode = "c" })},
		"no longer listed":    {do: wrong(func(u *Update) { u.Connections = nil })},
		"a reject":            {do: func(n *Node, l *tool) { l.send(rejectMessage[:]) }},
		"malformed JSON":      {do: func(n *Node, l *tool) { l.introduce(n, 1); l.send([]byte("\x01{")) }, stays: true},
		"advert without keys": {do: func(n *Node, l *tool) { l.introduce(n, 1); l.send([]byte("\x02{}")) }, stays: true},
		"empty message":       {do: func(n *Node, l *tool) { l.introduce(n, 1); l.send(nil) }, stays: true},
		"short data":          {do: func(n *Node, l *tool) { l.introduce(n, 1); l.send([]byte{0, 1}) }, stays: true},
		"negative cost":       {do: wrong(func(u *Update) { u.Connections["z"] = -1 }), stays: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := start(t, Config{ID: "a"})
				l := attach(t, n, "", test.config)
				l.name = "b"
				test.do(n, l)
				time.Sleep(time.Second)
				if l.ended() == test.stays {
					t.Errorf("the link stays: %v, expected %v", !test.stays, test.stays)
				}
			})
		})
	}
}

// A second link to the same node is refused; the first stays.
func TestSecondLink(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := start(t, Config{ID: "a"}), start(t, Config{ID: "b"})
		join(a, b, LinkConfig{}, LinkConfig{})
		time.Sleep(time.Second)
		x := attach(t, a, "b", LinkConfig{})
		time.Sleep(time.Second)
		if !x.ended() || len(a.Neighbours()) != 1 {
			t.Errorf("the second link ended: %v, neighbours: %v", x.ended(), a.Neighbours())
		}
	})
}

// Of two nodes with one name, that which started later stops.
func TestDuplicateStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first := start(t, Config{ID: "x"})
		middle := start(t, Config{ID: "m"})
		join(first, middle, LinkConfig{}, LinkConfig{})
		other := start(t, Config{ID: "o"})
		join(middle, other, LinkConfig{}, LinkConfig{})
		time.Sleep(5 * time.Second)
		second := start(t, Config{ID: "x"})
		join(second, other, LinkConfig{}, LinkConfig{})
		time.Sleep(5 * time.Second)
		if !errors.Is(second.Err(), ErrDuplicate) {
			t.Errorf("the second has ended with %v", second.Err())
		}
		if err := first.Err(); err != nil {
			t.Errorf("the first has ended with %v", err)
		}
		time.Sleep(20 * time.Second) // the first is believed again
		if p := other.Ping(t.Context(), "x", maxHops); p.Err != nil {
			t.Errorf("ping of the first: %v", p.Err)
		}
	})
}

func TestDatagramsAndNotices(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		nodes := line(t, "a", "b", "c")
		time.Sleep(2 * time.Second)
		far, err := nodes[2].ListenPacket("svc")
		if err != nil {
			t.Fatal(err)
		}
		near, err := nodes[0].ListenPacket("")
		if err != nil {
			t.Fatal(err)
		}
		notices := make(chan Notice, 1)
		near.OnNotice(func(n Notice) { notices <- n })
		if _, err := near.WriteTo(make([]byte, maxPayload), Addr{"c", "svc"}); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1<<17)
		if n, from, err := far.ReadFrom(b); n != maxPayload || from != near.LocalAddr() || err != nil {
			t.Errorf("read %d bytes from %v: %v", n, from, err)
		}
		if _, err := near.WriteTo([]byte("x"), Addr{"c", "none"}); err != nil {
			t.Fatal(err)
		}
		if n := <-notices; n.Problem != problemUnknown || n.by != "c" {
			t.Errorf("the notice is %+v", n)
		}
		if _, err := near.WriteTo([]byte("x"), Addr{"localhost", "none"}); !errors.Is(err, ErrUnknownService) {
			t.Errorf("a service of our own that is none: %v", err)
		}
		if _, err := near.WriteTo([]byte("x"), Addr{"c", "ninechars"}); !errors.Is(err, ErrServiceTooLong) {
			t.Errorf("a long service: %v", err)
		}
	})
}

func TestPingTimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := start(t, Config{ID: "a"})
		attach(t, n, "b", LinkConfig{})
		time.Sleep(time.Second)
		if p := n.Ping(context.Background(), "b", maxHops); !errors.Is(p.Err, ErrTimeout) || p.Time != pingTimeout {
			t.Errorf("ping: %+v", p)
		}
	})
}

func TestAdvertsTravel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		nodes := line(t, "a", "b", "c")
		time.Sleep(2 * time.Second)
		pc, err := nodes[0].ListenPacket("svc")
		if err != nil {
			t.Fatal(err)
		}
		pc.Advertise(ConnDatagram, map[string]string{"type": "UDP Proxy"}, nil)
		time.Sleep(advertDelay - time.Millisecond)
		if got := nodes[2].Adverts(); len(got) != 0 {
			t.Errorf("advertised too early: %v", got)
		}
		time.Sleep(2 * time.Millisecond)
		if got := nodes[2].Adverts(); len(got) != 1 || got[0].Service != "svc" || got[0].Tags["type"] != "UDP Proxy" {
			t.Errorf("the advertisements are %+v", got)
		}
		// A newcomer waits for the next.
		late := start(t, Config{ID: "d"})
		join(late, nodes[2], LinkConfig{}, LinkConfig{})
		time.Sleep(30 * time.Second)
		if got := late.Adverts(); len(got) != 0 {
			t.Errorf("the newcomer knows %v", got)
		}
		time.Sleep(advertInterval - 30*time.Second)
		if got := late.Adverts(); len(got) != 1 {
			t.Errorf("the newcomer knows %v", got)
		}
	})
}

func TestFirewall(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		rules []Rule
		want  string
	}{
		"none":                {nil, ""},
		"rejects":             {[]Rule{{Action: "Reject", ToService: "ping"}}, problemBlocked},
		"drops":               {[]Rule{{Action: "drop", ToNode: "c"}}, "timeout"},
		"first wins":          {[]Rule{{Action: "accept", FromNode: "a"}, {Action: "reject", ToNode: "c"}}, ""},
		"the answer is lost":  {[]Rule{{Action: "drop", FromService: "ping"}}, "timeout"},
		"regex":               {[]Rule{{Action: "reject", ToNode: "/[c]/"}}, problemBlocked},
		"ungrouped regex":     {[]Rule{{Action: "reject", ToNode: "/b|c/"}}, problemBlocked},
		"regex does not hold": {[]Rule{{Action: "reject", ToNode: "/x+/"}}, ""},
		"regex that is none":  {[]Rule{{Action: "reject", ToNode: "/(/", ToService: "ping"}}, problemBlocked},
		"all must hold":       {[]Rule{{Action: "reject", ToNode: "c", ToService: "other"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, b, c := start(t, Config{ID: "a"}), start(t, Config{ID: "b", Firewall: test.rules}), start(t, Config{ID: "c"})
				join(a, b, LinkConfig{}, LinkConfig{})
				join(b, c, LinkConfig{}, LinkConfig{})
				time.Sleep(2 * time.Second)
				got := ""
				if p := a.Ping(context.Background(), "c", maxHops); p.Err != nil {
					got = p.Err.Error()
				}
				if got != test.want {
					t.Errorf("the ping ended with %q, expected %q", got, test.want)
				}
			})
		})
	}
}
