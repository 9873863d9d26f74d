package netceptor

import (
	"crypto/ed25519"
	"crypto/sha256"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// leaves are fewer than the 500 of make bench-storm, which has no race detector.
var leaves = flag.Int("leaves", 80, "with how many leaves TestHubRestart restarts a hub")

// signing tells whether those nodes sign what they say, as programs do. Then each
// verifies what each other one says, which nodes with processors of their own do not
// notice, and so many in one process do.
var signing = flag.Bool("signing", false, "whether the nodes of TestHubRestart have keys")

// stormNode starts a node without streams.
func stormNode(t *testing.T, name string, epoch uint64) *Node {
	c := Config{NodeID: name, Epoch: epoch, noStreams: true}
	if *signing {
		seed := sha256.Sum256([]byte(name))
		c.SigningKey = ed25519.NewKeyFromSeed(seed[:])
	}
	return startNode(t, c)
}

// A hub with many leaves restarts: all come back, each by itself, and in the end
// everybody reaches everybody. When they dial is printed; that they do not dial
// together is tested where the pauses are made (plug.Backoff).
func TestHubRestart(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &storm{addr: listener.Addr().String(), stop: make(chan struct{})}
	hub := startHub(t, listener, 1)
	started := time.Now()
	for i := range *leaves {
		leaf := stormNode(t, fmt.Sprintf("leaf%03d", i), 0)
		s.leaves = append(s.leaves, leaf)
		s.running.Go(func() { s.keepLink(t, leaf) })
	}
	t.Cleanup(func() {
		close(s.stop)
		s.running.Wait()
	})
	s.wait(t, hub, started, "up")

	hub.stop(t)
	down := s.restart()
	if listener, err = net.Listen("tcp", s.addr); err != nil {
		t.Fatal(err)
	}
	hub = startHub(t, listener, 2)
	s.wait(t, hub, down, "back")
	t.Logf("dials in each tenth of a second: %v", s.dialled())
	for i, leaf := range s.leaves {
		next := s.leaves[(i+1)%len(s.leaves)]
		if _, err := leaf.Ping(t.Context(), next.NodeID(), 30); err != nil {
			t.Errorf("from %s to %s: %v", leaf.NodeID(), next.NodeID(), err)
		}
	}
	hub.stop(t)
}

// storm is leaves that dial one hub.
type storm struct {
	addr    string
	leaves  []*Node
	stop    chan struct{}
	running sync.WaitGroup

	mu    sync.Mutex
	since time.Time       // what dials are counted from
	dials []time.Duration // after that
}

// keepLink does what a tcp-peer does: a link, and another whenever it has ended,
// after a pause of anything up to a bound that doubles.
func (s *storm) keepLink(t *testing.T, leaf *Node) {
	for bound := 500 * time.Millisecond; ; bound = min(2*bound, 20*time.Second) {
		s.mu.Lock()
		s.dials = append(s.dials, time.Since(s.since))
		s.mu.Unlock()
		if conn, err := net.Dial("tcp", s.addr); err == nil {
			l, err := leaf.AddLink(conn, LinkConfig{Dir: "out"})
			if err != nil {
				t.Error(err)
				return
			}
			select {
			case <-l.Done():
			case <-s.stop:
				return // the node ends its links
			}
		}
		select {
		case <-time.After(rand.N(bound)):
		case <-s.stop:
			return
		}
	}
}

// restart counts dials from now on.
func (s *storm) restart() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since, s.dials = time.Now(), nil
	return s.since
}

// dialled is how many dials there were in each tenth of a second.
func (s *storm) dialled() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var counts []int
	for _, at := range s.dials {
		tenth := int(at / (100 * time.Millisecond))
		for len(counts) <= tenth {
			counts = append(counts, 0)
		}
		counts[tenth]++
	}
	return counts
}

// wait waits until all leaves are linked to the hub, and reach each other.
func (s *storm) wait(t *testing.T, h *hub, since time.Time, what string) {
	t.Helper()
	// Not by WaitFor: a status of so many nodes at each of so many changes.
	all := append([]*Node{h.Node}, s.leaves...)
	await := func(n *Node, what string, count func() int, want int) {
		t.Helper()
		for end := time.Now().Add(10 * patience); count() < want; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: %d of %d %s; dials in each tenth of a second: %v", n.NodeID(), count(), want, what, s.dialled())
			}
		}
	}
	await(h.Node, "links", h.linked, len(s.leaves))
	t.Logf("%d leaves are %s after %.2f s", len(s.leaves), what, time.Since(since).Seconds())
	for _, n := range all {
		await(n, "routes", func() int { return routed(n) }, len(s.leaves))
	}
	t.Logf("all reach all after %.2f s", time.Since(since).Seconds())
}

// routed is how many nodes a node can send to.
func routed(n *Node) (count int) {
	for _, entry := range n.table.Load().Nodes {
		if entry.Next != nil {
			count++
		}
	}
	return count
}

// hub is a node with a listener.
type hub struct {
	*Node
	listener net.Listener
	accepted chan struct{}
}

func startHub(t *testing.T, l net.Listener, epoch uint64) *hub {
	t.Helper()
	h := &hub{stormNode(t, "hub", epoch), l, make(chan struct{})}
	go func() {
		defer close(h.accepted)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := h.AddLink(conn, LinkConfig{Dir: "in", Item: "listener"}); err != nil {
				return // closed
			}
		}
	}()
	return h
}

// linked is how many links stand.
func (h *hub) linked() int {
	h.mesh.mu.Lock()
	defer h.mesh.mu.Unlock()
	return len(h.mesh.peers)
}

func (h *hub) stop(t *testing.T) {
	t.Helper()
	if err := h.listener.Close(); err != nil {
		t.Error(err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	<-h.accepted
}
