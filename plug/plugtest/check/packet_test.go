package check_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/wire"
)

// packetFaults are what is wrong with a plug of datagrams.
type packetFaults struct {
	oneFlow   bool // for all applications, and one socket for all flows
	keepsGone bool // goes on with a flow that is gone
	noEmpty   bool // carries none that is empty
	bindsOnce bool // never again
	oneOfMany bool // carries the first of those that come together
}

// goodPacket is a plug of datagrams as simple as it can be, but for its faults.
func goodPacket(faults packetFaults) *plug.Plug {
	return &plug.Plug{
		Program: "receptor-good-packet",
		Kinds: []wire.Kind{
			{Kind: "good-in", Role: wire.RolePacket, Dir: "in", Params: []wire.Param{port, node, service}},
			{Kind: "good-out", Role: wire.RolePacket, Dir: "out", Params: []wire.Param{address, service}},
		},
		Run: func(ctx context.Context, it *plug.Item) error {
			var p params
			if err := it.Decode(&p); err != nil {
				return err
			}
			g := &packetPlug{packetFaults: faults, item: it, params: p, flows: make(map[string]*packetEnd)}
			if it.Kind == "good-out" {
				defer g.reading.Wait() // closed has ended it
				return g.serve(ctx, plug.PacketService{Name: p.Service}, p.Service)
			}
			sock, err := it.ListenUDP(ctx, "udp", "127.0.0.1:"+strconv.Itoa(p.Port))
			if err != nil {
				return err
			}
			g.sock = sock
			g.reading.Go(g.listen)
			err = g.serve(ctx, plug.PacketService{}, sock.LocalAddr().String())
			_ = sock.SetReadDeadline(time.Unix(1, 0)) // listen ends
			g.reading.Wait()
			return errors.Join(err, sock.Close())
		},
	}
}

// packetPlug is an item of it.
type packetPlug struct {
	packetFaults
	item   *plug.Item
	params params
	sock   *plug.UDPSocket // nil: the item has direction out

	reading sync.WaitGroup // of the socket, or those of flows

	mu      sync.Mutex
	packets *plug.Packets // nil: none
	flows   map[string]*packetEnd
	batch   int // datagrams since the last
}

// packetEnd is where a flow's datagrams go.
type packetEnd struct {
	key  string
	flow *plug.Flow
	to   net.Addr     // of direction in
	conn *net.UDPConn // of direction out
}

func (g *packetPlug) serve(ctx context.Context, s plug.PacketService, addr string) error {
	serving, end := context.WithCancel(ctx)
	defer end()
	err := g.item.ServePackets(serving, s, func(p *plug.Packets) plug.PacketHandler {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.packets = p
		g.item.Up(addr)
		return g
	}, func() {
		g.closed()
		if g.bindsOnce {
			end()
		}
	})
	if g.bindsOnce && err == nil {
		<-ctx.Done()
	}
	return err
}

// closed forgets all flows.
func (g *packetPlug) closed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.packets = nil
	for key, e := range g.flows {
		if e.conn != nil {
			_ = e.conn.Close()
		}
		delete(g.flows, key)
	}
}

// listen carries what applications send.
func (g *packetPlug) listen() {
	b := make([]byte, wire.MaxRecord)
	for {
		n, from, err := g.sock.ReadFrom(b)
		if err != nil {
			return
		}
		g.carry(b[:n], from)
	}
}

func (g *packetPlug) carry(b []byte, from net.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.packets == nil || g.noEmpty && len(b) == 0 {
		return
	}
	key := from.String()
	if g.oneFlow {
		key = "all"
	}
	e := g.flows[key]
	if e == nil {
		e = &packetEnd{key: key}
		var err error
		if e.flow, err = g.packets.Open(plug.Target{Node: g.params.Node, Service: g.params.Service}, e); err != nil {
			return
		}
		g.flows[key] = e
	}
	e.to = from
	e.flow.Send(b)
}

