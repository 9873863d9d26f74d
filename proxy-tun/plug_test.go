package proxytun

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
	"github.com/project-receptor/receptor/proxy-tun/internal/host"
	"github.com/project-receptor/receptor/proxy-tun/internal/packet"
)

// stand is the plug, attached to a core, whose interfaces are fakes.
type stand struct {
	t       *testing.T
	core    *plugtest.FakeCore
	session *plugtest.CoreSession
	devices chan *fakeDevice // those it has made
}

// newStand starts the plug with interfaces that take super-packets, or not.
func newStand(t *testing.T, offload bool, s Settings) *stand {
	t.Helper()
	return newStandFor(t, offload, s, time.Hour)
}

// newStandFor is newStand with a graceTime.
func newStandFor(t *testing.T, offload bool, s Settings, grace time.Duration) *stand {
	t.Helper()
	st := &stand{t: t, core: plugtest.NewCore(t), devices: make(chan *fakeDevice, 16)}
	p := &tun{settings: &s, grace: grace, make: func(c host.Config) (device, error) {
		d := newFakeDevice(c, offload)
		st.devices <- d
		return d, nil
	}}
	st.core.RunPlug(p.plug())
	st.session = st.core.Session()
	return st
}

// serve answers PBIND of an item that is configured, and returns its interface and what
// it has asked for.
func (s *stand) serve(it wire.ConfigItem) (*fakeDevice, *plugtest.PacketService, wire.PBind) {
	s.t.Helper()
	if r := s.session.Configure(it); len(r.Errors) > 0 {
		s.t.Fatal(r.Errors)
	}
	p, b := s.bind()
	d := s.device()
	s.ready(d, p)
	return d, p, b
}

// ready waits until the plug has the answer to PBIND: what the host sends before that is
// lost.
func (s *stand) ready(d *fakeDevice, p *plugtest.PacketService) {
	s.t.Helper()
	q := udp("10.2.0.1", "10.1.0.1", 3, false)
	p.Peer(1000, wire.Peer{Node: "far", Service: "end"})
	p.Send(1000, string(q))
	d.wantNext(s.t, plain(q))
}

func (s *stand) bind() (*plugtest.PacketService, wire.PBind) {
	d := s.core.PacketBind()
	b := d.PBindBody()
	return d.OpenPackets(wire.PBound{Object: "p1", Node: "fake", Service: b.Service, MTU: 65471}), b
}

func (s *stand) device() *fakeDevice {
	s.t.Helper()
	return plugtest.Receive(s.t, s.devices, "an interface")
}

// peers tells the plug of services elsewhere.
func (s *stand) peers(all ...wire.PeerMatch) {
	s.t.Helper()
	if err := s.session.Notify(wire.TypePeers, wire.Peers{Object: "p1", Peers: all}); err != nil {
		s.t.Fatal(err)
	}
}

// wantState waits until an item has a state whose reason contains a text.
func (s *stand) wantState(it wire.ConfigItem, state, reason string) {
	s.t.Helper()
	s.session.WaitStatus(state+": "+reason, func(st wire.Status) bool {
		for _, i := range st.Items {
			if i.Item == it.Item && i.State == state && strings.Contains(i.Err, reason) {
				return true
			}
		}
		return false
	})
}

// udp makes a packet, whose checksum of UDP is none; dont has it not be cut.
func udp(src, dst string, size int, dont bool) []byte {
	from, to := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	t := binary.BigEndian.AppendUint32(nil, 4000<<16|5000)
	t = binary.BigEndian.AppendUint32(t, uint32(8+size)<<16)
	t = append(t, make([]byte, size)...)
	var p []byte
	if from.Is6() {
		p = binary.BigEndian.AppendUint32(p, 6<<28)
		p = binary.BigEndian.AppendUint16(p, uint16(len(t)))
		p = append(p, 17, 64)
	} else {
		p = binary.BigEndian.AppendUint32(p, 0x45<<24|uint32(20+len(t)))
		p = append(p, 0, 0, 0, 0, 64, 17, 0, 0)
		if dont {
			p[6] = 0x40
		}
	}
	p = append(append(p, from.AsSlice()...), to.AsSlice()...)
	return append(p, t...)
}

