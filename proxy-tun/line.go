package proxytun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/wire"
	"github.com/project-receptor/receptor/proxy-tun/internal/host"
	"github.com/project-receptor/receptor/proxy-tun/internal/packet"
)

// device is a network interface. What is read from it, and written to it, is one packet
// each, alone or super, after a packet.Header. Closing it removes it, and ends a read.
type device interface {
	io.ReadWriteCloser
	Name() string
	// Offload tells whether it takes super-packets, of TCP or of UDP, too.
	Offload() (tcp, udp bool)
	// SetRoutes makes want the networks that are routed through it. The error tells of
	// those that cannot be; the others are there.
	SetRoutes(want []netip.Prefix) error
}

// The counters of items, each a reason for which a packet was not carried.
const (
	countDetached = "no_core"         // while there is no core
	countNoWay    = "no_way"          // nobody is known who has that network
	countTooBig   = "too_big"         // longer than the way takes; its sender was told
	countTooLong  = "too_long"        // likewise, but its sender has not asked to be told
	countFull     = "queue_full"      // too much waited for the core already
	countBroken   = "broken"          // no IP packet, or one that its header does not suit
	countStranger = "stranger"        // from somebody else than the other end
	countLeftOut  = "routes_left_out" // networks of other sites, beyond maxNetworks
	countUnsent   = "unsent"          // the interface did not take it
)

const (
	// maxRead is the longest that comes from a device: a header and a packet, and one
	// byte before them.
	maxRead = 1 + packet.HeaderLen + 0xffff

	// answersPerSecond bounds the ICMP errors of an interface, as hosts do.
	answersPerSecond = 100

	// sendWait is how long a packet waits for a core that does not read. The interface is
	// not read meanwhile, and so the host's own senders wait: they do better than if
	// their packets were lost.
	sendWait = 20 * time.Millisecond

	// unreachableFor is how long after a node has said that it does not know a service
	// none is asked again.
	unreachableFor = time.Second
)

// line carries packets between an interface and other nodes' services.
type line struct {
	item *plug.Item
	dev  device
	mtu  int
	from []netip.Addr // addresses at the other end of the interface, which ICMP errors are from

	// only is who may send to us; empty: anybody, as with existing nodes.
	only plug.Target

	ways atomic.Pointer[bart.Table[*peer]] // by network

	// Unless nil, called when there is a core, and when it has gone.
	attached, detached func()

	mu      sync.Mutex
	packets *plug.Packets // nil: there is no core

	// Of the goroutine that reads the device.
	scratch []byte
	out     []byte
	answers limiter
}

// peer is a service that packets go to.
type peer struct {
	to plug.Target

	mu     sync.Mutex
	super  bool // it takes super-packets
	mtu    int  // of the packets that it takes; 0: it has not said
	flow   *plug.Flow
	of     *plug.Packets // the flow
	silent time.Time     // until then it is unreachable
}

// set takes what a peer's advertisement says.
func (p *peer) set(tags map[string]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.super = tags[tagSuper] == "1"
	p.mtu = 0
	if mtu, err := strconv.Atoi(tags[tagMTU]); err == nil && mtu >= minMTU {
		p.mtu = mtu
	}
}

// open makes the interface of an item.
func (t *tun) open(it *plug.Item, c host.Config) (*line, error) {
	if c.Name != "" {
		if err := t.settings.Limits.checkInterface(c.Name); err != nil {
			return nil, err
		}
	}
	for _, a := range c.Addresses {
		if err := t.settings.Limits.checkNetwork("address", a.Prefix); err != nil {
			return nil, err
		}
		if a.Peer.IsValid() {
			if err := t.settings.Limits.checkNetwork("destaddress", netip.PrefixFrom(a.Peer, a.Peer.BitLen())); err != nil {
				return nil, err
			}
		}
	}
	if t.settings.Lacking != nil {
		return nil, t.settings.Lacking
	}
	c.MaxSuper = maxSuper - packet.HeaderLen - 1
	dev, err := t.make(c)
	if err != nil {
		return nil, err
	}
	if err := t.settings.Limits.checkInterface(dev.Name()); err != nil { // the kernel has chosen it
		return nil, errors.Join(err, dev.Close())
	}
	l := &line{item: it, dev: dev, mtu: c.MTU}
	l.ways.Store(new(bart.Table[*peer]))
	it.Log.Info("interface is up", "interface", dev.Name(), "mtu", c.MTU)
	return l, nil
}

