package netceptor

import (
	"cmp"
	"slices"
	"time"
)

// Offer is an advertised service, and how it is to be reached.
type Offer struct {
	Advertisement
	Reached bool    // there is a way to its node
	Cost    float64 // of that
	Modern  bool    // the node is one of ours, with only such nodes on the way
}

// Offers returns the services that other nodes advertise with all of these tags,
// sorted by node and service; "" stands for any value. Changed tells when to ask again.
func (n *Node) Offers(tags map[string]string) []Offer {
	m := &n.mesh
	m.mu.Lock()
	defer m.mu.Unlock()
	var offers []Offer
	for _, a := range m.adverts.Known(time.Now()) {
		if a.NodeID == n.config.NodeID || !hasTags(a.Tags, tags) {
			continue
		}
		o := Offer{Advertisement: advertisement(a), Modern: m.routing.Ours(a.NodeID)}
		for _, hop := range m.routing.Path(a.NodeID) {
			o.Reached = true
			o.Cost += hop.Cost
		}
		offers = append(offers, o)
	}
	slices.SortFunc(offers, func(a, b Offer) int {
		return cmp.Or(cmp.Compare(a.NodeID, b.NodeID), cmp.Compare(a.Service, b.Service))
	})
	return offers
}

// Changed returns a channel that is closed at the next change of what Status and
// Offers tell. Changes may be many: whoever asks again waits a little.
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
