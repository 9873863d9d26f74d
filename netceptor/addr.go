package netceptor

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/project-receptor/receptor/netceptor/internal/streams"
	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// network is the name of the mesh among networks.
const network = "receptor"

// localhost, in any letter case, is this node. It is never sent.
const localhost = "localhost"

// Addr is a service on a node. It implements net.Addr.
type Addr struct{ Node, Service string }

// Network implements net.Addr.
func (a Addr) Network() string { return network }

// String is node:service.
func (a Addr) String() string { return a.Node + ":" + a.Service }

// resolve gives a node's name its meaning here.
func (n *Node) resolve(node string) string {
	if strings.EqualFold(node, localhost) {
		return n.config.NodeID
	}
	return node
}

// endpoint is a service of a node as streams know it.
func endpoint(node uint64, service wire.Service) streams.Endpoint {
	var e streams.Endpoint
	binary.BigEndian.PutUint64(e[:8], node)
	copy(e[8:], service[:])
	return e
}

// split is the reverse of endpoint.
func split(e streams.Endpoint) (node uint64, service wire.Service) {
	return binary.BigEndian.Uint64(e[:8]), wire.Service(e[8:])
}

// addr names an endpoint.
func (n *Node) addr(node uint64, service wire.Service) Addr {
	return Addr{Node: n.name(node), Service: service.String()}
}

// name is the ID of a node. All that packets are delivered from are known; should
// one not be, its hash stands for it.
func (n *Node) name(node uint64) string {
	if known, ok := n.table.Load().Nodes[node]; ok {
		return known.Name
	}
	return fmt.Sprintf("%016x", node)
}

// reached tells whether there is a route to a node.
func (n *Node) reached(node uint64) bool {
	return node == n.self || n.table.Load().Nodes[node].Next != nil
}