// run carries packets until ctx is done, or the interface fails.
func (l *line) run(ctx context.Context, s plug.PacketService) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var reading sync.WaitGroup
	reading.Go(func() { cancel(l.read()) })
	err := l.item.ServePackets(ctx, s, l.opened, l.closed)
	err = errors.Join(err, l.dev.Close())
	reading.Wait()
	if why := context.Cause(ctx); err == nil && why != nil && !errors.Is(why, context.Canceled) {
		return why
	}
	return err
}

// read takes what the host sends through the interface, until that is closed.
func (l *line) read() error {
	b := make([]byte, maxRead)
	for {
		n, err := l.dev.Read(b[1:])
		if err != nil {
			return fmt.Errorf("read from interface %s: %w", l.dev.Name(), err)
		}
		if reason := l.outgoing(b[:1+n]); reason != "" {
			l.item.Count(reason, 1)
		}
	}
}

// outgoing sends a packet to whom it is for. Before its header there is a byte that is
// free. reason: it was dropped.
func (l *line) outgoing(b []byte) (reason string) {
	h, n, err := packet.ParseHeader(b[1:])
	if err != nil {
		return countBroken
	}
	p := b[1+n:]
	_, dst, err := packet.Addresses(p)
	if err != nil {
		return countBroken
	}
	to, ok := l.ways.Load().Lookup(dst)
	if !ok {
		l.answer(p, func(b []byte, from netip.Addr) ([]byte, bool) { return packet.Unreachable(b, p, from) })
		return countNoWay
	}
	flow, way, reason := l.flow(to)
	if flow == nil {
		if reason == countNoWay {
			l.answer(p, func(b []byte, from netip.Addr) ([]byte, bool) { return packet.Unreachable(b, p, from) })
		}
		return reason
	}
	return l.send(flow, way, h, b, p)
}

// way is what is known of the way to a peer.
type way struct {
	super bool
	mtu   int
}

// flow is that to a peer, and what its way takes.
func (l *line) flow(to *peer) (f *plug.Flow, w way, reason string) {
	l.mu.Lock()
	packets := l.packets
	l.mu.Unlock()
	if packets == nil {
		return nil, w, countDetached
	}
	to.mu.Lock()
	defer to.mu.Unlock()
	w = way{to.super, min(l.mtu, packets.MTU)}
	if to.mtu > 0 {
		w.mtu = min(w.mtu, to.mtu)
	}
	if to.flow != nil && to.of == packets {
		return to.flow, w, ""
	}
	if time.Now().Before(to.silent) {
		return nil, w, countNoWay
	}
	f, err := packets.OpenBound(to.to, to)
	if err != nil {
		return nil, w, countDetached // the core is going
	}
	to.flow, to.of = f, packets
	return f, w, ""
}

// send sends a packet p, with header h, over a flow. b is all of it, as it came.
func (l *line) send(f *plug.Flow, w way, h packet.Header, b, p []byte) (reason string) {
	longest, err := packet.Longest(h, p)
	if err != nil {
		return countBroken
	}
	if longest > w.mtu {
		return l.tooBig(f, w.mtu, h, p)
	}
	if h.Super() {
		if w.super && len(b) <= maxSuper && f.Has(wire.CapWhole) {
			b[0] = superMark
			return l.sent(f.SendWait(b, sendWait))
		}
		return l.split(f, h, p)
	}
	if packet.Complete(h, p) != nil {
		return countBroken
	}
	packet.ClampMSS(p, w.mtu)
	return l.sent(f.SendWait(p, sendWait))
}

func (l *line) sent(ok bool) (reason string) {
	if !ok {
		return countFull
	}
	return ""
}

// split sends the packets that a super-packet is made of.
func (l *line) split(f *plug.Flow, h packet.Header, p []byte) (reason string) {
	if l.scratch == nil {
		l.scratch = make([]byte, maxRead)
	}
	err := packet.Split(h, p, l.scratch, func(p []byte) error {
		if !f.SendWait(p, sendWait) {
			l.item.Count(countFull, 1)
		}
		return nil
	})
	if err != nil {
		return countBroken
	}
	return ""
}

// tooBig tells the sender of a packet that it is longer than its way takes, or cuts it
// into fragments where it may be cut.
func (l *line) tooBig(f *plug.Flow, mtu int, h packet.Header, p []byte) (reason string) {
	if l.answer(p, func(b []byte, from netip.Addr) ([]byte, bool) { return packet.TooBig(b, p, mtu, from) }) {
		return countTooBig
	}
	if h.Super() || packet.Complete(h, p) != nil || packet.Fragment(p, mtu, func(p []byte) error {
		if !f.SendWait(p, sendWait) {
			l.item.Count(countFull, 1)
		}
		return nil
	}) != nil {
		return countTooLong
	}
	return ""
}

