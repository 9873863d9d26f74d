package netceptor

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// The attacks that stop or hang existing nodes, on a live node with a healthy
// second neighbour: what is sent, and the counter that rises by how much.
func TestHostileNeighbour(t *testing.T) {
	t.Parallel()
	ping := func(p *rawPeer, from, to string) {
		p.send(data(30, Addr{"victim", from}, Addr{"victim", to}, ""))
	}
	for _, test := range []struct {
		name    string
		attack  func(p *rawPeer)
		counter string
		rises   uint64
	}{
		{"S1 empty frames", func(p *rawPeer) {
			p.bytes([]byte{0, 0})
			p.bytes(make([]byte, 20))
		}, "empty_frame", 11},
		{"S1 every short length", func(p *rawPeer) {
			for size := 1; size < wire.HeaderSize; size++ {
				p.send(make([]byte, size))
			}
		}, "short", wire.HeaderSize - 1},
		{"S1 the longest frame", func(p *rawPeer) {
			p.send(make([]byte, wire.MaxMessage)) // from hash 0 to hash 0
		}, "unknown_node", 1},
		{"S3 our own node as source", func(p *rawPeer) {
			reserved := []string{"ping", "unreach"}
			for _, from := range reserved {
				for _, to := range reserved {
					ping(p, from, to)
				}
			}
			ping(p, "x", "ping")
		}, "spoofed_source", 5},
		{"another node as source", func(p *rawPeer) {
			p.send(data(30, Addr{"healthy", "x"}, Addr{"victim", "ping"}, ""))
			p.send(data(30, Addr{"healthy", "x"}, Addr{"healthy", "ping"}, ""))
			p.send(data(30, Addr{"healthy", "unreach"}, Addr{"victim", "unreach"}, ""))
		}, "reverse_path", 3},
		{"S3 reserved source services", func(p *rawPeer) {
			for _, from := range []string{"ping", "unreach"} {
				p.send(data(30, Addr{p.id, from}, Addr{"victim", "ping"}, ""))
			}
		}, "reserved_source", 2},
		{"notices that cannot be ours", func(p *rawPeer) {
			for _, text := range []string{
				"", "{", `"x"`, `{"FromNode":"other"}`, `{"FromNode":"victim","FromService":"toolongname"}`,
			} {
				p.send(data(30, Addr{p.id, "unreach"}, Addr{"victim", "unreach"}, text))
			}
		}, "bad_notice", 5},
		{"S4 our ID claimed, and ourselves called the duplicate", func(p *rawPeer) {
			epoch := p.node.config.Epoch
			p.route(&wire.RoutingUpdate{NodeID: "victim", UpdateEpoch: epoch + 1, UpdateSequence: 1, SuspectedDuplicate: epoch})
		}, "update_claims_our_id", 1},
		{"S5 negative costs", func(p *rawPeer) {
			p.update(p.id, map[string]float64{"victim": 1, "x": -5})
			p.update("x", map[string]float64{p.id: -5})
		}, "bad_cost", 2},
		{"S5 zero and infinite costs", func(p *rawPeer) {
			p.update("x", map[string]float64{p.id: 0})
			p.update("x", map[string]float64{p.id: 1e308})
		}, "bad_cost", 2},
		{"unknown types", func(p *rawPeer) {
			for kind := 4; kind < 256; kind++ {
				p.send([]byte{byte(kind), '{'})
			}
		}, "unknown_type", 252},
		{"broken updates", func(p *rawPeer) {
			for _, text := range []string{"", "{", "null x", `{"UpdateEpoch":-1}`} {
				p.send(append([]byte{wire.TypeRoute}, text...))
			}
		}, "malformed_update", 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			nodes := startNodes(t, "victim", "healthy")
			victim, healthy := nodes[0], nodes[1]
			join(t, victim, healthy)
			evil := attachRaw(t, victim, "evil")
			waitRoutes(t, victim, healthy)
			before := victim.Status().Counters[test.counter]

			test.attack(evil)
			waitCounter(t, victim, test.counter, before+test.rises)
			if got := victim.Status().Counters[test.counter] - before; got != test.rises {
				t.Errorf("counter %s rose by %d, want %d", test.counter, got, test.rises)
			}
			if _, err := healthy.Ping(t.Context(), "victim", 30); err != nil {
				t.Errorf("ping of the healthy neighbour: %v", err)
			}
			echo(t, healthy, victim, "still here")
			if panics := victim.Status().Counters["panics"]; panics != 0 {
				t.Errorf("%d panics", panics)
			}
		})
	}
}

