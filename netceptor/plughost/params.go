package plughost

import (
	"fmt"
	"slices"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// The policy parameters of links.
const (
	paramCost         = "cost"
	paramNodeCost     = "nodecost"
	paramAllowedPeers = "allowedpeers"
)

// dirIn is the direction of a kind that accepts.
const dirIn = "in"

// PolicyParams are the parameters that the core adds to each kind of a role,
// and reads itself: for links cost, nodecost (accepting kinds only) and
// allowedpeers.
func PolicyParams(k wire.Kind) []wire.Param {
	if k.Role != wire.RoleLink {
		return nil
	}
	params := []wire.Param{
		{Name: paramCost, Type: schema.TypeCost, Default: 1.0, Help: "cost of the links"},
		{Name: paramAllowedPeers, Type: schema.TypeList, Help: "node IDs that may be at the other end (default: any)"},
	}
	if k.Dir == dirIn {
		params = append(params, wire.Param{
			Name: paramNodeCost, Type: schema.TypeCosts, Help: "costs of the links to certain nodes, by node ID",
		})
	}
	return params
}

// withPolicyParams is the schema that items of kind k are checked against. A
// kind cannot have a parameter of its own where the core has one.
func withPolicyParams(k wire.Kind) (wire.Kind, error) {
	policy := PolicyParams(k)
	for _, p := range policy {
		if slices.ContainsFunc(k.Params, func(own wire.Param) bool { return own.Name == p.Name }) {
			return k, fmt.Errorf("its parameter %s is one that the core adds", p.Name)
		}
	}
	k.Params = slices.Concat(k.Params, policy)
	return k, nil
}

// takePolicy removes the policy parameters of a link from v and returns what
// they say; the rest is for the plug.
func takePolicy(k *wire.Kind, v schema.Values) netceptor.LinkConfig {
	var c netceptor.LinkConfig
	if k.Role != wire.RoleLink {
		return c
	}
	c.Cost, _ = v[paramCost].(float64)
	c.AllowedPeers, _ = v[paramAllowedPeers].([]string)
	if costs, ok := v[paramNodeCost].(map[string]any); ok {
		c.NodeCost = make(map[string]float64, len(costs))
		for node, cost := range costs {
			c.NodeCost[node], _ = cost.(float64)
		}
	}
	delete(v, paramCost)
	delete(v, paramAllowedPeers)
	delete(v, paramNodeCost)
	return c
}
