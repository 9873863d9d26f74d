package plughost

import (
	"reflect"
	"time"

	"github.com/project-receptor/receptor/plug/wire"
)

// watch tells the plug what may be used on the way of each flow, and, if there are
// tags, which services match them, all of them, whenever that changes, until the packet
// service ends.
func (p *packets) watch(tags map[string]string) {
	var told []wire.PeerMatch
	for first := true; ; first = false {
		changed := p.host.node.Changed()
		p.retell()
		if len(tags) > 0 {
			if now := p.matches(tags); first || !reflect.DeepEqual(now, told) {
				told = now
				if err := p.guest.engine.Notify(wire.TypePeers, wire.Peers{Object: p.object, Peers: now}); err != nil {
					p.guest.log.Debug("plug went before it heard of peers", "error", err)
					return
				}
			}
		}
		select {
		case <-changed:
		case <-p.main.Done():
			return
		}
		select {
		case <-time.After(peersEvery):
		case <-p.main.Done():
			return
		}
	}
}

// matches are the services that match now.
func (p *packets) matches(tags map[string]string) []wire.PeerMatch {
	all := []wire.PeerMatch{}
	for _, o := range p.host.node.Offers(tags) {
		if len(all) == maxPeers {
			p.host.count("packet_peers_left_out")
			break
		}
		m := wire.PeerMatch{Node: o.NodeID, Service: o.Service, Tags: o.Tags, Cost: -1, MTU: maxDatagram, Caps: caps(o.Way)}
		if o.Reached {
			m.Cost = o.Cost
		}
		all = append(all, m)
	}
	return all
}
