package backendudp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/project-receptor/receptor/plug"
)

// resolveTimeout bounds the look-up of the name, all servers together.
const resolveTimeout = 15 * time.Second

var (
	errNoAnswer = errors.New("no answer yet")
	errRefused  = errors.New("nobody listens there: connection refused")
)

// peer is the socket of a udp-peer and the link over it. The socket stays the same
// from link to link, and is kept while this plug restarts: so the other side knows
// who comes again, and ends what it still takes for a link.
type peer struct {
	it   *plug.Item
	sock *socket

	mu   sync.Mutex
	flow *flow // nil: no link is made
}

// keepLink makes a link and, with redial, makes it again whenever it ends.
func keepLink(ctx context.Context, it *plug.Item, p peerParams) error {
	conn, err := it.ListenUDP(ctx, "udp", ":0")
	if err != nil {
		return err
	}
	d := &peer{it: it}
	if d.sock, err = newSocket(conn, it.Count, d.refused); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var failed error // of receiving
	var receiver sync.WaitGroup
	receiver.Go(func() {
		defer cancel()
		failed = d.sock.run(ctx, func(from netip.AddrPort, b []byte, size int) { d.receive(p, from, b, size) })
	})
	it.KeepLink(ctx, p.Address, p.Redial, func(ctx context.Context) error { return d.linkOnce(ctx, p) })
	cancel()
	receiver.Wait()
	return errors.Join(failed, conn.Close())
}

// linkOnce makes a link and returns when it has ended, with the reason.
func (d *peer) linkOnce(ctx context.Context, p peerParams) error {
	addrs, err := resolve(ctx, p.Address)
	if err != nil {
		if ctx.Err() == nil {
			d.it.Log.Warn("cannot resolve the address", "error", err)
		}
		return err
	}
	d.it.Degraded(p.Address, errNoAnswer)
	f := newFlow(d.sock, d.it.Count, d.ended, addrs...)
	f.heard = false
	d.mu.Lock()
	d.flow = f
	d.mu.Unlock()
	defer context.AfterFunc(ctx, func() { _ = f.Close() })()
	local := d.sock.conn.LocalAddr().String()
	return carry(ctx, d.it, f, plug.LinkInfo{Dir: "out", Local: local, Remote: p.Address})
}

// resolve finds the addresses of host:port.
func resolve(ctx context.Context, address string) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return nil, err
	}
	if host == "" {
		host = "localhost" // as for TCP
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var addrs []netip.AddrPort
	for _, ip := range ips {
		addrs = append(addrs, addrPort(netip.AddrPortFrom(ip, uint16(port))))
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%s has no address", host)
	}
	return addrs, nil
}

// receive hands datagrams to the flow, if they are of it. It does not wait.
func (d *peer) receive(p peerParams, from netip.AddrPort, b []byte, size int) {
	switch {
	case len(b) == 0:
		d.it.Count(countEmpty, 1)
		return
	case size > maxMessage:
		d.it.Count(countOversize, 1)
		return
	}
	d.mu.Lock()
	f := d.flow
	d.mu.Unlock()
	ours, first := false, false
	if f != nil {
		ours, first = f.from(from)
	}
	if !ours {
		d.it.Count(countStray, 1)
		return
	}
	if first {
		d.it.Log.Info("linked", "address", p.Address, "remote", from)
		d.it.Up(p.Address)
	}
	f.push(b, size)
}

// refused ends the flow when nobody listens at its address.
func (d *peer) refused() {
	d.mu.Lock()
	f := d.flow
	d.mu.Unlock()
	if f != nil {
		f.refused()
	}
}

// ended forgets a flow.
func (d *peer) ended(f *flow) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.flow == f {
		d.flow = nil
	}
}
