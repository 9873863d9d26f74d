package netceptor

import (
	"fmt"
	"sync"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// services are the names that are bound on a node. The zero value is ready.
type services struct {
	mu     sync.RWMutex
	bound  map[wire.Service]binding
	closed bool
}

// binding is who bound a service: one of the two.
type binding struct {
	packets *PacketConn
	streams *Listener
}

// bind gives a service an owner, which it asks for when the name is certain; an
// empty name asks for a fresh one.
func (s *services) bind(name string, owner func(wire.Service) binding) error {
	service, err := parseService(name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errNotRunning
	}
	if name == "" {
		service = wire.Service([]byte(newName())) // of 62^8: free
	}
	if reserved(service) {
		return errReserved
	}
	if _, taken := s.bound[service]; taken {
		return ErrInUse
	}
	if s.bound == nil {
		s.bound = make(map[wire.Service]binding)
	}
	s.bound[service] = owner(service)
	return nil
}

// errReserved is for the names of what every node does itself.
var errReserved = fmt.Errorf("%w by the node itself", ErrInUse)

// unbind frees a service.
func (s *services) unbind(service wire.Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.bound, service)
}

// has tells whether somebody bound a service.
func (s *services) has(service wire.Service) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.bound[service]
	return ok || reserved(service)
}

// packetConn is the PacketConn that bound a service, or nil.
func (s *services) packetConn(service wire.Service) *PacketConn {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.bound[service].packets
}

// listener is the Listener that bound a service, or nil.
func (s *services) listener(service wire.Service) *Listener {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.bound[service].streams
}

// closeAll closes every PacketConn and lets nothing more be bound. Listeners end
// with the streams.
func (s *services) closeAll() {
	s.mu.Lock()
	s.closed = true
	var conns []*PacketConn
	for _, b := range s.bound {
		if b.packets != nil {
			conns = append(conns, b.packets)
		}
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.shut()
	}
}

// parseService is wire.ParseService with our error.
func parseService(name string) (wire.Service, error) {
	service, err := wire.ParseService(name)
	if err != nil {
		return service, ErrTooLong
	}
	return service, nil
}
