package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	backendtcp "github.com/project-receptor/receptor/backend-tcp"
	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/plughost"
	"github.com/project-receptor/receptor/plug/wire"
)

// member is a node with a TCP backend. It is what receptor-core and
// receptor-backend-tcp are together, without their processes.
type member struct {
	node *netceptor.Node
	host *plughost.Host // joins plugs to the node
	plug sync.WaitGroup
}

// newMember starts a node with one item of the backend.
func newMember(name, kind string, params map[string]any) (*member, error) {
	node, err := netceptor.New(netceptor.Config{NodeID: name})
	if err != nil {
		return nil, err
	}
	if err := node.Start(); err != nil {
		return nil, err
	}
	host, err := plughost.New(plughost.Config{Node: node})
	if err != nil {
		return nil, errors.Join(err, node.Close())
	}
	m := &member{node: node, host: host}
	host.SetItems([]plughost.Item{{Kind: kind, Params: params, Label: kind}})
	m.plug.Go(func() {
		// What is wrong with an item shows in its state. RunPlug itself fails only
		// for a plug that describes itself wrongly.
		_ = host.RunPlug(context.Background(), backendtcp.New())
	})
	return m, nil
}

// address waits until the item is up, and returns what it is bound to.
func (m *member) address(ctx context.Context) (string, error) {
	var item plughost.ItemStatus
	err := m.host.WaitFor(ctx, func(items []plughost.ItemStatus) bool {
		item = items[0]
		return item.State == wire.StateUp || item.State == wire.StateFailed
	})
	if err == nil && item.State == wire.StateFailed {
		err = fmt.Errorf("%s: %s", item.Item, item.Err)
	}
	return item.Addr, err
}

// close ends the plug, then the node.
func (m *member) close() {
	_ = m.host.Close() // never fails
	m.plug.Wait()
	_ = m.node.Close() // fails only where streams could not be closed in order
}