// A neighbour may speak for the nodes behind it, and only for those.
func TestSourcesOfANeighbour(t *testing.T) {
	t.Parallel()
	n := startNode(t, Config{NodeID: "victim"})
	evil, other := attachRaw(t, n, "evil"), attachRaw(t, n, "other")
	waitFor(t, n, "the route to evil", func(s Status) bool { return s.RoutingTable["evil"] != "" })
	ping := func(from string) []byte { return data(30, Addr{from, "x"}, Addr{"victim", "ping"}, "") }
	answer := func(to string) []byte { return data(29, Addr{"victim", "ping"}, Addr{to, "x"}, "") }

	evil.update("far", map[string]float64{"evil": 1})
	evil.update("evil", map[string]float64{"victim": 1, "far": 1})
	waitFor(t, n, "the route to far", func(s Status) bool { return s.RoutingTable["far"] == "evil" })
	other.send(ping("far"))
	waitCounter(t, n, "reverse_path", 1)
	evil.send(ping("far"))
	evil.expectMessage(answer("far"))

	// A second way to far, the shorter one: its messages may come over both.
	other.update("other", map[string]float64{"victim": 1, "far": 0.5})
	evil.update("far", map[string]float64{"evil": 1, "other": 0.5})
	waitFor(t, n, "the shorter way", func(s Status) bool { return s.RoutingTable["far"] == "other" })
	for _, p := range []*rawPeer{other, evil} {
		p.send(ping("far"))
		other.expectMessage(answer("far"))
	}
}

// A member forges news of another: that it runs anew, or has other links. Its
// neighbours do not believe it, it hears of it, and nothing is cut off.
func TestForgedNewsOfANeighbour(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, "victim", "healthy")
	victim, healthy := nodes[0], nodes[1]
	join(t, victim, healthy)
	evil := attachRaw(t, victim, "evil")
	waitRoutes(t, nodes...)
	serve(t, healthy, "echo", func(c *Conn) {
		io.Copy(c, c)
		c.Close()
	})
	stream := dial(t, victim, "healthy", "echo")
	defer stream.Close()
	stream.SetDeadline(time.Now().Add(patience))
	before := victim.Status().Counters["update_second_hand"]

	epoch := healthy.config.Epoch
	for _, u := range []wire.RoutingUpdate{
		{UpdateEpoch: epoch + 1, UpdateSequence: 1},
		{UpdateEpoch: epoch, UpdateSequence: math.MaxUint64},
		{UpdateEpoch: 1, UpdateSequence: 1, SuspectedDuplicate: epoch},
	} {
		u.NodeID, u.Connections = "healthy", map[string]float64{"evil": 0.001}
		evil.route(&u)
	}
	waitCounter(t, victim, "update_second_hand", before+3)
	waitCounter(t, healthy, "update_claims_our_id", 3)
	if a, ok := alarmIn(healthy.Status(), "duplicate_node_id"); !ok || a.Peer != "victim" {
		t.Errorf("alarms of the one that was spoken for: %+v", healthy.Status().Alarms)
	}
	if via := victim.Status().RoutingTable["healthy"]; via != "healthy" {
		t.Errorf("the way to healthy is over %q", via)
	}
	text := []byte("still the same stream")
	if _, err := stream.Write(text); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stream, text); err != nil {
		t.Error(err)
	}
}

// A truncated frame ends its link when the connection does, and nothing else.
func TestTruncatedFrame(t *testing.T) {
	t.Parallel()
	n := startNode(t, Config{NodeID: "victim"})
	evil := attachRaw(t, n, "evil")
	evil.bytes([]byte{200, 0, 0, 1})
	evil.conn.Close()
	if err := ended(t, evil.link); err == nil {
		t.Error("the link ended without a reason")
	}
}

// Before its own update a neighbour moves no data.
func TestDataBeforeHandshake(t *testing.T) {
	t.Parallel()
	n := startNode(t, Config{NodeID: "victim"})
	evil := connectRaw(t, n, "evil", LinkConfig{})
	evil.send(data(30, Addr{"evil", "x"}, Addr{"victim", "ping"}, ""))
	waitCounter(t, n, "not_established", 1)
}

// Answers are limited for each source, so that nobody is flooded through us.
func TestAnswersAreLimited(t *testing.T) {
	t.Parallel()
	n := startNode(t, Config{NodeID: "victim"})
	evil := attachRaw(t, n, "evil")
	const asked = 500
	for i := range asked {
		to, payload := "ping", ""
		if i%2 == 0 {
			to, payload = "nosuch", "123"[:i%4]
		}
		evil.send(data(30, Addr{"evil", "x"}, Addr{"victim", to}, payload))
	}
	waitCounter(t, n, "service_unknown", asked/2)
	waitCounter(t, n, "rate_limited", asked-answersBurst*answersPerSource-200)
	if limited := n.Status().Counters["rate_limited"]; limited > asked-answersBurst*answersPerSource {
		t.Errorf("%d of %d were limited, although a burst is allowed", limited, asked)
	}
}

// Any bytes on a link cost at most that link.
func FuzzLink(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 0})
	f.Add(frameOf((&wire.RoutingUpdate{NodeID: "evil", UpdateID: "12345678", UpdateEpoch: 1, UpdateSequence: 1, ForwardingNode: "evil"}).Append(nil)))
	f.Add(frameOf(data(30, Addr{"evil", "x"}, Addr{"victim", "ping"}, "")))
	f.Fuzz(func(t *testing.T, stream []byte) {
		n, err := New(Config{NodeID: "victim", noStreams: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		l, err := n.AddLink(&bytesConn{in: bytes.NewReader(stream)}, LinkConfig{})
		if err != nil {
			t.Fatal(err)
		}
		<-l.Done()
		if panics := n.Status().Counters["panics"]; panics != 0 {
			t.Error("a message panicked")
		}
		n.Close()
	})
}

func frameOf(msg []byte) []byte {
	return append(binary.LittleEndian.AppendUint16(nil, uint16(len(msg))), msg...)
}
