package proxyudp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/project-receptor/receptor/plug"
)

// server is a udp-server: a socket, and a flow to the service for each application
// that sends to it.
type server struct {
	item *plug.Item
	to   plug.Target
	idle time.Duration
	sock *plug.UDPSocket

	mu      sync.Mutex
	packets *plug.Packets // nil: there is no core
	flows   map[netip.AddrPort]*client
}

// client is an application that sends to a server.
type client struct {
	addr net.Addr
	key  netip.AddrPort
	flow *plug.Flow
	used idle
}

// serve carries what comes to a port until ctx is done. What comes while there is no
// core is dropped, as by a network.
func serve(ctx context.Context, it *plug.Item, p serverParams) error {
	sock, err := it.ListenUDP(ctx, "udp", net.JoinHostPort(p.BindAddr, strconv.Itoa(p.Port)))
	if err != nil {
		return err
	}
	s := &server{
		item: it, to: plug.Target{Node: p.RemoteNode, Service: p.RemoteService}, idle: time.Duration(p.IdleTimeout),
		sock: sock, flows: make(map[netip.AddrPort]*client),
	}
	addr := sock.LocalAddr().String()
	it.Log.Info("listening", "address", addr, "target", s.to.String())
	it.Up(addr)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() { s.read(ctx) })
	running.Go(func() { sweep(ctx, s.idle, s.clean) })
	err = it.ServePackets(ctx, plug.PacketService{}, s.opened, s.closed)
	cancel()
	_ = sock.SetReadDeadline(time.Unix(1, 0)) // read ends; what comes now may be for another process
	running.Wait()
	return errors.Join(err, sock.Close())
}

// read carries what applications send.
func (s *server) read(ctx context.Context) {
	r := newReader(s.sock.UDPConn)
	backoff := plug.Backoff{Min: 5 * time.Millisecond, Max: time.Second}
	for ctx.Err() == nil {
		err := r.read(s.forward)
		if err == nil {
			backoff.Reset()
			continue
		}
		if ctx.Err() == nil {
			s.item.Log.Warn("cannot receive; going on", "error", err)
			_ = backoff.Wait(ctx) // the loop looks at ctx
		}
	}
}

// forward sends a datagram of an application into the mesh.
func (s *server) forward(b []byte, from net.Addr) {
	c, mtu := s.client(from)
	switch {
	case c == nil:
		s.item.Count(countDetached, 1)
	case len(b) > mtu:
		s.item.Count(countTooLong, 1)
	case !c.flow.Send(b):
		s.item.Count(countFull, 1)
	default:
		c.used.touch()
	}
}

// client finds or makes the flow of an application, and tells what fits; nil: there is
// no core.
func (s *server) client(from net.Addr) (c *client, mtu int) {
	addr, ok := from.(*net.UDPAddr)
	if !ok {
		return nil, 0
	}
	key := addr.AddrPort()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.packets == nil {
		return nil, 0
	}
	if c := s.flows[key]; c != nil {
		return c, s.packets.MTU
	}
	c = &client{addr: addr, key: key}
	c.used.touch()
	flow, err := s.packets.Open(s.to, c)
	if err != nil {
		return nil, 0 // the core is going
	}
	c.flow = flow
	s.flows[key] = c
	return c, s.packets.MTU
}

// opened takes the packet service of a core.
func (s *server) opened(p *plug.Packets) plug.PacketHandler {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.packets = p
	s.item.Up("") // what was wrong was so with another core
	return &serverHandler{server: s, out: newWriter(s.sock.UDPConn, func(n uint64) { s.item.Count(countUnsent, n) })}
}

// closed forgets all flows: they were that core's.
func (s *server) closed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.packets = nil
	clear(s.flows)
}

// clean closes flows that carry nothing.
func (s *server) clean() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, c := range s.flows {
		if c.used.since(s.idle) {
			delete(s.flows, key)
			c.flow.Close()
		}
	}
}

// serverHandler gives answers to applications.
type serverHandler struct {
	*server
	out *writer

	degraded bool // until something is heard again; of the goroutine that calls
}

// Packet implements plug.PacketHandler.
func (h *serverHandler) Packet(f *plug.Flow, b []byte) {
	if c, ok := f.Value.(*client); ok { // else it is to our own service, which nobody knows
		c.used.touch()
		h.out.add(b, c.addr)
		if h.degraded {
			h.degraded = false
			h.item.Up("")
		}
	}
}

// Batch implements plug.PacketHandler.
func (h *serverHandler) Batch() { h.out.flush() }

// Gone implements plug.PacketHandler. With the next datagram there is another flow.
func (h *serverHandler) Gone(f *plug.Flow, why error) {
	c, ok := f.Value.(*client)
	if !ok {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.flows[c.key] == c {
		delete(h.flows, c.key)
	}
	if why != nil {
		h.degraded = true
		h.item.Degraded("", why)
	}
}
