package mtls

import (
	"cmp"
	"fmt"
	"slices"
)

// Set is the profiles of a node, by name. It is not changed once it is in use.
// The zero value has none.
type Set struct {
	servers map[string]*Server
	clients map[string]*Client
}

// NewSet makes a set. Of two of a name the later one counts.
func NewSet(servers []*Server, clients []*Client) *Set {
	s := &Set{servers: make(map[string]*Server), clients: make(map[string]*Client)}
	for _, p := range servers {
		s.servers[p.Name()] = p
	}
	for _, p := range clients {
		s.clients[p.Name()] = p
	}
	return s
}

// Server finds a profile; of an empty name there is none, which is no error.
func (s *Set) Server(name string) (*Server, error) {
	if name == "" {
		return nil, nil //nolint:nilnil // no name, no TLS
	}
	if s != nil && s.servers[name] != nil {
		return s.servers[name], nil
	}
	return nil, fmt.Errorf("there is no %s named %s", kindServer, clip(name))
}

// Client finds a profile; of an empty name there is none, which is no error.
func (s *Set) Client(name string) (*Client, error) {
	if name == "" {
		return nil, nil //nolint:nilnil // no name, no TLS
	}
	if s != nil && s.clients[name] != nil {
		return s.clients[name], nil
	}
	return nil, fmt.Errorf("there is no %s named %s", kindClient, clip(name))
}

// Status is the states of all, sorted by kind and name.
func (s *Set) Status() []Status {
	all := []Status{}
	if s == nil {
		return all
	}
	for _, p := range s.servers {
		all = append(all, p.Status())
	}
	for _, p := range s.clients {
		all = append(all, p.Status())
	}
	slices.SortFunc(all, func(a, b Status) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	return all
}
