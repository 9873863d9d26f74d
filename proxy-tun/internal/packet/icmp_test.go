package packet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

var (
	from4 = netip.MustParseAddr("10.0.0.254")
	from6 = netip.MustParseAddr("fd00::fe")
)

func icmp(s spec, protocol uint8, payload ...byte) spec {
	s.protocol, s.payload = protocol, payload
	return s
}

// answered are packets, and whether they may be answered that they are too big, and
// that there is no way.
var answered = []struct {
	name                string
	spec                spec
	from                netip.Addr
	tooBig, unreachable bool
}{
	{"a segment", segment4(numbered(1400)), from4, true, true},
	{"of IPv6", segment6(numbered(1400)), from6, true, true},
	{"a small one", segment4(nil), from4, true, true},
	{"a small one of IPv6", datagram6(nil), from6, true, true},
	{"the longest", segment4(numbered(0xffff - 52)), from4, true, true},
	{"without DF", datagram4(numbered(1400)).with(func(s *spec) { s.fragment = 0 }), from4, false, true},
	{"a first fragment", datagram4(numbered(1400)).with(func(s *spec) { s.fragment = 0x6000 }), from4, true, true},
	{"a later fragment", datagram4(numbered(1400)).with(func(s *spec) { s.fragment = 0x4001 }), from4, false, false},
	{"an inquiry", icmp(segment4(nil), 1, 8, 0, 0, 0), from4, true, true},
	{"an ICMP error", icmp(segment4(nil), 1, 3, 4, 0, 0), from4, false, false},
	{"a redirect", icmp(segment4(nil), 1, 5, 0, 0, 0), from4, false, false},
	{"ICMP cut off", icmp(segment4(nil), 1), from4, false, false},
	{"to many", segment4(nil).with(func(s *spec) { s.dst = "224.0.0.9" }), from4, false, false},
	{"to all", segment4(nil).with(func(s *spec) { s.dst = "255.255.255.255" }), from4, false, false},
	{"from many", segment4(nil).with(func(s *spec) { s.src = "224.0.0.9" }), from4, false, false},
	{"from all", segment4(nil).with(func(s *spec) { s.src = "255.255.255.255" }), from4, false, false},
	{"from nobody", segment4(nil).with(func(s *spec) { s.src = "0.0.0.0" }), from4, false, false},
	{"from oneself", segment4(nil).with(func(s *spec) { s.src = "127.0.0.1" }), from4, false, false},
	{"by an address of IPv6", segment4(nil), from6, false, false},
	{"by an address of IPv4", segment6(nil), from4, false, false},
	{"by an address of IPv4 in IPv6", segment6(nil), netip.MustParseAddr("::ffff:10.0.0.254"), false, false},
	{"by no address", segment6(nil), netip.Addr{}, false, false},
	{"by the address of nobody", segment6(nil), netip.IPv6Unspecified(), false, false},
	{"an inquiry of IPv6", icmp(segment6(nil), 58, 128, 0, 0, 0), from6, true, true},
	{"an ICMPv6 error", icmp(segment6(nil), 58, 2, 0, 0, 0), from6, false, false},
	{"an ICMPv6 redirect", icmp(segment6(nil), 58, 137, 0, 0, 0), from6, false, false},
	{"ICMPv6 cut off", icmp(segment6(nil), 58), from6, false, false},
	{"an ICMPv6 error behind an extension header", icmp(segment6(nil), 58, 2, 0, 0, 0).with(func(s *spec) {
		s.extension, s.ipOptions = 60, []byte{58, 0, 1, 4, 0, 0, 0, 0}
	}), from6, false, false},
	{"a later fragment of ICMPv6", icmp(segment6(nil), 58, 128, 0, 0, 0).with(func(s *spec) {
		s.extension, s.ipOptions = 44, []byte{58, 0, 0, 8, 0, 0, 0, 0}
	}), from6, false, false},
	{"a later fragment of IPv6", segment6(nil).with(func(s *spec) {
		s.extension, s.ipOptions = 44, []byte{6, 0, 0, 8, 0, 0, 0, 0}
	}), from6, true, true},
	{"to many of IPv6", segment6(nil).with(func(s *spec) { s.dst = "ff02::1" }), from6, true, false},
	{"from many of IPv6", segment6(nil).with(func(s *spec) { s.src = "ff02::1" }), from6, false, false},
	{"from nobody of IPv6", segment6(nil).with(func(s *spec) { s.src = "::" }), from6, false, false},
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range answered {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := c.spec.build()
			kind, code := uint8(3), uint8(4)
			if c.spec.v6() {
				kind, code = 2, 0
			}
			b, ok := TooBig([]byte("front"), p, 1280, c.from)
			checkAnswer(t, b, ok, c.tooBig, p, c.from, kind, code, 1280)
			if kind == 2 {
				kind = 1
			}
			b, ok = Unreachable([]byte("front"), p, c.from)
			checkAnswer(t, b, ok, c.unreachable, p, c.from, kind, 0, 0)
		})
	}
}

