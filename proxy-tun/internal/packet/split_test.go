package packet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"
	"testing"
)

func itoa(n int) string { return strconv.Itoa(n) + "B" }

var superPackets = []struct {
	name string
	spec spec
	size int
	want int // packets
}{
	{"TCP over IPv4", segment4(numbered(60000)), 1360, 45},
	{"TCP over IPv6", segment6(numbered(60000)), 1340, 45},
	{"a last segment of one byte", segment4(numbered(2721)), 1360, 3},
	{"segments all alike", segment6(numbered(2720)), 1360, 2},
	{"odd segments", segment4(numbered(2000)), 333, 7},
	{"one segment", segment4(numbered(100)), 1360, 1},
	{"ends, with congestion seen", segment4(numbered(5000)).with(func(s *spec) { s.flags |= flagFIN | flagPSH | flagCWR | 0x40 }), 1360, 4},
	{"no options of TCP", segment4(numbered(5000)).with(func(s *spec) { s.tcpOptions = nil }), 1360, 4},
	{"options of IPv4", segment4(numbered(5000)).with(func(s *spec) { s.ipOptions = []byte{1, 1, 1, 0} }), 1360, 4},
	{"numbers that wrap", segment4(numbered(5000)).with(func(s *spec) { s.id, s.seq = 0xfffe, 0xffffff00 }), 1360, 4},
	{"an extension header", segment6(numbered(5000)).with(func(s *spec) { s.extension, s.ipOptions = 60, []byte{6, 0, 1, 4, 0, 0, 0, 0} }), 1360, 4},
	{"UDP over IPv4", datagram4(numbered(60000)), 1372, 44},
	{"UDP over IPv6", datagram6(numbered(60000)), 1352, 45},
	{"as many datagrams as there may be", datagram4(numbered(128)), 1, 128},
	{"the longest", segment4(numbered(0xffff - 52)), 1360, 49},
}

func TestSplit(t *testing.T) {
	t.Parallel()
	for _, c := range superPackets {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h, p := c.spec.super(c.size)
			all, err := splitAll(h, p)
			if err != nil {
				t.Fatal(err)
			}
			if len(all) != c.want {
				t.Fatalf("%d packets, want %d", len(all), c.want)
			}
			if n, err := Longest(h, p); err != nil || n != len(all[0]) {
				t.Errorf("the longest is said to be of %d bytes, and is of %d: %v", n, len(all[0]), err)
			}
			var rest []byte // what they carry
			for i, got := range all {
				s := c.spec // what the kernel would have sent by itself
				s.payload = c.spec.payload[i*c.size : min((i+1)*c.size, len(c.spec.payload))]
				s.id += uint16(i)
				s.seq += uint32(i * c.size)
				if i > 0 {
					s.flags &^= flagCWR
				}
				if i < len(all)-1 {
					s.flags &^= flagFIN | flagPSH
				}
				if want := s.build(); !bytes.Equal(got, want) {
					t.Fatalf("packet %d\n got % x\nwant % x", i, got[:min(len(got), 80)], want[:min(len(want), 80)])
				}
				if err := checkSums(got); err != nil {
					t.Errorf("packet %d: %v", i, err)
				}
				rest = append(rest, s.payload...)
			}
			if !bytes.Equal(rest, c.spec.payload) {
				t.Error("what the packets carry is not what the super-packet did")
			}
		})
	}
}

