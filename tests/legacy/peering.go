package legacy

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// The times of a link.
const (
	initInterval = time.Second // between the messages that introduce us
	initTries    = 10
	idleCheck    = 5 * time.Second
	minIdle      = 21 * time.Second // two periods of updates and a second
)

// The ends of a link that depend on nothing else.
var (
	ErrRejected = errors.New("the peer rejected the link")
	ErrSilent   = errors.New("no routing update came in time")
	ErrIdle     = errors.New("nothing came for too long")
)

// LinkConfig is how a link is to be used.
type LinkConfig struct {
	Cost         float64            // 0 means 1
	NodeCost     map[string]float64 // by peer, before Cost
	AllowedPeers []string           // empty: all
}

// peering is the protocol of one link.
type peering struct {
	self   string
	config LinkConfig
	idle   time.Duration
	linked func(peer string) bool // there is a link to that node already

	peer  string // empty: not established
	cost  float64
	lists bool // the peer has listed us on this link
	tries int
	next  time.Time // for tick
	heard time.Time // when anything came last
}

// verdict is what a link must do after an input.
type verdict struct {
	introduce   bool    // send a fresh update about ourselves
	established bool    // the peer is known now
	route       *Update // for routing
	advert      []byte  // for the advertisements
	data        []byte  // for delivery
	ignored     error   // the message was dropped
	reject      error   // send a reject, and close, because
	closed      error   // close, because
}

// start is called once the link can carry messages.
func (p *peering) start(now time.Time) verdict {
	p.heard, p.next, p.tries = now, now.Add(initInterval), 1
	return verdict{introduce: true}
}

// receive takes a message.
func (p *peering) receive(now time.Time, msg []byte) verdict {
	p.heard = now
	if len(msg) == 0 {
		return verdict{ignored: errors.New("an empty message")}
	}
	switch typ := msg[0]; {
	case typ == typeReject:
		return verdict{closed: ErrRejected}
	case typ == typeRouting:
		u, err := parseUpdate(msg)
		switch {
		case err != nil:
			return verdict{ignored: err}
		case p.peer == "":
			return p.meet(now, u)
		}
		return p.check(u)
	case p.peer == "":
		return verdict{ignored: errors.New("the link is not established")}
	case typ == typeAdvert:
		return verdict{advert: msg}
	case typ == typeData:
		return verdict{data: msg}
	default:
		return verdict{ignored: fmt.Errorf("unknown message type %d", typ)}
	}
}

// meet takes the first update, of which only the sender counts.
func (p *peering) meet(now time.Time, u *Update) verdict {
	peer := u.ForwardingNode
	switch {
	case peer == "":
		return verdict{ignored: errors.New("the peer has no name")}
	case peer == p.self:
		return verdict{reject: errors.New("the peer has our node ID")}
	case len(p.config.AllowedPeers) > 0 && !slices.Contains(p.config.AllowedPeers, peer):
		return verdict{reject: fmt.Errorf("node %q is not allowed", peer)}
	case p.linked(peer):
		return verdict{reject: fmt.Errorf("node %q is linked already", peer)}
	}
	p.peer, p.cost, p.next = peer, p.config.Cost, now.Add(idleCheck)
	if cost, ok := p.config.NodeCost[peer]; ok {
		p.cost = cost
	} else if p.cost == 0 {
		p.cost = 1
	}
	return verdict{established: true}
}

// check takes a later update.
func (p *peering) check(u *Update) verdict {
	if u.ForwardingNode != p.peer {
		return verdict{reject: fmt.Errorf("node %q sent an update in the name of %q", p.peer, u.ForwardingNode)}
	}
	if u.NodeID != p.peer {
		return verdict{route: u}
	}
	cost, lists := u.Connections[p.self]
	switch {
	case !lists && p.lists:
		return verdict{reject: fmt.Errorf("node %q no longer lists us", p.peer)}
	case !lists:
		return verdict{ignored: errors.New("the peer does not list us yet")}
	case cost != p.cost:
		return verdict{reject: fmt.Errorf("the cost of the link is %v here and %v at node %q", p.cost, cost, p.peer)}
	}
	p.lists = true
	return verdict{route: u}
}

// tick is called at p.next or later.
func (p *peering) tick(now time.Time) verdict {
	switch {
	case now.Before(p.next):
		return verdict{}
	case p.peer != "":
		p.next = now.Add(idleCheck)
		if now.Sub(p.heard) > p.idle {
			return verdict{closed: ErrIdle}
		}
		return verdict{}
	case p.tries == initTries:
		return verdict{closed: ErrSilent}
	}
	p.tries++
	p.next = now.Add(initInterval)
	return verdict{introduce: true}
}
