package netceptor

import (
	"cmp"
	"slices"
)

// Way is how a node is to be reached.
type Way struct {
	Reached bool    // there is a way
	Cost    float64 // of it
	Modern  bool    // the node is one of ours, of the present kind, with only such nodes on some way
	Whole   bool    // datagrams of any size go there in one piece
}

// Offer is an advertised service, and how it is to be reached.
type Offer struct {
	Advertisement
	Way
}

// Offers returns the services that other nodes advertise with all of these tags,
// sorted by node and service; "" stands for any value. Changed tells when to ask again.
func (n *Node) Offers(tags map[string]string) []Offer {
	m := &n.mesh
	m.mu.Lock()
	defer m.mu.Unlock()
	var offers []Offer
	for _, a := range m.adverts.Known(n.now()) {
		if a.NodeID == n.config.NodeID || !hasTags(a.Tags, tags) {
			continue
		}
		offers = append(offers, Offer{Advertisement: advertisement(a), Way: m.way(a.NodeID)})
	}
	slices.SortFunc(offers, func(a, b Offer) int {
		return cmp.Or(cmp.Compare(a.NodeID, b.NodeID), cmp.Compare(a.Service, b.Service))
	})
	return offers
}

// Way returns how another node is to be reached. Changed tells when to ask again.
func (n *Node) Way(node string) Way {
	n.mesh.mu.Lock()
	defer n.mesh.mu.Unlock()
	return n.mesh.way(node)
}

// way is likewise. The caller holds mu.
func (m *mesh) way(node string) Way {
	w, ok := m.routing.Way(node)
	return Way{Reached: ok, Cost: w.Cost, Modern: m.routing.Ours(node), Whole: w.Whole}
}

// Changed returns a channel that is closed at the next change of what Status, Way
// and Offers tell. Changes may be many: whoever asks again waits a little.
func (n *Node) Changed() <-chan struct{} {
	n.mesh.mu.Lock()
	defer n.mesh.mu.Unlock()
	return n.mesh.changed
}

func hasTags(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || v != "" && got != v {
			return false
		}
	}
	return true
}
