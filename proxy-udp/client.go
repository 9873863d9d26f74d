package proxyudp

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/project-receptor/receptor/plug"
)

const (
	// maxWaiting bounds the datagrams of a flow that wait until the address is found.
	maxWaiting = 16

	// resolveTimeout bounds the search for the address of the application.
	resolveTimeout = 10 * time.Second
)

// outlet is a udp-client: a service, and a socket for each flow to it.
type outlet struct {
	item    *plug.Item
	address string
	idle    time.Duration

	ctx     context.Context // of carry
	sockets sync.WaitGroup

	mu    sync.Mutex
	mtu   int // of the core's
	flows map[*plug.Flow]*target
}

// target is the socket of a flow.
type target struct {
	flow *plug.Flow
	mtu  int
	used idle

	mu      sync.Mutex
	conn    net.Conn // nil: the address is not found yet
	waiting [][]byte // meanwhile
	over    bool
}

// carry serves a service until ctx is done.
func carry(ctx context.Context, it *plug.Item, p clientParams) error {
	ctx, cancel := context.WithCancel(ctx)
	o := &outlet{
		item: it, address: p.Address, idle: time.Duration(p.IdleTimeout),
		ctx: ctx, flows: make(map[*plug.Flow]*target),
	}
	o.sockets.Go(func() { sweep(ctx, o.idle, o.clean) })
	err := it.ServePackets(ctx, plug.PacketService{
		Name: p.Service, Advertise: true, Tags: map[string]string{"type": "UDP Proxy", "address": p.Address},
	}, o.opened, o.closed)
	cancel()
	o.sockets.Wait()
	return err
}

// opened takes the packet service of a core.
func (o *outlet) opened(p *plug.Packets) plug.PacketHandler {
	o.mu.Lock()
	o.mtu = p.MTU
	o.mu.Unlock()
	o.item.Up(p.Service)
	return o
}

// closed closes all sockets: their flows were that core's.
func (o *outlet) closed() { o.cleanIf(func(*target) bool { return true }) }

// clean closes flows that carry nothing.
func (o *outlet) clean() { o.cleanIf(func(t *target) bool { return t.used.since(o.idle) }) }

func (o *outlet) cleanIf(which func(*target) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for f, t := range o.flows {
		if which(t) {
			delete(o.flows, f)
			f.Close()
			t.close()
		}
	}
}

// Packet implements plug.PacketHandler.
func (o *outlet) Packet(f *plug.Flow, b []byte) {
	o.mu.Lock()
	t := o.flows[f]
	if t == nil {
		t = &target{flow: f, mtu: o.mtu}
		o.flows[f] = t
		o.sockets.Go(func() { o.run(t) })
	}
	o.mu.Unlock()
	t.used.touch()
	if reason := t.send(b); reason != "" {
		o.item.Count(reason, 1)
	}
}

// Batch implements plug.PacketHandler.
func (o *outlet) Batch() {}

// Gone implements plug.PacketHandler.
func (o *outlet) Gone(f *plug.Flow, _ error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t := o.flows[f]; t != nil {
		delete(o.flows, f)
		t.close()
	}
}

// run finds the address of a flow's application and carries what that sends, until the
// flow is closed.
func (o *outlet) run(t *target) {
	backoff := plug.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	ctx, cancel := context.WithTimeout(o.ctx, resolveTimeout)
	conn, err := new(net.Dialer).DialContext(ctx, "udp", o.address)
	cancel()
	if err != nil {
		o.item.Degraded("", err)
		_ = backoff.Wait(o.ctx) // the next datagram tries again, not at once
		o.forget(t)
		return
	}
	defer conn.Close()
	defer context.AfterFunc(o.ctx, func() { t.close() })()
	if !t.open(conn) {
		return
	}
	r, err := newReceiver(conn.(*net.UDPConn)) // as "udp" has it
	if err != nil {
		o.item.Degraded("", err)
		return
	}
	for {
		err := r.receive(func(b []byte) {
			t.used.touch()
			switch {
			case len(b) > t.mtu:
				o.item.Count(countTooLong, 1)
			case !t.flow.Send(b):
				o.item.Count(countFull, 1)
			}
		})
		switch {
		case err == nil:
			backoff.Reset()
			o.item.Up("")
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, syscall.ECONNREFUSED): // somebody may listen there the next moment
			o.item.Degraded("", err) // once for a datagram sent: no need to pause
		default:
			o.item.Degraded("", err)
			if backoff.Wait(o.ctx) != nil {
				return
			}
		}
	}
}

// forget lets a flow's next datagram begin anew.
func (o *outlet) forget(t *target) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.flows[t.flow] == t {
		delete(o.flows, t.flow)
	}
	t.close()
}

// send sends a datagram to the application, or has it wait. It does not block. reason:
// it was dropped.
func (t *target) send(b []byte) (reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.over:
		return countUnsent
	case t.conn == nil && len(t.waiting) < maxWaiting:
		t.waiting = append(t.waiting, append([]byte(nil), b...))
		return ""
	case t.conn == nil:
		return countWaiting
	}
	_, err := t.conn.Write(b)
	if errors.Is(err, syscall.ECONNREFUSED) { // said of an earlier one, and told once
		_, err = t.conn.Write(b)
	}
	if err != nil {
		return countUnsent
	}
	return ""
}

// open gives the flow its socket, and sends what has waited; false: the flow is over.
func (t *target) open(c net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return false
	}
	t.conn = c
	for _, b := range t.waiting {
		_, _ = c.Write(b) // as good as lost on the way
	}
	t.waiting = nil
	return true
}

// close ends the flow's socket.
func (t *target) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	if t.conn != nil {
		_ = t.conn.Close() // run ends with it
	}
}
