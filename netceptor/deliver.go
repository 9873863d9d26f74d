package netceptor

import (
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/firewall"
	"github.com/project-receptor/receptor/netceptor/internal/streams"
	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// sendWait is how long a local sender may be held while the queue of the first
// link is full. A link that takes nothing for so long is better told by loss.
const sendWait = 20 * time.Millisecond

// The services that every node answers itself.
var (
	servicePing    = wire.Service{'p', 'i', 'n', 'g'}
	serviceUnreach = wire.Service{'u', 'n', 'r', 'e', 'a', 'c', 'h'}
)

// reserved tells whether a service cannot be bound, nor be answered.
func reserved(s wire.Service) bool { return s == servicePing || s == serviceUnreach }

// send puts a message of ours on its way, or several: b is cut into segments of
// that size; 0: it is one. It waits for room, at most that long, and drops and
// counts what finds none. The errors are ErrExpired, ErrNoRoute and ErrBlocked.
func (n *Node) send(h wire.Header, b []byte, segment int, wait time.Duration) error {
	var buf [wire.HeaderSize]byte
	header := wire.Data(h.Append(buf[:0]))
	to, known := n.table.Load().Nodes[h.To]
	if known {
		switch n.filter(header, messages(b, segment)) {
		case firewall.Accept:
		case firewall.Reject:
			return ErrBlocked
		case firewall.Drop:
			return nil
		}
	}
	queue := n.loop
	if h.To != n.self {
		if !header.DecrementHops() {
			n.counters.add(countExpired)
			return ErrExpired
		}
		if to.Next == nil {
			n.counters.add(countNoRoute)
			return ErrNoRoute
		}
		queue = &to.Next.Queue
	}
	queue.Send(header, b, segment, wait)
	return nil
}

// messages is how many messages b is cut into.
func messages(b []byte, segment int) int {
	if segment == 0 {
		return 1
	}
	return (len(b) + segment - 1) / segment
}

// sendPackets is send for streams. The ECN field stays behind: neighbours do not
// tell each other yet that they keep it.
func (n *Node) sendPackets(src, dst streams.Endpoint, b []byte, segment int, _ uint8) {
	h := wire.Header{Hops: wire.DefaultHops}
	h.From, h.FromService = split(src)
	h.To, h.ToService = split(dst)
	_ = n.send(h, b, segment, sendWait) // counted; the other side misses it, as any loss
}

// deliver takes a data message for this node, of at least a header's size, from a
// link's reader or from ourselves. It does not retain msg and never waits.
func (n *Node) deliver(msg []byte) {
	h, err := wire.ParseHeader(msg)
	if err != nil {
		n.counters.add(countShort)
		return
	}
	payload := msg[wire.HeaderSize:]
	switch h.ToService {
	case servicePing:
		n.pong(h)
		return
	case serviceUnreach:
		n.noticed(h, payload)
		return
	}
	if c := n.services.packetConn(h.ToService); c != nil {
		c.receive(packet{from: n.addr(h.From, h.FromService), data: payload})
		return
	}
	if n.carrier != nil {
		src, dst := endpoint(h.From, h.FromService), endpoint(h.To, h.ToService)
		if n.carrier.Deliver(src, dst, payload, h.ECN) {
			return
		}
	}
	n.counters.add(countUnknownService)
	n.report(msg, wire.ProblemServiceUnknown)
}

// pong answers a ping. Reserved services get no answer: they would answer it.
func (n *Node) pong(h wire.Header) {
	if reserved(h.FromService) {
		n.counters.add(countReserved)
		return
	}
	if !n.mayAnswer(h.From) {
		return
	}
	_ = n.send(wire.Header{ // no way back: counted
		Hops: wire.DefaultHops,
		From: n.self, FromService: servicePing,
		To: h.From, ToService: h.FromService,
	}, nil, 0, 0)
}

// report tells the source of a message, of at least a header's size, what became
// of it. Nobody is told of a notice.
func (n *Node) report(msg []byte, text string) {
	h, err := wire.ParseHeader(msg)
	if err != nil || h.FromService == serviceUnreach {
		return
	}
	if h.From == n.self {
		n.unreachable(n.config.NodeID, h.FromService, n.addr(h.To, h.ToService), h.To, text)
		return
	}
	if !n.mayAnswer(h.From) {
		return
	}
	from, to := n.addr(h.From, h.FromService), n.addr(h.To, h.ToService)
	notice := wire.Notice{
		FromNode: from.Node, FromService: from.Service,
		ToNode: to.Node, ToService: to.Service,
		Problem: text,
	}
	_ = n.send(wire.Header{ // no way back: counted
		Hops: wire.DefaultHops,
		From: n.self, FromService: serviceUnreach,
		To: h.From, ToService: serviceUnreach,
	}, notice.Append(nil), 0, 0)
}

// mayAnswer takes one from the budget of answers to a node. Our own users may
// ask as they like.
func (n *Node) mayAnswer(node uint64) bool {
	if node == n.self || n.answers.allow(time.Now(), node) {
		return true
	}
	n.counters.add(countLimited)
	return false
}

// noticed takes a notice about a message of ours.
func (n *Node) noticed(h wire.Header, payload []byte) {
	notice, err := wire.ParseNotice(payload)
	if err != nil || notice.FromNode != n.config.NodeID {
		n.counters.add(countBadNotice)
		return
	}
	service, err := wire.ParseService(notice.FromService)
	if err != nil {
		n.counters.add(countBadNotice)
		return
	}
	to := Addr{Node: notice.ToNode, Service: notice.ToService}
	n.unreachable(n.addr(h.From, h.FromService).Node, service, to, wire.NodeHash(notice.ToNode), notice.Problem)
}

// unreachable tells whoever sent a message from a service what became of it.
func (n *Node) unreachable(reporter string, service wire.Service, to Addr, toHash uint64, text string) {
	if c := n.services.packetConn(service); c != nil {
		c.notice(Notice{From: reporter, To: to, Problem: text})
		return
	}
	toService, err := wire.ParseService(to.Service)
	if err != nil || n.carrier == nil {
		n.counters.add(countBadNotice)
		return
	}
	switch text {
	case wire.ProblemServiceUnknown, wire.ProblemExpired, wire.ProblemFirewall:
		n.carrier.Unreachable(endpoint(n.self, service), endpoint(toHash, toService), reported(problem(text), reporter))
	default:
		n.counters.add(countBadNotice)
	}
}
