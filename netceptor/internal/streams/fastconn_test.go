//go:build linux

package streams

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

func newTestFastConn(tb testing.TB, send sendFunc) *fastConn {
	c, err := newFastConn(MakeEndpoint(1, svc("dialler")), send)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c.(*fastConn)
}

func messages(n int) []ipv4.Message {
	ms := make([]ipv4.Message, n)
	for i := range ms {
		ms[i].Buffers = [][]byte{make([]byte, maxPacket)}
		ms[i].OOB = make([]byte, 128)
	}
	return ms
}

// What quic-go reads is what was put: sender, local address and ECN bits.
func TestReadBatch(t *testing.T) {
	t.Parallel()
	c := newTestFastConn(t, nil)
	from := MakeEndpoint(0xA1A2A3A4A5A6A7A8, svc("eightsvc"))
	for i := range 5 {
		c.put(from, MakeEndpoint(uint64(i), svc("to")), []byte{byte(i)}, uint8(i&3))
	}
	ms := messages(8)
	n, err := c.ReadBatch(ms, 0)
	if err != nil || n != 5 {
		t.Fatalf("%d messages, %v", n, err)
	}
	for i, m := range ms[:n] {
		if m.N != 1 || m.Buffers[0][0] != byte(i) || endpointOf(m.Addr) != from || m.Addr != ms[0].Addr {
			t.Errorf("message %d is %d bytes from %v", i, m.N, m.Addr)
		}
		var info, class bool
		for oob := m.OOB[:m.NN]; len(oob) > 0; {
			h, body, rest, err := unix.ParseOneSocketControlMessage(oob)
			if err != nil {
				t.Fatal(err)
			}
			switch h.Type {
			case unix.IPV6_PKTINFO:
				info = true
				want := netip.AddrFrom16(MakeEndpoint(uint64(i), svc("to")))
				if got := netip.AddrFrom16([16]byte(body[:16])); got != want || len(body) != 20 {
					t.Errorf("message %d is for %v, want %v", i, got, want)
				}
			case unix.IPV6_TCLASS:
				class = true
				if got := binary.NativeEndian.Uint32(body); got != uint32(i&3) || len(body) != 4 {
					t.Errorf("message %d has ECN %d", i, got)
				}
			}
			oob = rest
		}
		if !info || !class {
			t.Errorf("message %d: packet info %v, traffic class %v", i, info, class)
		}
	}
}

func TestReadBatchAllocs(t *testing.T) {
	c := newTestFastConn(t, nil)
	ms, p := messages(8), make([]byte, 1400)
	if n := testing.AllocsPerRun(100, func() {
		c.put(Endpoint{}, Endpoint{}, p, 0)
		if _, err := c.ReadBatch(ms, 0); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a batch", n)
	}
}

func TestPeerAddrsAreBounded(t *testing.T) {
	t.Parallel()
	c := newTestFastConn(t, nil)
	for i := range 2*maxPeerAddrs + 10 {
		c.peerAddr(MakeEndpoint(uint64(i), svc("x")))
	}
	if len(c.addrs) > maxPeerAddrs {
		t.Errorf("%d addresses are kept", len(c.addrs))
	}
}

// segmentMessage is the control message for GSO.
func segmentMessage(size uint16) []byte {
	b := make([]byte, unix.CmsgSpace(2))
	binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(2)))
	binary.NativeEndian.PutUint32(b[8:], unix.IPPROTO_UDP)
	binary.NativeEndian.PutUint32(b[12:], unix.UDP_SEGMENT)
	binary.NativeEndian.PutUint16(b[16:], size)
	return b
}

func TestWriteMsgUDP(t *testing.T) {
	t.Parallel()
	type sent struct {
		src, dst Endpoint
		size     int
		segment  int
		ecn      uint8
	}
	var got sent
	c := newTestFastConn(t, func(src, dst Endpoint, b []byte, segment int, ecn uint8) {
		got = sent{src, dst, len(b), segment, ecn}
	})
	to := MakeEndpoint(2, svc("to"))
	src := MakeEndpoint(1, svc("service"))
	info := (&ipv6.ControlMessage{Src: net.IP(src[:]), TrafficClass: 2}).Marshal()
	for _, tc := range []struct {
		name string
		oob  []byte
		want sent
	}{
		{"plain", nil, sent{c.self, to, maxSent, maxSent, 0}},
		{"from a service", info, sent{src, to, 1300, 1300, 2}},
		{"segments", segmentMessage(1200), sent{c.self, to, 3000, 1200, 0}},
		{"all", append(bytes.Clone(info), segmentMessage(1200)...), sent{src, to, 3000, 1200, 2}},
		{"larger than other ways take", nil, sent{size: maxSent + 1}},
	} {
		size := tc.want.size
		if got = (sent{}); size > maxSent && tc.want.segment == 0 {
			tc.want = sent{} // as if it was lost
		}
		n, _, err := c.WriteMsgUDP(make([]byte, size), tc.oob, to.addr())
		if err != nil || n != size || got != tc.want {
			t.Errorf("%s: sent %+v, %d, %v, want %+v", tc.name, got, n, err, tc.want)
		}
	}
	if _, _, err := c.WriteMsgUDP([]byte{1}, []byte{1, 2, 3}, to.addr()); err == nil {
		t.Error("bad control messages are taken")
	}
}

// Nobody but itself can send to the dummy socket.
func TestDummySocketIsClosedToOthers(t *testing.T) {
	t.Parallel()
	c := newTestFastConn(t, nil)
	other, err := net.DialUDP("udp4", nil, c.dummy.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	_, _ = other.Write([]byte("fill it"))
	raw, err := c.dummy.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if n, err := unix.IoctlGetInt(int(fd), unix.SIOCINQ); err != nil || n != 0 {
			t.Errorf("%d bytes wait: %v", n, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

func FuzzParseOOB(f *testing.F) {
	f.Add(segmentMessage(1200))
	f.Add((&ipv6.ControlMessage{Src: net.IPv6loopback, TrafficClass: 1}).Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		_, segment, ecn, err := parseOOB(b)
		if err == nil && (segment < 0 || segment > 65535 || ecn > 3) {
			t.Errorf("segment %d, ecn %d", segment, ecn)
		}
	})
}