// checkAnswer checks an answer to p that stands behind "front".
func checkAnswer(t *testing.T, b []byte, ok, want bool, p []byte, from netip.Addr, kind, code uint8, rest uint32) {
	t.Helper()
	if ok != want {
		t.Fatalf("answered: %v, want %v", ok, want)
	}
	front, b := b[:5], b[5:]
	if string(front) != "front" {
		t.Errorf("what was there became %q", front)
	}
	if !ok {
		if len(b) > 0 {
			t.Errorf("nothing may be sent, and % x was appended", b)
		}
		return
	}
	src, dst, err := Addresses(b)
	sender, _, _ := Addresses(p)
	if err != nil || src != from || dst != sender {
		t.Errorf("an answer from %v to %v, %v", src, dst, err)
	}
	l, err := parse(b)
	if err != nil || l.end != len(b) {
		t.Fatalf("%+v of %d bytes, %v", l, len(b), err)
	}
	icmp := b[l.transport:]
	longest := 576
	if l.v6 {
		longest = 1280
		if l.protocol != 58 {
			t.Errorf("protocol %d", l.protocol)
		}
		if err := checkSums(b); err != nil {
			t.Error(err)
		}
	} else {
		if l.protocol != 1 {
			t.Errorf("protocol %d", l.protocol)
		}
		if a, b := slowChecksum(b[:20]), slowChecksum(icmp); a != 0 || b != 0 {
			t.Errorf("checksums are off by %04x and %04x", a, b)
		}
	}
	if icmp[0] != kind || icmp[1] != code || binary.BigEndian.Uint32(icmp[4:]) != rest {
		t.Errorf("it begins with % x", icmp[:8])
	}
	if want := min(longest, l.transport+8+len(p)); len(b) != want {
		t.Errorf("it is of %d bytes, want %d", len(b), want)
	}
	if !bytes.HasPrefix(p, icmp[8:]) {
		t.Error("what it quotes is not the packet")
	}
}

func TestTooBigSaysWhatFits(t *testing.T) {
	t.Parallel()
	b, ok := TooBig(nil, segment4(nil).build(), 100000, from4)
	if !ok || binary.BigEndian.Uint32(b[24:]) != 0xffff {
		t.Errorf("%v, % x", ok, b)
	}
}

func TestAnswersPrefixes(t *testing.T) {
	t.Parallel()
	for _, c := range answered {
		if len(c.spec.payload) > 100 {
			continue
		}
		p := c.spec.build()
		for n := range p {
			if b, ok := TooBig(nil, p[:n:n], 1280, c.from); ok || len(b) > 0 {
				t.Errorf("%s: the first %d bytes were answered", c.name, n)
			}
			if b, ok := Unreachable(nil, p[:n:n], c.from); ok || len(b) > 0 {
				t.Errorf("%s: the first %d bytes were answered", c.name, n)
			}
		}
	}
}

func FuzzTooBig(f *testing.F) {
	for _, c := range answered {
		if len(c.spec.payload) <= 1400 {
			f.Add(c.spec.build(), 1280)
		}
	}
	f.Fuzz(func(t *testing.T, p []byte, mtu int) {
		for _, from := range []netip.Addr{from4, from6} {
			for _, answer := range []func() ([]byte, bool){
				func() ([]byte, bool) { return TooBig(nil, p, mtu, from) },
				func() ([]byte, bool) { return Unreachable(nil, p, from) },
			} {
				b, ok := answer()
				if !ok {
					continue
				}
				if src, _, err := Addresses(b); err != nil || src != from {
					t.Fatalf("an answer from %v, %v", src, err)
				}
				if _, ok := Unreachable(nil, b, from); ok {
					t.Fatal("an answer was answered")
				}
			}
		}
	})
}
