package netceptor

import (
	"fmt"

	"github.com/project-receptor/receptor/netceptor/internal/advert"
	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// tagControl is the tag "type" of control services.
const tagControl = "Control Service"

// advertReserve is room for what a control service that comes later may need more
// than the ones there are: its name, and tags.
const advertReserve = 1 << 10

// isControl tells whether an advertisement is that of a control service: only
// those name types of work.
func isControl(ad wire.Advert) bool { return ad.Tags["type"] == tagControl }

// SetWorkCommands tells the mesh which types of work this node offers, in the
// advertisements of its control services, those that come later, too. It fails if
// they do not fit in a message that other nodes take; then nothing has changed.
func (n *Node) SetWorkCommands(all []WorkCommand) error {
	work := make([]wire.WorkCommand, len(all))
	for i, w := range all {
		work[i] = wire.WorkCommand(w)
	}
	m := &n.mesh
	m.mu.Lock()
	defer m.mu.Unlock()
	now := n.now()
	var ads []wire.Advert
	for _, ad := range m.adverts.Known(now) {
		if ad.NodeID == n.config.NodeID && isControl(ad) {
			ads = append(ads, ad)
		}
	}
	sample := wire.Advert{NodeID: n.config.NodeID, Tags: map[string]string{"type": tagControl}}
	for _, ad := range append(ads, sample) {
		ad.WorkCommands = work
		if size := len(ad.Append(nil)); size > advert.MaxSize-advertReserve {
			return fmt.Errorf("advertise %d types of work: %d bytes are more than the %d of an advertisement", len(all), size, advert.MaxSize-advertReserve)
		}
	}
	m.work = work
	for _, ad := range ads {
		ad.WorkCommands = work
		m.advertised("", m.adverts.Publish(now, ad))
	}
	return nil
}
