package netceptor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/netceptor/internal/firewall"
	"github.com/project-receptor/receptor/netceptor/internal/forward"
	"github.com/project-receptor/receptor/netceptor/internal/streams"
	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// loopQueue bounds what the node has sent to itself and not yet delivered: about
// 90 packets of a stream, well under what QUIC takes in at once.
const loopQueue = 128 << 10

// Node is one node of the mesh. All methods may be called from any goroutine.
type Node struct {
	config Config
	self   uint64 // our hash
	log    hclog.Logger

	carrier  *streams.Carrier // nil in some tests
	services services
	loop     *forward.Queue // what we send to ourselves
	table    atomic.Pointer[forward.Table]
	firewall *firewall.Firewall // nil: no rules
	counters counters
	answers  limiter
	dials    dialRecords
	alarms   alarms

	mesh mesh

	running sync.WaitGroup // the node's goroutines, and its links
	quit    chan struct{}  // closed by Close
	closed  chan struct{}  // closed when Close is through
}

// New makes a node; Start brings it to life.
func New(c Config) (*Node, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("check node configuration: %w", err)
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Epoch == 0 {
		c.Epoch = NextEpoch(c.Now(), 0)
	}
	if c.StatelessResetKey == [32]byte{} {
		rand.Read(c.StatelessResetKey[:])
	}
	n := &Node{
		config: c,
		self:   wire.NodeHash(c.NodeID),
		log:    c.Logger,
		loop:   forward.NewQueue(loopQueue),
		quit:   make(chan struct{}),
		closed: make(chan struct{}),
	}
	var err error
	if n.firewall, err = compileFirewall(c.Firewall); err != nil {
		return nil, fmt.Errorf("check node configuration: %w", err)
	}
	n.warnOfRules()
	n.mesh.init(n)
	if c.noStreams {
		return n, nil
	}
	n.carrier, err = streams.New(streams.Config{
		NodeID:   c.NodeID,
		Self:     n.self,
		ResetKey: c.StatelessResetKey,
		Logger:   c.Logger.Named("streams"),
		Send:     n.sendPackets,
		Modern:   n.modern,
		Reached:  n.reached,
		Name:     n.name,
	})
	if err != nil {
		return nil, fmt.Errorf("prepare streams: %w", err)
	}
	return n, nil
}

// Start starts the node's goroutines. A node starts once.
func (n *Node) Start() error {
	if err := n.mesh.start(); err != nil {
		return err
	}
	if n.carrier != nil {
		if err := n.carrier.Start(); err != nil {
			return fmt.Errorf("start streams: %w", errors.Join(err, n.Close()))
		}
	}
	return nil
}

// Close ends all links, streams and goroutines and waits for them. What is
// written on streams but not yet taken by the other side is lost; the other sides
// see a reset.
func (n *Node) Close() error {
	started, first := n.mesh.close()
	if !first {
		<-n.closed
		return nil
	}
	defer close(n.closed)
	n.services.closeAll()
	var err error
	if n.carrier != nil && started {
		err = n.carrier.Close() // while there are links that tell the other sides
	}
	n.mesh.endAll()
	n.loop.Close()
	close(n.quit)
	n.running.Wait()
	return err
}

func (n *Node) now() time.Time { return n.config.Now() }

// NodeID returns the node's ID.
func (n *Node) NodeID() string { return n.config.NodeID }

// errNotRunning is the error of what needs a node that runs.
var errNotRunning = fmt.Errorf("node is not running: %w", net.ErrClosed)

// isRunning tells whether the node has been started and not closed.
func (n *Node) isRunning() bool {
	n.mesh.mu.Lock()
	defer n.mesh.mu.Unlock()
	return n.mesh.phase == phaseRunning
}

// reach gives the hash of a node that there is a way to.
func (n *Node) reach(node string) (uint64, error) {
	hash := wire.NodeHash(node)
	known := n.table.Load().Nodes[hash]
	if hash != n.self && known.Next == nil || known.Name != node {
		return 0, ErrNoRoute
	}
	return hash, nil
}

// routePatience is how long a dial waits for a way to a node that has just been lost:
// longer than a link takes to be made again when a backend or the next node is
// restarted, and no longer than whoever dials is willing to wait for "no route".
const routePatience = 2 * time.Second

// reachAgain is reach, but a way that was lost a moment ago may come back.
func (n *Node) reachAgain(ctx context.Context, node string) (uint64, error) {
	for {
		changed := n.Changed()
		hash, err := n.reach(node)
		if err == nil {
			return hash, nil
		}
		left := routePatience - n.now().Sub(n.table.Load().Nodes[wire.NodeHash(node)].Lost)
		if left <= 0 {
			return 0, err
		}
		timer := time.NewTimer(left)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return 0, err
		}
	}
}
