package plug

import (
	"sync"

	"github.com/project-receptor/receptor/plug/wire"
)

// peers are the packet services of this plug that watch others. PEERS may come before
// the answer to PBIND is read: the last one of an unknown object is kept.
type peers struct {
	mu      sync.Mutex
	watches map[string]func([]wire.PeerMatch) // by object
	early   map[string][]wire.PeerMatch
}

// maxEarly bounds those kept; a plug opens its services one after the other.
const maxEarly = 64

// watchPeers has f told of the peers of an object, until the returned function is
// called. f runs on the reader of the session and must not block.
func (r *runner) watchPeers(object string, f func([]wire.PeerMatch)) (stop func()) {
	p := &r.peers
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watches == nil {
		p.watches = map[string]func([]wire.PeerMatch){}
	}
	p.watches[object] = f
	if all, ok := p.early[object]; ok {
		delete(p.early, object)
		f(all)
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.watches, object)
	}
}

// told takes PEERS.
func (p *peers) told(b wire.Peers) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.watches[b.Object]; f != nil {
		f(b.Peers)
		return
	}
	if p.early == nil || len(p.early) >= maxEarly {
		p.early = map[string][]wire.PeerMatch{}
	}
	p.early[b.Object] = b.Peers
}

// attached forgets what another core has said.
func (p *peers) attached() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.early = nil
}