func (g *packetPlug) Packet(f *plug.Flow, b []byte) {
	if g.batch++; g.oneOfMany && g.batch > 1 {
		return
	}
	e, ok := f.Value.(*packetEnd)
	if g.sock != nil {
		if ok {
			g.mu.Lock()
			to := e.to
			g.mu.Unlock()
			_, _ = g.sock.WriteTo(b, to)
		}
		return
	}
	if !ok {
		addr, err := net.ResolveUDPAddr("udp", g.params.Address)
		if err != nil {
			return
		}
		c, err := net.DialUDP("udp", nil, addr)
		if err != nil {
			return
		}
		e = &packetEnd{key: f.Remote.String(), flow: f, conn: c}
		f.Value = e
		g.mu.Lock()
		g.flows[e.key] = e
		g.mu.Unlock()
		g.reading.Go(func() {
			b := make([]byte, wire.MaxRecord)
			for {
				n, err := c.Read(b)
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if err == nil {
					f.Send(b[:n])
				}
			}
		})
	}
	_, _ = e.conn.Write(b)
}

func (g *packetPlug) Batch() { g.batch = 0 }

func (g *packetPlug) Gone(f *plug.Flow, _ error) {
	e, ok := f.Value.(*packetEnd)
	if !ok || g.keepsGone {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if e.conn != nil {
		_ = e.conn.Close()
	}
	if g.flows[e.key] == e {
		delete(g.flows, e.key)
	}
}

// faulty is a saboteur before a plug with faults, which lets all pass.
func faulty(f packetFaults) *saboteur { return &saboteur{only: "packet", program: goodPacket(f)} }

var brokenPackets = []brokenPlug{
	{
		"binds for another item", wire.RolePacket,
		&saboteur{only: "packet/bind", toCore: change(wire.TypePBind, 0, set("item", "another"))},
		[]string{"packet/bind"},
	},
	{
		"has an old secret", wire.RolePacket, &saboteur{only: "packet/core-restart", toCore: oldSecret()},
		[]string{"packet/core-restart"},
	},
	{
		"one flow for all", wire.RolePacket, faulty(packetFaults{oneFlow: true}),
		[]string{"packet/apart", "packet/gone"},
	},
	{
		"goes on with what is gone", wire.RolePacket, faulty(packetFaults{keepsGone: true}),
		[]string{"packet/gone"},
	},
	{
		"carries nothing that is empty", wire.RolePacket, faulty(packetFaults{noEmpty: true}),
		[]string{"packet/sizes"},
	},
	{
		"binds once", wire.RolePacket, faulty(packetFaults{bindsOnce: true}),
		[]string{"packet/again", "packet/core-restart"},
	},
	{
		"carries one of many", wire.RolePacket, faulty(packetFaults{oneOfMany: true}),
		[]string{"packet/together"},
	},
	{
		"does not look at mtu", wire.RolePacket,
		&saboteur{only: "packet", toPlug: change(wire.TypePBind, wire.FlagResponse, set("mtu", 65507))},
		[]string{"packet/too-long"},
	},
	{
		"does not say why it is refused", wire.RolePacket,
		&saboteur{only: "packet", toCore: change(wire.TypeStatus, 0, func(b map[string]any) { item(b)["err"] = "" })},
		[]string{"packet/refused"},
	},
	{
		"does not look at CONFIG without items", wire.RolePacket,
		&saboteur{only: "packet", toPlug: swallow(wire.TypeConfig, func(b map[string]any) bool {
			items, _ := b["items"].([]any)
			return len(items) == 0
		})},
		[]string{"packet/item-gone"},
	},
	{
		"asks at once when it is denied", wire.RolePacket,
		&saboteur{only: "authorisation/packet-back-off", program: bindsAtOnce()},
		[]string{"authorisation/packet-back-off"},
	},
}

// oldSecret has PBIND present the secret of the first.
func oldSecret() func(*frame, func(frame)) bool {
	var mu sync.Mutex
	var first any
	return change(wire.TypePBind, 0, func(b map[string]any) {
		mu.Lock()
		defer mu.Unlock()
		if first == nil {
			first = b["session"]
		}
		b["session"] = first
	})
}

// bindsAtOnce is a plug of datagrams that does not pause.
func bindsAtOnce() *plug.Plug {
	p := goodPacket(packetFaults{})
	p.Run = func(ctx context.Context, it *plug.Item) error {
		var asking sync.WaitGroup
		for range 8 { // more than is allowed, however slow each is
			asking.Go(func() {
				for ctx.Err() == nil {
					_ = it.ServePackets(ctx, plug.PacketService{}, nil, nil) // it is refused, and asked again
				}
			})
		}
		asking.Wait()
		return nil
	}
	return p
}