// plain is a packet as the host sends it, and gets it.
func plain(p []byte) []byte { return append(packet.Header{}.Append(nil), p...) }

// tcp makes a super-packet of TCP, with its header, as the host sends it: of so many
// segments of 1000 bytes.
func tcp(src, dst string, segments int) []byte {
	p := udp(src, dst, segments*1000+12, true)
	p[9] = 6
	t := p[20:]
	clear(t[:20])
	t[12], t[13] = 5<<4, 0x10 // header of 20 bytes; ACK
	h := packet.Header{
		Flags: packet.NeedsChecksum, GSOType: packet.GSOTCPv4, HdrLen: 40, GSOSize: 1000, CsumStart: 20, CsumOffset: 16,
	}
	return append(h.Append(nil), p...)
}

// wantFlow checks that a flow to a service begins, from the bound one, and returns its handle.
func wantFlow(t *testing.T, p *plugtest.PacketService, node, service string) uint32 {
	t.Helper()
	r := p.Next()
	if r.Type != wire.RecordPeer || r.Flow%2 != 1 || r.Peer.Node != node || r.Peer.Service != service || r.Peer.Local != "" {
		t.Fatalf("got %+v, want PEER of %s:%s from the bound service", r, node, service)
	}
	return r.Flow
}

func wantData(t *testing.T, p *plugtest.PacketService, flow uint32, want []byte) {
	t.Helper()
	if r := p.Next(); r.Type != wire.RecordData || r.Flow != flow || r.Bytes != string(want) {
		t.Fatalf("got %v of flow %d, %d bytes %.60x; want %d bytes %.60x of flow %d", r.Type, r.Flow, len(r.Bytes), r.Bytes, len(want), want, flow)
	}
}

func (d *fakeDevice) wantNext(t *testing.T, want []byte) {
	t.Helper()
	if got := d.next(t); !bytes.Equal(got, want) {
		t.Fatalf("the host got %d bytes %.60x, want %d bytes %.60x", len(got), got, len(want), want)
	}
}

// wantICMP checks that the host gets an ICMP error of that type and code, from that address.
func (d *fakeDevice) wantICMP(t *testing.T, from string, kind, code byte) []byte {
	t.Helper()
	b := d.next(t)[packet.HeaderLen:]
	at := 20
	if b[0]>>4 == 6 {
		at = 40
	}
	src, _, err := packet.Addresses(b)
	if err != nil || src.String() != from || b[at] != kind || b[at+1] != code {
		t.Fatalf("the host got %x, want ICMP %d/%d from %s", b, kind, code, from)
	}
	return b[at:]
}

func (s *stand) tunnel(more ...any) wire.ConfigItem {
	s.t.Helper()
	raw := map[string]any{
		"service": "vpn", "remotenode": "far", "remoteservice": "end",
		"ifaddress": "10.1.0.1,fd01::1", "destaddress": "10.1.0.2, fd01::2", "route": "10.2.0.0/16,fd02::/32",
	}
	for i := 0; i < len(more); i += 2 {
		raw[more[i].(string)] = more[i+1]
	}
	return s.session.Item("ip-tunnel", raw)
}

var farEnd = wire.PeerMatch{
	Node: "far", Service: "end", Cost: 1, Tags: map[string]string{"type": "IP Tunnel", "super": "1", "mtu": "1300"},
}