// answer gives an ICMP error about a packet back to the host, unless there were many.
// It is from the other end of the interface: an address of this host would be taken for
// forged.
func (l *line) answer(p []byte, make func(b []byte, from netip.Addr) ([]byte, bool)) bool {
	_, from, err := packet.Addresses(p)
	if err != nil {
		return false
	}
	for _, a := range l.from {
		if a.Is4() == from.Is4() {
			from = a
		}
	}
	b, ok := make(packet.Header{}.Append(l.out[:0]), from)
	l.out = b
	if ok && l.answers.allow(time.Now()) {
		l.write(b)
	}
	return ok
}

// write gives the host a header and a packet.
func (l *line) write(b []byte) {
	if _, err := l.dev.Write(b); err != nil {
		l.item.Count(countUnsent, 1)
	}
}

// opened takes the packet service of a core.
func (l *line) opened(p *plug.Packets) plug.PacketHandler {
	if l.attached != nil {
		l.attached()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.packets = p
	tcp, udp := l.dev.Offload()
	in := &inlet{line: l, tcp: tcp, udp: udp}
	if tcp {
		in.joined = packet.NewCoalescer(maxSuper, udp)
	}
	return in
}

// closed tells that the core is gone, and with it all flows.
func (l *line) closed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.packets = nil
	if l.detached != nil {
		l.detached()
	}
}

// gone forgets a flow that is no more.
func (p *peer) gone(f *plug.Flow, unreachable bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flow != f {
		return
	}
	p.flow = nil
	if unreachable {
		p.silent = time.Now().Add(unreachableFor)
	}
}

// inlet gives packets from elsewhere to the host. It is for one goroutine.
type inlet struct {
	*line
	tcp, udp bool // super-packets that the device takes
	joined   *packet.Coalescer
	waiting  bool // there are packets in joined
	silent   bool // the only one who may send is not there; until something comes
	buf      []byte
}

// Packet implements plug.PacketHandler.
func (in *inlet) Packet(f *plug.Flow, b []byte) {
	if in.only.Node != "" && f.Remote != in.only {
		in.item.Count(countStranger, 1)
		return
	}
	if in.silent {
		in.silent = false
		in.item.Up(in.dev.Name())
	}
	if len(b) > 0 && b[0] == superMark {
		in.super(b[1:])
		return
	}
	if _, _, err := packet.Addresses(b); err != nil {
		in.item.Count(countBroken, 1)
		return
	}
	packet.ClampMSS(b, in.mtu)
	if in.joined != nil {
		in.joined.Add(b)
		in.waiting = true
		return
	}
	in.give(packet.Header{}, b)
}

// super gives the host a super-packet: b is its header and it.
func (in *inlet) super(b []byte) {
	h, n, err := packet.ParseHeader(b)
	if err == nil {
		_, err = packet.Longest(h, b[n:]) // which looks at all that h says
	}
	if err != nil {
		in.item.Count(countBroken, 1)
		return
	}
	in.Batch() // packets of a flow keep their order
	takes := in.tcp
	if h.GSOType == packet.GSOUDP {
		takes = in.udp
	}
	if takes {
		in.write(b)
		return
	}
	err = packet.Split(h, b[n:], nil, func(p []byte) error {
		in.give(packet.Header{}, p)
		return nil
	})
	if err != nil {
		in.item.Count(countBroken, 1)
	}
}

// give gives the host a packet.
func (in *inlet) give(h packet.Header, p []byte) {
	in.buf = append(h.Append(in.buf[:0]), p...)
	in.write(in.buf)
}

// Batch implements plug.PacketHandler: it gives the host what was gathered.
func (in *inlet) Batch() {
	if !in.waiting {
		return
	}
	in.waiting = false
	_ = in.joined.Flush(func(h packet.Header, p []byte) error { // its error is ours, and we have none
		in.give(h, p)
		return nil
	})
}

// Gone implements plug.PacketHandler. With the next packet there is another flow.
func (in *inlet) Gone(f *plug.Flow, why error) {
	p, ok := f.Value.(*peer)
	if !ok {
		return
	}
	var told *wire.Error
	unreachable := errors.As(why, &told) && told.Code == wire.CodeUnreachable
	p.gone(f, unreachable)
	if unreachable && in.only == p.to {
		in.silent = true
		in.item.Degraded(in.dev.Name(), why)
	}
}

// limiter lets so many through in a second.
type limiter struct {
	second time.Time
	n      int
}

func (l *limiter) allow(now time.Time) bool {
	if now.Sub(l.second) >= time.Second {
		l.second, l.n = now, 0
	}
	l.n++
	return l.n <= answersPerSecond
}