func TestSplitUsesScratch(t *testing.T) {
	t.Parallel()
	h, p := segment4(numbered(3000)).super(1360)
	scratch := make([]byte, 2000)
	if err := Split(h, p, scratch, func(b []byte) error {
		if &b[0] != &scratch[0] {
			t.Error("a packet lies elsewhere")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestSplitStops(t *testing.T) {
	t.Parallel()
	h, p := segment4(numbered(3000)).super(1360)
	full, n := errors.New("full"), 0
	err := Split(h, p, nil, func([]byte) error {
		if n++; n == 2 {
			return full
		}
		return nil
	})
	if !errors.Is(err, full) || n != 2 {
		t.Errorf("%v after %d packets", err, n)
	}
}

func TestSplitRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		spec   spec
		change func(h *Header, p []byte)
		want   error
	}{
		{"nothing to be cut", segment4(nil), nil, errSuper},
		{"a flag that is unknown", segment4(numbered(99)), func(h *Header, _ []byte) { h.Flags |= 8 }, errFlags},
		{"a type that is unknown", segment4(numbered(99)), func(h *Header, _ []byte) { h.GSOType = 3 }, errGSOType},
		{"ECN of UDP", datagram4(numbered(99)), func(h *Header, _ []byte) { h.GSOType |= GSOECN }, errGSOType},
		{"IPv4 as IPv6", segment4(numbered(99)), func(h *Header, _ []byte) { h.GSOType = GSOTCPv6 }, errGSOType},
		{"IPv6 as IPv4", segment6(numbered(99)), func(h *Header, _ []byte) { h.GSOType = GSOTCPv4 }, errGSOType},
		{"UDP as TCP", datagram4(numbered(99)), func(h *Header, _ []byte) { h.GSOType = GSOTCPv4 }, errGSOType},
		{"TCP as UDP", segment4(numbered(99)), func(h *Header, _ []byte) { h.GSOType = GSOUDP }, errGSOType},
		{"segments of nothing", segment4(numbered(99)), func(h *Header, _ []byte) { h.GSOSize = 0 }, errGSOSize},
		{"segments that blow it up", segment4(numbered(99)), func(h *Header, _ []byte) { h.GSOSize = 7 }, errGSOSize},
		{"datagrams of nothing", datagram4(numbered(99)), func(h *Header, _ []byte) { h.GSOSize = 0 }, errGSOSize},
		{"too many datagrams", datagram4(numbered(129)), func(h *Header, _ []byte) { h.GSOSize = 1 }, errGSOSize},
		{"a checksum that is there", segment4(numbered(99)), func(h *Header, _ []byte) { h.Flags = 0 }, errChecksum},
		{"a checksum that begins elsewhere", segment4(numbered(99)), func(h *Header, _ []byte) { h.CsumStart += 2 }, errChecksum},
		{"a checksum that lies elsewhere", segment4(numbered(99)), func(h *Header, _ []byte) { h.CsumOffset -= 2 }, errChecksum},
		{"headers longer than the packet", segment4(numbered(99)), func(h *Header, p []byte) { h.HdrLen = uint16(len(p)) + 1 }, errHdrLen},
		{"a packet longer than it says", segment4(numbered(99)), func(_ *Header, p []byte) { p[3]-- }, errSuper},
		{"a packet shorter than it says", segment4(numbered(99)), func(_ *Header, p []byte) { p[3]++ }, errShort},
		{"a fragment", segment4(numbered(99)).with(func(s *spec) { s.fragment = 0x2000 }), nil, errSuper},
		{"a later fragment", datagram4(numbered(99)).with(func(s *spec) { s.fragment = 3 }), nil, errSuper},
		{"an IP header too short", segment4(numbered(99)), func(_ *Header, p []byte) { p[0] = 0x44 }, errLength},
		{"an IP header too long", segment4(nil), func(_ *Header, p []byte) { p[0] = 0x4f; p[3] = 59 }, errLength},
		{"a TCP header too short", segment4(numbered(99)), func(_ *Header, p []byte) { p[32] = 0x40 }, errNoTCP},
		{"a TCP header longer than the packet", segment4(nil), func(_ *Header, p []byte) { p[32] = 0xf0 }, errNoTCP},
		{"no whole UDP header", datagram4(numbered(99)), func(h *Header, p []byte) { p[0] = 0x4f }, nil},
		{"a connection that begins", segment4(numbered(99)).with(func(s *spec) { s.flags |= flagSYN }), nil, errSuper},
		{"a connection that breaks", segment4(numbered(99)).with(func(s *spec) { s.flags |= flagRST }), nil, errSuper},
		{"urgent data", segment4(numbered(99)).with(func(s *spec) { s.flags |= flagURG }), nil, errSuper},
		{"neither IPv4 nor IPv6", segment4(numbered(99)), func(_ *Header, p []byte) { p[0] = 0x55 }, errVersion},
		{"a route to go on", segment6(numbered(99)).with(func(s *spec) { s.extension, s.ipOptions = 43, []byte{6, 0, 0, 1, 0, 0, 0, 0} }), nil, errSuper},
		{"a fragment of IPv6", segment6(numbered(99)).with(func(s *spec) { s.extension, s.ipOptions = 44, []byte{6, 0, 0, 1, 0, 0, 0, 0} }), nil, errSuper},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h, p := c.spec.super(50)
			if c.change != nil {
				c.change(&h, p)
			}
			all, err := splitAll(h, p)
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%d packets, %v; want %v", len(all), err, c.want)
			}
			if len(all) > 0 {
				t.Errorf("%d packets before the error", len(all))
			}
			if n, err := Longest(h, p); err == nil {
				t.Errorf("the longest packet would be of %d bytes", n)
			}
		})
	}
}

// TestSplitPrefixes: whatever is missing at the end of a super-packet, it is refused.
func TestSplitPrefixes(t *testing.T) {
	t.Parallel()
	for _, c := range superPackets {
		if len(c.spec.payload) > 5000 {
			continue
		}
		h, p := c.spec.super(c.size)
		for n := range p {
			if all, err := splitAll(h, p[:n:n]); err == nil {
				t.Fatalf("%s: %d packets out of the first %d bytes", c.name, len(all), n)
			}
		}
	}
}

