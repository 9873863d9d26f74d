package packet

import (
	"bytes"
	"net/netip"
	"testing"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]spec{
		"IPv4": segment4(numbered(9)), "IPv6": datagram6(nil), "another protocol": segment4(nil).with(func(s *spec) { s.protocol = 99 }),
		"options": segment4(nil).with(func(s *spec) { s.ipOptions = []byte{1, 1, 1, 1} }),
		"a fragment": segment6(numbered(9)).with(func(s *spec) {
			s.extension, s.ipOptions = 44, []byte{6, 0, 1, 1, 0, 0, 0, 0}
		}),
	} {
		p := s.build()
		src, dst, err := Addresses(append(p, 1, 2, 3)) // what is behind the end does not matter
		if err != nil || src != netip.MustParseAddr(s.src) || dst != netip.MustParseAddr(s.dst) {
			t.Errorf("%s: %v to %v, %v", name, src, dst, err)
		}
		for n := range p {
			if _, _, err := Addresses(p[:n:n]); err == nil {
				t.Errorf("%s: the first %d of %d bytes were taken for a packet", name, n, len(p))
			}
		}
	}
}

func TestAddressesRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(p []byte){
		"version 5":                 func(p []byte) { p[0] = 0x55 },
		"a header that is short":    func(p []byte) { p[0] = 0x44 },
		"a header beyond the end":   func(p []byte) { p[0] = 0x4f; p[3] = 40 },
		"shorter than its header":   func(p []byte) { p[3] = 19 },
		"longer than what is there": func(p []byte) { p[3]++ },
	} {
		p := segment4(numbered(30)).build()
		change(p)
		if _, _, err := Addresses(p); err == nil {
			t.Errorf("%s was taken for a packet", name)
		}
	}
	// One extension header that reaches beyond the end.
	p := segment6(nil).with(func(s *spec) { s.extension, s.ipOptions = 60, []byte{6, 200, 0, 0, 0, 0, 0, 0} }).build()
	if _, _, err := Addresses(p); err == nil {
		t.Error("an extension header that is longer than the packet was taken")
	}
}

// TestExtensions: the transport is found behind them, up to a bound.
func TestExtensions(t *testing.T) {
	t.Parallel()
	const each = "\x3c\x00\x01\x04\x00\x00\x00\x00" // another one of kind 60 follows
	for n := 1; n < 20; n++ {
		options := bytes.Repeat([]byte(each), n)
		options[len(options)-8] = 6
		p := segment6(numbered(3)).with(func(s *spec) { s.extension, s.ipOptions = 60, options }).build()
		l, err := parse(p)
		if err != nil {
			t.Fatal(err)
		}
		if found := l.protocol == 6 && l.transport == 40+8*n; found != (n <= maxExtensions) {
			t.Errorf("%d extension headers: %+v", n, l)
		}
	}
}

// TestLaterFragment: what stands in the middle of a datagram is not taken for a header.
func TestLaterFragment(t *testing.T) {
	t.Parallel()
	p := datagram6([]byte{6, 255, 0, 0, 0, 0, 0, 0}).with(func(s *spec) {
		s.extension, s.ipOptions = 44, []byte{60, 0, 0, 8, 0, 0, 0, 0}
		s.fragment = 1
	}).build()
	l, err := parse(p)
	if err != nil || !l.fragment || !l.later || l.protocol != protoDestination || l.transport != 48 {
		t.Errorf("%+v, %v", l, err)
	}
}

// TestAddressesAllocs: looking takes no memory.
func TestAddressesAllocs(t *testing.T) {
	four, six := segment4(numbered(9)).build(), segment6(numbered(9)).build()
	var last netip.Addr
	if n := testing.AllocsPerRun(100, func() {
		for _, p := range [][]byte{four, six} {
			var err error
			if _, last, err = Addresses(p); err != nil {
				t.Fatal(err)
			}
		}
	}); n > 0 {
		t.Errorf("two packets take %v allocations", n)
	}
	if !last.IsValid() {
		t.Error("no address was found")
	}
}

// FuzzAddresses also clamps, which must change nothing but an MSS and keep the sum.
func FuzzAddresses(f *testing.F) {
	for _, s := range []spec{segment4(numbered(9)), segment6(nil), datagram6(numbered(3))} {
		f.Add(s.build(), 1280)
	}
	for _, s := range syns {
		f.Add(s.spec.build(), 1280)
	}
	f.Fuzz(func(t *testing.T, p []byte, mtu int) {
		src, dst, err := Addresses(p)
		before := bytes.Clone(p)
		ClampMSS(p, mtu)
		same := bytes.Equal(p, before)
		if err != nil {
			if !same {
				t.Fatal("what is no packet was changed")
			}
			return
		}
		if s, d, err := Addresses(p); s != src || d != dst || err != nil || !src.IsValid() || !dst.IsValid() {
			t.Fatalf("%v to %v became %v to %v: %v", src, dst, s, d, err)
		}
		if !same {
			if was, is := checkSums(before), checkSums(p); was == nil && is != nil {
				t.Fatalf("a whole checksum was broken: %v", is)
			}
		}
	})
}
