package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/control"
	"github.com/project-receptor/receptor/netceptor/plughost"
	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/wire"
	"github.com/project-receptor/receptor/workceptor"
	"github.com/project-receptor/receptor/workceptor/client"
)

// node is all that receptor-core and its plugs are together, without their processes.
type node struct {
	mesh    *netceptor.Node
	work    *workceptor.Workceptor // units of work
	plugs   *plughost.Host         // joins plugs to the two
	client  *client.Client         // of the node itself
	stop    context.CancelFunc
	serving sync.WaitGroup
}

// workersIn is how long a node that was just started waits for a worker of a type that
// it is asked for.
const workersIn = 6 * time.Second

// startNode starts a node that keeps its units in dir.
func startNode(id, dir string, plugs []*plug.Plug, items ...plughost.Item) (_ *node, err error) {
	ctx, stop := context.WithCancel(context.Background())
	n := &node{stop: stop}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	if n.mesh, err = netceptor.New(netceptor.Config{NodeID: id}); err != nil {
		return nil, err
	}
	n.work, err = workceptor.New(workceptor.Config{Dir: dir, NodeID: id, Mesh: control.WorkMesh{Node: n.mesh}, Early: workersIn})
	if err != nil {
		return nil, err
	}
	if n.plugs, err = plughost.New(plughost.Config{Node: n.mesh, Workers: n.work.Plugs()}); err != nil {
		return nil, err
	}
	// The conversation that other nodes submit work by, and this program itself.
	work := n.work.Command()
	server := control.New(control.Config{NodeID: id})
	server.Register(control.NodeCommands(n.mesh, nil, nil)...)
	server.Register(control.Command{Name: "work", Plain: work.Plain, Own: work.Own})

	if err := errors.Join(n.mesh.Start(), n.work.Start()); err != nil {
		return nil, err
	}
	others, err := n.mesh.Listen("control", netceptor.ListenOptions{Advertise: true, Tags: map[string]string{"type": "Control Service"}})
	if err != nil {
		return nil, err
	}
	ourselves := control.NewInside()
	n.client = &client.Client{Dial: ourselves.Dial}
	for _, l := range []net.Listener{others, ourselves} {
		n.serving.Go(func() { _ = server.Serve(ctx, l) }) // until ctx is done
	}
	n.plugs.SetItems(items)
	for _, p := range plugs {
		n.serving.Go(func() { _ = n.plugs.RunPlug(ctx, p) }) // what is wrong shows in the states of items
	}
	return n, nil
}

// address waits until the first item is up, and returns what it is bound to.
func (n *node) address(ctx context.Context) (string, error) {
	var item plughost.ItemStatus
	err := n.plugs.WaitFor(ctx, func(items []plughost.ItemStatus) bool {
		item = items[0]
		return item.State == wire.StateUp || item.State == wire.StateFailed
	})
	if err == nil && item.State == wire.StateFailed {
		err = fmt.Errorf("%s: %s", item.Item, item.Err)
	}
	return item.Addr, err
}

// close ends whoever uses the node, then the node. Units of plugs outlive it, where the
// plugs do.
func (n *node) close() error {
	n.stop()
	var errs []error
	if n.plugs != nil {
		errs = append(errs, n.plugs.Close())
	}
	n.serving.Wait()
	if n.mesh != nil {
		errs = append(errs, n.mesh.Close())
	}
	if n.work != nil {
		errs = append(errs, n.work.Close())
	}
	return errors.Join(errs...)
}