func TestKinds(t *testing.T) {
	t.Parallel()
	if _, err := New(&Settings{}).Hello(""); err != nil {
		t.Error(err)
	}
	router := func(localnet, routes string) map[string]any {
		return map[string]any{"networkname": "n", "localnet": localnet, "routes": routes}
	}
	tunnel := func(more ...any) map[string]any {
		raw := map[string]any{"service": "s", "remotenode": "n", "remoteservice": "s"}
		for i := 0; i < len(more); i += 2 {
			raw[more[i].(string)] = more[i+1]
		}
		return raw
	}
	for name, tc := range map[string]struct {
		kind string
		raw  map[string]any
		want string // a part of the error
	}{
		"a router":             {"ip-router", router("10.1.0.0/30", ""), ""},
		"with IPv6":            {"ip-router", router("10.1.0.0/30, fd01::/126", "10.2.0.0/16,fd02::/32"), ""},
		"without IPv4":         {"ip-router", router("fd01::/126", ""), "localnet: expected an IPv4 network with 30 bits"},
		"another length":       {"ip-router", router("10.1.0.0/24", ""), "localnet: expected networks of 4 addresses"},
		"two of a kind":        {"ip-router", router("10.1.0.0/30,10.1.0.4/30", ""), "one network of each kind"},
		"no network":           {"ip-router", router("10.1.0.0/30", "10.2.0.0"), `routes: expected networks such as 10.1.0.0/16, got "10.2.0.0"`},
		"too many":             {"ip-router", router("10.1.0.0/30", strings.Repeat("10.2.0.0/16,", maxRoutes+1)), "257 networks, at most 256"},
		"a tunnel":             {"tun-proxy", tunnel(), ""},
		"another name":         {"ip-tunnel", tunnel("ifaddress", "10.1.0.1/24"), ""},
		"mtu":                  {"tun-proxy", tunnel("mtu", "100"), "mtu: expected a number from 576 to 65000, got 100"},
		"mtu of IPv6":          {"tun-proxy", tunnel("mtu", "1279", "ifaddress", "fd01::1"), "mtu: expected a number from 1280"},
		"a name":               {"tun-proxy", tunnel("interface", "a/b"), `interface: expected a name of 1 to 15 bytes`},
		"a long name":          {"tun-proxy", tunnel("interface", "sixteen-of-these"), "interface: expected a name"},
		"a pattern":            {"tun-proxy", tunnel("interface", "tun%d"), "interface: expected a name"},
		"no address":           {"tun-proxy", tunnel("ifaddress", "here"), "ifaddress: expected"},
		"a zone":               {"tun-proxy", tunnel("ifaddress", "fe80::1%lo"), "ifaddress: expected"},
		"an other end of none": {"tun-proxy", tunnel("destaddress", "10.1.0.2"), "destaddress: there is no ifaddress"},
		"another kind":         {"tun-proxy", tunnel("ifaddress", "10.1.0.1", "destaddress", "fd01::2"), "destaddress fd01::2: there is no ifaddress of its kind"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &tun{settings: &Settings{}, make: func(host.Config) (device, error) { return nil, errors.New("none is needed") }}
			_, s := plugtest.Attached(t, p.plug())
			r := s.Configure(s.Item(tc.kind, tc.raw))
			got := ""
			if len(r.Errors) > 0 {
				got = r.Errors[0].Msg
			}
			if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// All that the host sends is for the other end, and what that sends is for the host; what
// others send is not.
func TestTunnel(t *testing.T) {
	t.Parallel()
	for _, offload := range []bool{false, true} {
		s := newStand(t, offload, Settings{})
		it := s.tunnel()
		d, p, b := s.serve(it)
		if b.Item != it.Item || b.Service != "vpn" || !b.Advertise || b.Tags["type"] != "IP Tunnel" || b.Tags["super"] != "1" || b.Watch["type"] != "IP Tunnel" {
			t.Errorf("PBIND %+v", b)
		}
		if d.config.MTU != 1400 || len(d.config.Addresses) != 2 || d.config.Addresses[1].Peer != netip.MustParseAddr("fd01::2") {
			t.Errorf("interface %+v", d.config)
		}
		d.waitRoutes(t, "10.2.0.0/16", "fd02::/32")
		if st := s.session.WaitItem(it.Item, wire.StateUp); st.Addr != "tun0" {
			t.Errorf("status %+v", st)
		}
		four, six := udp("10.1.0.1", "10.2.3.4", 100, false), udp("fd01::1", "fd02::7", 200, false)
		d.send(t, plain(four))
		flow := wantFlow(t, p, "far", "end")
		wantData(t, p, flow, four)
		d.send(t, plain(six))
		wantData(t, p, flow, six)

		back := udp("10.2.3.4", "10.1.0.1", 100, false)
		p.Send(flow, string(back))
		d.wantNext(t, plain(back))
		p.Peer(2, wire.Peer{Node: "stranger", Service: "end"})
		p.Send(2, string(back))
		s.session.WaitCount(countStranger, 1)
		p.Send(flow, "no packet")
		s.session.WaitCount(countBroken, 1)
		p.Send(flow, string(six))
		d.wantNext(t, plain(six))
	}
}

// Super-packets go as they are where the other end and the way take them, and are cut
// elsewhere; what comes is joined for a host that takes that.
func TestSuper(t *testing.T) {
	t.Parallel()
	s := newStand(t, true, Settings{})
	d, p, _ := s.serve(s.tunnel())
	super := tcp("10.1.0.1", "10.2.3.4", 3)
	var cut [][]byte
	send := func() { d.send(t, bytes.Clone(super)) }
	send()
	flow := wantFlow(t, p, "far", "end")
	for range 3 {
		r := p.Next()
		if len(r.Bytes) != 1040 || r.Bytes[0] != 0x45 {
			t.Fatalf("got %d bytes %.40x, want a packet of 1040", len(r.Bytes), r.Bytes)
		}
		cut = append(cut, []byte(r.Bytes))
	}
	// The way takes them; whether the other end does is not known.
	p.Peer(flow, wire.Peer{Node: "far", Service: "end", Caps: []string{wire.CapModern, wire.CapWhole}})
	whole := append([]byte{superMark}, super...)
	s.peers(farEnd)
	for {
		send()
		if r := p.Next(); r.Bytes[0] == superMark {
			if r.Bytes != string(whole) {
				t.Fatalf("got %.60x, want %.60x", r.Bytes, whole)
			}
			break
		}
		p.Next()
		p.Next()
	}
	p.Peer(flow, wire.Peer{Node: "far", Service: "end", Caps: []string{wire.CapModern}})
	for {
		send()
		if r := p.Next(); r.Bytes[0] != superMark {
			p.Next()
			p.Next()
			break
		}
	}

	p.Send(flow, string(whole))
	d.wantNext(t, super)
	whole[1] = 0xff // flags that nobody knows
	p.Send(flow, string(whole))
	s.session.WaitCount(countBroken, 1)
	for _, b := range cut {
		p.Send(flow, string(b))
	}
	got := 0
	for got < 3000 { // how many come together is a matter of time
		b := d.next(t)
		got += len(b) - packet.HeaderLen - 40
	}
	if got != 3000 {
		t.Errorf("%d bytes of payload, expected 3000", got)
	}
}

// A host that takes no super-packets gets those of others cut.
func TestSuperForPlainDevice(t *testing.T) {
	t.Parallel()
	s := newStand(t, false, Settings{})
	d, p, _ := s.serve(s.tunnel())
	p.Peer(2, wire.Peer{Node: "far", Service: "end"})
	p.Send(2, string(append([]byte{superMark}, tcp("10.2.3.4", "10.1.0.1", 3)...)))
	for range 3 {
		if b := d.next(t); len(b) != packet.HeaderLen+1040 {
			t.Errorf("%d bytes", len(b))
		}
	}
}

// Who sends what is too long hears what fits, the least that both ends' interfaces take;
// what may be cut is.
func TestTooBig(t *testing.T) {
	t.Parallel()
	s := newStand(t, true, Settings{})
	it := s.tunnel("mtu", 1350)
	d, p, _ := s.serve(it)
	d.send(t, plain(udp("10.1.0.1", "10.2.0.1", 1400, true)))
	flow := wantFlow(t, p, "far", "end")
	if b := d.wantICMP(t, "10.1.0.2", 3, 4); binary.BigEndian.Uint16(b[6:]) != 1350 {
		t.Errorf("mtu %d", binary.BigEndian.Uint16(b[6:]))
	}
	gone := farEnd
	gone.Cost = -1
	s.peers(gone)
	s.wantState(it, wire.StateDegraded, "")
	s.peers(farEnd) // whose interface takes 1300
	s.wantState(it, wire.StateUp, "")
	d.send(t, plain(udp("fd01::1", "fd02::1", 1400, true)))
	if b := d.wantICMP(t, "fd01::2", 2, 0); binary.BigEndian.Uint32(b[4:]) != 1300 {
		t.Errorf("mtu %d", binary.BigEndian.Uint32(b[4:]))
	}
	d.send(t, plain(udp("10.1.0.1", "10.2.0.1", 1400, false)))
	for _, want := range []int{1300, 20 + 8 + 1400 - 1280} {
		if r := p.Next(); r.Type != wire.RecordData || r.Flow != flow || len(r.Bytes) != want {
			t.Errorf("got a fragment of %d bytes, expected %d", len(r.Bytes), want)
		}
	}
}

// A service that is not there is told to the host and in the state, until it answers.
func TestTunnelUnreachable(t *testing.T) {
	t.Parallel()
	s := newStand(t, true, Settings{})
	it := s.tunnel()
	d, p, _ := s.serve(it)
	q := udp("10.1.0.1", "10.2.0.1", 10, false)
	d.send(t, plain(q))
	flow := wantFlow(t, p, "far", "end")
	wantData(t, p, flow, q)
	p.Gone(flow, wire.Gone{Code: wire.CodeUnreachable, Msg: "service unknown"})
	s.wantState(it, wire.StateDegraded, "service unknown")
	d.send(t, plain(q))
	d.wantICMP(t, "10.1.0.2", 3, 0)
	s.session.WaitCount(countNoWay, 1)
	p.Peer(2, wire.Peer{Node: "far", Service: "end"})
	p.Send(2, string(udp("10.2.0.1", "10.1.0.1", 10, false)))
	s.wantState(it, wire.StateUp, "")
}

// Routes go with the node of the other end, and come back with it. One that the host
// refuses is in the state, and the others are there.
func TestTunnelRoutes(t *testing.T) {
	t.Parallel()
	s := newStand(t, true, Settings{})
	it := s.tunnel()
	d, _, _ := s.serve(it)
	d.waitRoutes(t, "10.2.0.0/16", "fd02::/32")
	s.peers(farEnd)
	gone := farEnd
	gone.Cost = -1
	s.peers(gone)
	d.waitRoutes(t)
	s.wantState(it, wire.StateDegraded, "there is no way to far/end")
	d.refuse("fd02::/32", errors.New("route fd02::/32: this host has one"))
	s.peers(farEnd)
	d.waitRoutes(t, "10.2.0.0/16")
	s.wantState(it, wire.StateDegraded, "this host has one")
	s.peers()
	s.wantState(it, wire.StateDegraded, "not there any more")
	d.waitRoutes(t)
}

// The interface stays when the core goes, and packets flow with the next one. Who removes
// the interface has it made again.
func TestDeviceOutlivesCore(t *testing.T) {
	t.Parallel()
	s := newStand(t, true, Settings{})
	it := s.tunnel()
	d, p, _ := s.serve(it)
	q := udp("10.1.0.1", "10.2.0.1", 10, false)
	d.send(t, plain(q))
	wantData(t, p, wantFlow(t, p, "far", "end"), q)
	s.core.Kill()
	s.core.Start()
	s.session = s.core.Session()
	s.session.Configure(it)
	p, _ = s.bind()
	s.session.WaitItem(it.Item, wire.StateUp)
	s.ready(d, p)
	d.send(t, plain(q))
	wantData(t, p, wantFlow(t, p, "far", "end"), q)
	select {
	case <-s.devices:
		t.Error("another interface was made")
	default:
	}
	d.send(t, nil)
	s.device()
}

func site(node string, cost float64, routes ...string) wire.PeerMatch {
	m := wire.PeerMatch{Node: node, Service: "sites", Cost: cost, Tags: map[string]string{"type": "IP Router", "network": "sites"}}
	for i := 0; i < len(routes); i += 2 {
		m.Tags[routes[i]] = routes[i+1]
	}
	return m
}

func (s *stand) router() wire.ConfigItem {
	s.t.Helper()
	return s.session.Item("ip-router", map[string]any{
		"networkname": "sites", "interface": "tun3", "localnet": "10.1.0.0/30,fd01::/126", "routes": "10.9.0.0/16, fd09::/32",
	})
}

// Packets go to the site that has the longest prefix, and of several the cheapest.
func TestRouter(t *testing.T) {
	t.Parallel()
	s := newStand(t, true, Settings{})
	it := s.router()
	d, p, b := s.serve(it)
	want := map[string]string{
		"type": "IP Router", "network": "sites", "route_local": "10.1.0.0/30", "route_0": "10.9.0.0/16",
		"ip6_local": "fd01::/126", "ip6_1": "fd09::/32", "super": "1", "mtu": "1400",
	}
	if b.Service != "sites" || !b.Advertise || len(b.Tags) != len(want) || b.Watch["network"] != "sites" || b.Watch["type"] != "IP Router" {
		t.Errorf("PBIND %+v", b)
	}
	for k, v := range want {
		if b.Tags[k] != v {
			t.Errorf("tag %s is %q, want %q", k, b.Tags[k], v)
		}
	}
	if a := d.config.Addresses; len(a) != 2 || a[0].Prefix.String() != "10.1.0.1/30" || a[1].Prefix.String() != "fd01::1/126" {
		t.Errorf("addresses %v", a)
	}

	s.peers(
		site("dear", 5, "route_0", "10.2.0.0/16", "route_local", "10.1.1.0/30", "routeX", "10.3.7.0/24"),
		site("cheap", 2, "route_0", "10.2.0.0/16", "route_1", "10.3.0.0/16", "ip6_0", "fd02::/32", "route_2", "no network"),
		site("unreached", -1, "route_0", "10.4.0.0/16"),
		site("ours", 1, "route_0", "10.9.0.0/16"),
	)
	d.waitRoutes(t, "10.1.1.0/30", "10.2.0.0/16", "10.3.0.0/16", "10.3.7.0/24", "fd02::/32")
	flows := map[string]uint32{}
	for _, tc := range []struct{ from, to, node string }{
		{"10.9.0.1", "10.2.1.1", "cheap"},
		{"10.9.0.1", "10.3.7.1", "dear"},
		{"fd09::1", "fd02::1", "cheap"},
		{"10.9.0.1", "10.1.1.1", "dear"},
	} {
		q := udp(tc.from, tc.to, 10, false)
		d.send(t, plain(q))
		if flows[tc.node] == 0 {
			flows[tc.node] = wantFlow(t, p, tc.node, "sites")
		}
		wantData(t, p, flows[tc.node], q)
	}
	d.send(t, plain(udp("10.9.0.1", "10.4.0.1", 10, false)))
	d.wantICMP(t, "10.1.0.2", 3, 0)

	s.peers(site("dear", 5, "route_0", "10.2.0.0/16"))
	d.waitRoutes(t, "10.2.0.0/16")
	q := udp("10.9.0.1", "10.2.1.1", 10, false)
	d.send(t, plain(q))
	wantData(t, p, flows["dear"], q)
}

// Sites outlive the core, until the next one has had time to hear of them.
func TestRouterKeepsSites(t *testing.T) {
	t.Parallel()
	for _, grace := range []time.Duration{time.Hour, time.Millisecond} {
		s := newStandFor(t, true, Settings{}, grace)
		it := s.router()
		d, _, _ := s.serve(it)
		s.peers(site("one", 1, "route_0", "10.2.0.0/16"), site("other", 1, "route_0", "10.3.0.0/16"))
		d.waitRoutes(t, "10.2.0.0/16", "10.3.0.0/16")
		s.core.Kill()
		s.core.Start()
		s.session = s.core.Session()
		s.session.Configure(it)
		p, _ := s.bind()
		s.ready(d, p)
		s.peers(site("one", 1, "route_0", "10.4.0.0/16"))
		if grace == time.Hour {
			d.waitRoutes(t, "10.3.0.0/16", "10.4.0.0/16")
		} else {
			d.waitRoutes(t, "10.4.0.0/16")
		}
	}
}

// What another site tells of, and may not have, is refused and named; the rest is there.
func TestRouterLimits(t *testing.T) {
	t.Parallel()
	s := newStand(t, true, Settings{})
	it := s.router()
	d, _, _ := s.serve(it)
	s.peers(site("greedy", 1, "route_0", "0.0.0.0/0", "route_1", "10.2.0.0/16", "ip6_0", "::/0"))
	d.waitRoutes(t, "10.2.0.0/16")
	s.wantState(it, wire.StateDegraded, "greedy: route 0.0.0.0/0 is not allowed on this host: allow-route is 10.0.0.0/8")
	s.peers(site("greedy", 1, "route_1", "10.2.0.0/16"))
	s.wantState(it, wire.StateUp, "")
}

// What the core may not have done is refused, with the item, the value and the limit.
func TestLimitsOfItems(t *testing.T) {
	t.Parallel()
	tight := Limits{}
	for _, err := range []error{tight.AllowInterface("vpn?"), tight.AllowRoute("10.1.0.0/16"), tight.AllowRoute("fd00::/8")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		limits Limits
		params []any
		want   string // empty: allowed
	}{
		"default":            {},
		"eth0":               {params: []any{"interface", "eth0"}, want: "interface eth0 is not allowed on this host: allow-interface is receptor*, tun*, as nothing else is said"},
		"all traffic":        {params: []any{"route", "0.0.0.0/0"}, want: "route 0.0.0.0/0 is not allowed"},
		"half of it":         {params: []any{"route", "128.0.0.0/1"}, want: "route 128.0.0.0/1 is not allowed"},
		"somebody's address": {params: []any{"ifaddress", "8.8.8.8", "destaddress", ""}, want: "address 8.8.8.8/32 is not allowed"},
		"somebody's end":     {params: []any{"destaddress", "8.8.8.8"}, want: "destaddress 8.8.8.8/32 is not allowed"},
		"all of 6":           {params: []any{"route", "::/0"}, want: "route ::/0 is not allowed"},
		"a name":             {limits: tight, params: []any{"interface", "vpn1", "route", "10.1.2.0/24"}},
		"another name":       {limits: tight, params: []any{"interface", "vpn10", "route", "10.1.2.0/24"}, want: "interface vpn10 is not allowed on this host: allow-interface is vpn?"},
		"the kernel's name":  {limits: tight, params: []any{"route", "10.1.2.0/24"}, want: "interface tun0 is not allowed"},
		"more than allowed":  {limits: tight, params: []any{"interface", "vpn1", "route", "10.0.0.0/15"}, want: "route 10.0.0.0/15 is not allowed on this host: allow-route is 10.1.0.0/16, fd00::/8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, true, Settings{Limits: tc.limits})
			it := s.tunnel(tc.params...)
			s.session.Configure(it)
			if tc.want == "" {
				s.bind()
				s.wantState(it, wire.StateUp, "")
				return
			}
			s.wantState(it, wire.StateFailed, tc.want)
		})
	}
}

// Without the capability an item says so, and makes nothing.
func TestLacking(t *testing.T) {
	t.Parallel()
	s := newStand(t, true, Settings{Lacking: errors.New("the capability is missing")})
	it := s.router()
	s.session.Configure(it)
	s.wantState(it, wire.StateFailed, "the capability is missing")
	if len(s.devices) > 0 {
		t.Error("an interface was made")
	}
}
