package netceptor

import (
	"sync"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/firewall"
)

// Explanation says why a node can or cannot reach a service, as far as it knows
// without asking anybody.
type Explanation struct {
	Node string // who explains
	To   Addr

	// OK: nothing that is known stands in the way. Reason is a sentence either way.
	OK     bool
	Reason string

	// Ours: the node is one of ours, and tells so itself. Behind a legacy node that is
	// not to be seen.
	Ours bool

	Path []Hop       // from the neighbour to the node; nil: no way, or the own node
	Link *LinkStatus // to that neighbour; nil: none

	There, Back FlowVerdict // what our own rules say of messages

	Bound         bool           // the service is our own, and somebody serves it
	Advertisement *Advertisement // nil: nobody has advertised it

	Streams  []StreamStatus // that we have to the service
	LastDial *DialRecord    // nil: none was made, or it was forgotten
}

// Hop is a node on a path, and the cost of the link that leads to it.
type Hop struct {
	Node string
	Cost float64
}

// FlowVerdict is what the rules of a node say of messages between two services.
type FlowVerdict struct {
	From, To Addr
	Action   string // accept, reject, drop
	Number   int    // of the rule that says it, from 1; 0: none does
	Rule     string // its text
}

// DialRecord is how a dial went.
type DialRecord struct {
	Time time.Time // when it began
	Took time.Duration
	TLS  string // name of the profile that was used, empty: none
	Err  string // empty: it was a success
}

// Explain says why this node can or cannot reach a service.
func (n *Node) Explain(node, service string) Explanation {
	to := Addr{Node: n.resolve(node), Service: service}
	e := Explanation{Node: n.config.NodeID, To: to, LastDial: n.dials.last(to)}
	if parsed, err := parseService(service); err == nil {
		e.Bound = to.Node == e.Node && n.services.has(parsed)
	}
	for _, s := range n.streamStatus() {
		if s.Node == to.Node && s.Service == service && s.Dir == "out" {
			e.Streams = append(e.Streams, s)
		}
	}
	there, back := n.flows(to)
	e.There, e.Back = n.verdict(there), n.verdict(back)
	known := n.explainMesh(&e)
	e.Reason = e.obstacle(known)
	e.OK = e.Reason == ""
	switch {
	case e.OK && e.Advertisement == nil && !e.Bound:
		e.Reason = "nothing that is known here stands in the way, but the service is not advertised"
	case e.OK:
		e.Reason = "nothing that is known here stands in the way"
	}
	return e
}

// explainMesh fills in what the machines know, and tells whether they know the node.
func (n *Node) explainMesh(e *Explanation) (known bool) {
	m := &n.mesh
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, hop := range m.routing.Path(e.To.Node) {
		e.Path = append(e.Path, Hop(hop))
	}
	if len(e.Path) > 0 {
		if l := m.peers[e.Path[0].Node]; l != nil {
			s := l.status()
			e.Link = &s
		}
	}
	for _, a := range m.adverts.Known(n.now()) {
		if a.NodeID == e.To.Node && a.Service == e.To.Service {
			ad := advertisement(a)
			e.Advertisement = &ad
		}
	}
	e.Ours = e.To.Node == e.Node || m.routing.Ours(e.To.Node)
	_, known = m.routing.Epoch(e.To.Node)
	return known
}

// obstacle is the first thing that is in the way, empty if there is none.
func (e *Explanation) obstacle(known bool) string {
	_, badName := parseService(e.To.Service)
	switch {
	case badName != nil:
		return "there can be no such service: " + badName.Error()
	case e.To.Node == e.Node && !e.Bound:
		return "no such service is bound on this node"
	case e.To.Node != e.Node && len(e.Path) == 0 && known:
		return "no route to node: it was heard of, but no links that both ends report lead there now"
	case e.To.Node != e.Node && len(e.Path) == 0:
		return "no route to node: it was never heard of"
	}
	for _, v := range []FlowVerdict{e.There, e.Back} {
		if v.Action != firewall.Accept.String() {
			return blocked(e.Node, v.Number, v.Rule).Error()
		}
	}
	if e.LastDial != nil && e.LastDial.Err != "" {
		return "the last dial failed: " + e.LastDial.Err
	}
	return ""
}

// verdict is what the rules say of a flow.
func (n *Node) verdict(f firewall.Flow) FlowVerdict {
	v := n.firewall.Explain(f)
	all := FlowVerdict{From: Addr{f.FromNode, f.FromService}, To: Addr{f.ToNode, f.ToService}, Action: v.Action.String()}
	if v.Rule != firewall.Default {
		all.Number, all.Rule = v.Rule+1, n.ruleText(v.Rule)
	}
	return all
}

// maxDials bounds the destinations whose last dial is remembered. Over it some one
// is forgotten.
const maxDials = 1024

// dialRecords remember the last dial to each service. The zero value is ready.
type dialRecords struct {
	mu  sync.Mutex
	all map[Addr]DialRecord
}

// note remembers how a dial went.
func (d *dialRecords) note(to Addr, o DialOptions, began time.Time, err error) {
	r := DialRecord{Time: began, Took: time.Since(began)}
	if o.TLS != nil {
		r.TLS = o.TLS.Name()
	}
	if err != nil {
		r.Err = err.Error()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.all[to]; !known && len(d.all) >= maxDials {
		for other := range d.all {
			delete(d.all, other)
			break
		}
	}
	if d.all == nil {
		d.all = make(map[Addr]DialRecord)
	}
	d.all[to] = r
}

// last is how the last dial to a service went, nil if none is remembered.
func (d *dialRecords) last(to Addr) *DialRecord {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r, ok := d.all[to]; ok {
		return &r
	}
	return nil
}