func TestComplete(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]spec{
		"TCP": segment4(numbered(99)), "TCP over IPv6": segment6(nil), "UDP": datagram4(numbered(1)), "UDP over IPv6": datagram6(numbered(100)),
		// The payload makes the sum such that the checksum is 0, which UDP writes as ffff.
		"UDP whose sum is nothing": zeroSum(datagram4(nil)),
	} {
		want := s.build()
		h, p := s.super(0)
		h.GSOType = GSONone
		if err := Complete(h, p); err != nil || !bytes.Equal(p, want) {
			t.Errorf("%s: %v\n got % x\nwant % x", name, err, p, want)
		}
		h.Flags = ChecksumValid
		if err := Complete(h, p); err != nil || !bytes.Equal(p, want) {
			t.Errorf("%s was changed, though there is nothing to be completed: %v", name, err)
		}
		// The same by Split, which emits the packet itself.
		h, p = s.super(0)
		h.GSOType = GSONone
		if err := Split(h, p, nil, func(b []byte) error {
			if &b[0] != &p[0] || !bytes.Equal(b, want) {
				t.Errorf("%s: Split emits % x", name, b)
			}
			return nil
		}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// zeroSum gives s a payload of two bytes that bring its sum to nothing.
func zeroSum(s spec) spec {
	s.payload = []byte{0, 0}
	p := s.build()
	s.payload = []byte{p[26], p[27]}
	return s
}

func TestCompleteRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(h *Header){
		"a super-packet":            func(h *Header) { h.GSOType = GSOTCPv4 },
		"a checksum of the IP":      func(h *Header) { h.CsumStart, h.CsumOffset = 0, 10 },
		"a checksum on an address":  func(h *Header) { h.CsumStart, h.CsumOffset = 18, 0 },
		"a checksum behind the end": func(h *Header) { h.CsumStart, h.CsumOffset = 20, 111-20 },
		"one half behind the end":   func(h *Header) { h.CsumStart, h.CsumOffset = 20, 150-20 },
		"numbers that are too large": func(h *Header) {
			h.CsumStart, h.CsumOffset = 0xffff, 0xffff
		},
	} {
		h, p := segment4(numbered(99)).super(0)
		p[3] = 111 // 40 bytes behind the end
		h.GSOType = GSONone
		change(&h)
		before := bytes.Clone(p)
		if err := Complete(h, p); err == nil {
			t.Errorf("%s was completed", name)
		}
		if _, err := Longest(h, p); err == nil && !h.Super() {
			t.Errorf("%s has a length", name)
		}
		if !bytes.Equal(p, before) {
			t.Errorf("%s: the packet was changed", name)
		}
	}
}

// TestSplitAllocs: cutting takes no memory, for which there is scratch.
func TestSplitAllocs(t *testing.T) {
	h, p := segment4(numbered(60000)).super(1360)
	scratch := make([]byte, 2048)
	total := 0
	emit := func(b []byte) error {
		total += len(b)
		return nil
	}
	if n := testing.AllocsPerRun(100, func() {
		if err := Split(h, p, scratch, emit); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("a super-packet takes %v allocations", n)
	}
	if total == 0 {
		t.Error("nothing was emitted")
	}
}

func FuzzSplit(f *testing.F) {
	for _, c := range superPackets {
		if len(c.spec.payload) <= 5000 {
			h, p := c.spec.super(c.size)
			f.Add(append(h.Append(nil), p...))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := ParseHeader(b)
		if err != nil {
			return
		}
		p := b[n:]
		all, err := splitAll(h, p)
		longest, lerr := Longest(h, p)
		if (err == nil) != (lerr == nil) || err == nil && len(all[0]) < longest {
			t.Fatalf("the longest is of %d bytes, %v; %d packets, %v", longest, lerr, len(all), err)
		}
		if err != nil || !h.Super() {
			if len(all) > 1 || err != nil && len(all) > 0 {
				t.Fatalf("%d packets, %v", len(all), err)
			}
			return
		}
		var rest []byte
		l, err := parse(p)
		if err != nil {
			t.Fatal(err)
		}
		headers := l.transport + 8
		if l.protocol == protoTCP {
			headers = l.transport + l.tcpHeader(p)
		}
		for i, out := range all {
			if err := checkSums(out); err != nil {
				t.Fatalf("packet %d: %v", i, err)
			}
			if len(out) > headers+int(h.GSOSize) {
				t.Fatalf("packet %d is of %d bytes", i, len(out))
			}
			if l.protocol == protoTCP && binary.BigEndian.Uint32(out[l.transport+4:]) != binary.BigEndian.Uint32(p[l.transport+4:])+uint32(len(rest)) {
				t.Fatalf("packet %d has another sequence number", i)
			}
			rest = append(rest, out[headers:]...)
		}
		if !bytes.Equal(rest, p[headers:]) {
			t.Fatal("what the packets carry is not what the super-packet did")
		}
	})
}

func BenchmarkSplit(b *testing.B) {
	for name, s := range map[string]spec{"TCPv4": segment4(numbered(60000)), "TCPv6": segment6(numbered(60000)), "UDPv4": datagram4(numbered(60000))} {
		b.Run(name, func(b *testing.B) {
			h, p := s.super(1348)
			scratch := make([]byte, 2048)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				if err := Split(h, p, scratch, func([]byte) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
