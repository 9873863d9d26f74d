package netceptor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// Status is what is known at the node, a copy.
type Status struct {
	NodeID               string
	Version              string
	Epoch                uint64
	Connections          []Connection // sorted by node
	RoutingTable         map[string]string
	Advertisements       []Advertisement // sorted by node, service
	KnownConnectionCosts map[string]map[string]float64
	Links                []LinkStatus
	Streams              []StreamStatus    // sorted by node, service
	Counters             map[string]uint64 // drops by reason and such
	Firewall             []FirewallRuleStatus
	Alarms               []Alarm // raised since the node was started
}

// Connection is an established link to a neighbour, as legacy status has it.
type Connection struct {
	NodeID string
	Cost   float64
}

// Advertisement is a service that a node told the mesh about. The JSON names
// and their order are those of the legacy status answer.
type Advertisement struct {
	NodeID       string
	Service      string
	Time         time.Time
	ConnType     int
	Tags         map[string]string
	WorkCommands []WorkCommand
}

// WorkCommand is one type of work in an advertisement.
type WorkCommand struct {
	WorkType string
	Secure   bool
}

// What is known for certain of who is at the other end of a link or a stream.
const (
	AuthNone        = "none"        // nothing
	AuthTLS         = "tls"         // nothing, but nobody between it and us can listen
	AuthCertificate = "certificate" // its certificate proves the node ID
)

// LinkStatus is the state of one link.
type LinkStatus struct {
	Peer           string    `json:"peer,omitempty"`
	State          string    `json:"state"` // "connecting", "established"
	Legacy         bool      `json:"legacy"`
	Cost           float64   `json:"cost"`
	Item           string    `json:"item,omitempty"`
	Dir            string    `json:"dir,omitempty"`
	Medium         string    `json:"medium,omitempty"`
	Mode           string    `json:"mode,omitempty"` // "relay", "handoff"
	Local          string    `json:"local,omitempty"`
	Remote         string    `json:"remote,omitempty"`
	Since          time.Time `json:"since"`
	BytesIn        uint64    `json:"bytes_in"`
	BytesOut       uint64    `json:"bytes_out"`
	FramesIn       uint64    `json:"frames_in"`
	FramesOut      uint64    `json:"frames_out"`
	FramesDropped  uint64    `json:"frames_dropped"`
	Authentication string    `json:"authentication"` // see the Auth constants
	TLS            string    `json:"tls,omitempty"`  // the profile, "tls-server NAME"
}

// StreamStatus is the streams between a service and a node that are alike in what
// is known of the other side.
type StreamStatus struct {
	Node           string `json:"node"`    // at the other end
	Service        string `json:"service"` // there if Dir is "out", here if it is "in"
	Dir            string `json:"dir"`
	Connections    int    `json:"connections"` // that the streams share
	Streams        int    `json:"streams"`
	Authentication string `json:"authentication"` // see the Auth constants
	TLS            string `json:"tls,omitempty"`  // the profile, "tls-server NAME"
}

// streamStatus sums the connections up.
func (n *Node) streamStatus() []StreamStatus {
	if n.carrier == nil {
		return nil
	}
	sums := make(map[StreamStatus]StreamStatus) // by what they have in common
	for _, c := range n.carrier.Status() {
		node, _ := split(c.Remote)
		_, service := split(c.Local)
		key := StreamStatus{Dir: "in"}
		if c.Dialled {
			_, service = split(c.Remote)
			key.Dir = "out"
		}
		key.Node, key.Service = n.name(node), service.String()
		p := identityOf(c.Security, key.Node)
		key.Authentication, key.TLS = p.Authentication, p.Profile
		sum, ok := sums[key]
		if !ok {
			sum = key
		}
		sum.Connections++
		sum.Streams += c.Streams
		sums[key] = sum
	}
	return slices.SortedFunc(maps.Values(sums), func(a, b StreamStatus) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Dir, b.Dir),
			cmp.Compare(a.Authentication, b.Authentication), cmp.Compare(a.TLS, b.TLS))
	})
}

// Status returns the node's state.
func (n *Node) Status() Status {
	streams := n.streamStatus() // first: the streams ask for the mutex of the mesh under theirs
	m := &n.mesh
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Status{
		NodeID:               n.config.NodeID,
		Version:              n.config.Version,
		Epoch:                n.config.Epoch,
		RoutingTable:         m.routing.Routes(),
		KnownConnectionCosts: m.routing.Costs(),
		Streams:              streams,
		Counters:             maps.Clone(m.ignored),
		Alarms:               n.alarms.all(),
	}
	for peer, l := range m.peers {
		s.Connections = append(s.Connections, Connection{NodeID: peer, Cost: l.proto.Cost()})
	}
	slices.SortFunc(s.Connections, func(a, b Connection) int { return cmp.Compare(a.NodeID, b.NodeID) })

	now := n.now()
	for _, a := range m.adverts.Known(now) {
		s.Advertisements = append(s.Advertisements, advertisement(a))
	}

	for l := range m.links {
		s.Links = append(s.Links, l.status())
	}
	slices.SortFunc(s.Links, func(a, b LinkStatus) int {
		return cmp.Or(cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Item, b.Item), cmp.Compare(a.Remote, b.Remote), a.Since.Compare(b.Since))
	})

	for what := range counterCount {
		s.Counters[what.String()] += n.counters[what].Load() // a machine may have the same reason
	}
	_, s.Counters["loopback_full"] = n.loop.Counts()
	s.Firewall = n.firewallStatus()
	if n.carrier != nil {
		maps.Copy(s.Counters, n.carrier.Counters())
	}
	return s
}

// advertisement is one as callers see it.
func advertisement(a wire.Advert) Advertisement {
	ad := Advertisement{NodeID: a.NodeID, Service: a.Service, Time: a.Time, ConnType: a.ConnType, Tags: a.Tags}
	for _, w := range a.WorkCommands {
		ad.WorkCommands = append(ad.WorkCommands, WorkCommand(w))
	}
	return ad
}

// status is the state of the link. The caller holds the mutex of the mesh.
func (l *Link) status() LinkStatus {
	c := l.path.Counters()
	s := LinkStatus{
		Peer: l.peer, State: "connecting", Legacy: l.legacy, Cost: l.config.Cost,
		Item: l.config.Item, Dir: l.config.Dir, Medium: l.config.Medium, Mode: l.config.Mode,
		Local: l.config.Local, Remote: l.config.Remote, Since: l.since,
		BytesIn: c.BytesIn, BytesOut: c.BytesOut,
		FramesIn: c.FramesIn, FramesOut: c.FramesOut, FramesDropped: c.Dropped,
		Authentication: l.authentication(), TLS: l.config.profile(),
	}
	if l.peer != "" {
		s.State, s.Cost = "established", l.proto.Cost()
	}
	return s
}

// WaitFor waits until the node's state is as wanted: it calls ok now and after
// each change of links, routes and advertisements, until it says yes. The error is
// that of the context, or matches net.ErrClosed.
func (n *Node) WaitFor(ctx context.Context, ok func(Status) bool) error {
	for {
		changed := n.Changed()
		if ok(n.Status()) {
			return nil
		}
		select {
		case <-changed:
		case <-n.quit:
			return errNotRunning
		case <-ctx.Done():
			return fmt.Errorf("wait for the mesh: %w", context.Cause(ctx))
		}
	}
}
