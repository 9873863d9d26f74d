package check_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/plugtest/check"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// params are those of all kinds here.
type params struct {
	Port    int    `json:"port"`
	Address string `json:"address"`
	Node    string `json:"node"`
	Service string `json:"service"`
}

var (
	port    = wire.Param{Name: "port", Type: schema.TypePort, Key: true, Required: true}
	address = wire.Param{Name: "address", Type: schema.TypeAddress, Key: true, Required: true}
	node    = wire.Param{Name: "node", Type: schema.TypeNode, Required: true}
	service = wire.Param{Name: "service", Type: schema.TypeService, Required: true}
)

// goodPlug is a plug of a role as simple as it can be.
func goodPlug(role string) *plug.Plug {
	if role == wire.RoleWorker {
		return goodWorker(nil)
	}
	if role == wire.RolePacket {
		return goodPacket(packetFaults{})
	}
	kinds := []wire.Kind{
		{Kind: "good-in", Role: role, Dir: "in", Params: []wire.Param{port}},
		{Kind: "good-out", Role: role, Dir: "out", Params: []wire.Param{address}},
	}
	if role == wire.RoleStream {
		kinds[0].Params = append(kinds[0].Params, node, service)
		kinds[1].Params = append(kinds[1].Params, service)
	}
	return &plug.Plug{Program: "receptor-good", Kinds: kinds, Run: func(ctx context.Context, it *plug.Item) error {
		var p params
		if err := it.Decode(&p); err != nil {
			return err
		}
		var d net.Dialer
		switch {
		case it.Kind == "good-in":
			return listen(ctx, it, p, func(ctx context.Context, c net.Conn) error {
				if role == wire.RoleLink {
					return it.CarryLink(ctx, c, plug.LinkInfo{Dir: "in"})
				}
				return it.CarryDial(ctx, c, plug.Target{Node: p.Node, Service: p.Service}, plug.DialOptions{})
			})
		case role == wire.RoleStream:
			return it.Serve(ctx, plug.Service{Name: p.Service}, func(ctx context.Context, _ plug.Target) (net.Conn, error) {
				return d.DialContext(ctx, "tcp", p.Address)
			})
		}
		backoff := plug.Backoff{Min: 100 * time.Millisecond, Max: time.Second}
		for it.Attached(ctx) == nil && it.AwaitLive(ctx) == nil {
			c, err := d.DialContext(ctx, "tcp", p.Address)
			if err == nil {
				it.Up(p.Address)
				err = it.CarryLink(ctx, c, plug.LinkInfo{Dir: "out"})
			}
			it.Degraded(p.Address, errors.Join(err, errors.New("no link")))
			_ = backoff.Wait(ctx) // the loop looks at ctx
		}
		return nil
	}}
}

// listen carries each connection to a port.
func listen(ctx context.Context, it *plug.Item, p params, carry func(context.Context, net.Conn) error) error {
	l, err := it.Listen(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(p.Port))
	if err != nil {
		return err
	}
	it.Up(l.Addr().String())
	return it.Accept(ctx, l, func(ctx context.Context, c net.Conn) {
		if it.Attached(ctx) != nil {
			_ = c.Close()
			return
		}
		_ = carry(ctx, c)
	}, func(err error) { it.Degraded("", err) })
}

// process is a plug that runs in this process.
type process struct {
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // set before ended is closed

	mu    sync.Mutex
	conns []net.Conn // to the core
}

func (p *process) Ended() <-chan struct{} { return p.ended }

func (p *process) Stop() error {
	p.cancel()
	<-p.ended
	return p.err
}

// Kill cuts the plug off from its core, and stops it then.
func (p *process) Kill() {
	p.mu.Lock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	_ = p.Stop()
}

// inProcess runs a plug whose connections pass through the saboteur that
// sabotage makes, if it is not nil.
func inProcess(p *plug.Plug, sabotage func(plugtest.Dialer) plugtest.Dialer) func(context.Context, string) (check.Process, error) {
	return func(_ context.Context, socket string) (check.Process, error) {
		ctx, cancel := context.WithCancel(context.Background())
		dial := plugtest.Unix(socket)
		if sabotage != nil {
			dial = sabotage(dial)
		}
		r := &process{cancel: cancel, ended: make(chan struct{})}
		go func() {
			defer close(r.ended)
			r.err = plug.Run(ctx, p, plug.Options{Dial: func(ctx context.Context) (net.Conn, error) {
				c, err := dial(ctx)
				if err == nil {
					r.mu.Lock()
					r.conns = append(r.conns, c)
					r.mu.Unlock()
				}
				return c, err
			}})
		}()
		return r, nil
	}
}
