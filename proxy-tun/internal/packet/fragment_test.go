package packet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

func TestFragment(t *testing.T) {
	t.Parallel()
	loose := datagram4(numbered(3000)).with(func(s *spec) { s.fragment = 0 })
	for _, c := range []struct {
		name string
		spec spec
		mtu  int
		want int
	}{
		{"fits", loose, 3028, 1},
		{"one byte too long", loose, 3027, 2},
		{"an MTU of 1280", loose, 1280, 3},
		{"the least MTU", loose, 68, 63},
		{"the longest", loose.with(func(s *spec) { s.payload = numbered(0xffff - 28) }), 1500, 45},
		{"one without DF, though it has no need", loose.with(func(s *spec) { s.fragment = 0x4000 }), 3028, 1},
		{"a first fragment", loose.with(func(s *spec) { s.fragment, s.payload = 0x2000, numbered(2992) }), 1280, 3},
		{"a last fragment", loose.with(func(s *spec) { s.fragment = 375 }), 1280, 3},
		{"options", loose.with(func(s *spec) {
			// A timestamp, which only the first has; a source route, which all have.
			s.ipOptions = []byte{1, 68, 4, 5, 0, 0x83, 3, 4, 0x88, 4, 9, 9}
		}), 1280, 3},
		{"options that are none", loose.with(func(s *spec) { s.ipOptions = []byte{0x88, 4, 9, 9, 0x83, 200, 4, 0} }), 1280, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := c.spec.build()
			l, err := parse(p)
			if err != nil {
				t.Fatal(err)
			}
			was := binary.BigEndian.Uint16(p[6:])
			next, n := int(was&fragmentOffset), 0
			var rest []byte
			if err := Fragment(append(bytes.Clone(p), 1, 2, 3), c.mtu, func(b []byte) error {
				n++
				f, err := parse(b)
				if err != nil || f.end != len(b) || len(b) > c.mtu {
					t.Fatalf("a fragment of %d bytes, which says %d: %v", len(b), f.end, err)
				}
				if c := slowChecksum(b[:f.transport]); c != 0 {
					t.Errorf("a checksum is off by %04x", c)
				}
				if b[0]&0xf0 != 0x40 || !bytes.Equal(b[12:20], p[12:20]) || !bytes.Equal(b[4:6], p[4:6]) || b[1] != p[1] || !bytes.Equal(b[8:10], p[8:10]) {
					t.Errorf("header % x", b[:20])
				}
				is := binary.BigEndian.Uint16(b[6:])
				if got := int(is & fragmentOffset); got != next {
					t.Errorf("offset %d, want %d", got, next)
				}
				rest = append(rest, b[f.transport:]...)
				last := len(rest) == len(p)-l.transport
				next += len(b[f.transport:]) / 8
				if !last && len(b[f.transport:])%8 != 0 {
					t.Errorf("a fragment carries %d bytes and is not the last one", len(b[f.transport:]))
				}
				if more := is&moreFragments != 0; more != (!last || was&moreFragments != 0) || is&dontFragment != was&dontFragment {
					t.Errorf("flags %04x of fragment %d", is, n)
				}
				checkOptions(t, n == 1, p[20:l.transport], b[20:f.transport])
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if n != c.want {
				t.Errorf("%d fragments, want %d", n, c.want)
			}
			if !bytes.Equal(rest, p[l.transport:]) {
				t.Error("what the fragments carry is not what the packet did")
			}
		})
	}
}

func checkOptions(t *testing.T, first bool, was, is []byte) {
	t.Helper()
	want := was
	if !first {
		want = map[string][]byte{
			"": nil,
			"\x01\x44\x04\x05\x00\x83\x03\x04\x88\x04\x09\x09": {0x83, 3, 4, 0x88, 4, 9, 9, 0},
			"\x88\x04\x09\x09\x83\xc8\x04\x00":                 {0x88, 4, 9, 9},
		}[string(was)]
	}
	if !bytes.Equal(is, want) {
		t.Errorf("options % x, want % x", is, want)
	}
}

func TestFragmentRefuses(t *testing.T) {
	t.Parallel()
	loose := datagram4(numbered(3000)).with(func(s *spec) { s.fragment = 0 })
	for name, c := range map[string]struct {
		spec spec
		mtu  int
		want error
	}{
		"with DF":                     {datagram4(numbered(3000)), 1280, errNoFragments},
		"IPv6":                        {datagram6(numbered(3000)), 1280, errNoFragments},
		"an MTU that cannot be":       {loose, 67, errMTU},
		"no MTU":                      {loose, -1, errMTU},
		"beyond the longest datagram": {loose.with(func(s *spec) { s.fragment = 0x1ff0 }), 1280, errLength},
	} {
		if err := Fragment(c.spec.build(), c.mtu, func([]byte) error { return nil }); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	full, n := errors.New("full"), 0
	if err := Fragment(loose.build(), 1280, func([]byte) error {
		n++
		return full
	}); !errors.Is(err, full) || n != 1 {
		t.Errorf("%v after %d fragments", err, n)
	}
	p := loose.build()
	for n := range p {
		if err := Fragment(p[:n:n], 1280, func([]byte) error { return nil }); err == nil {
			t.Errorf("the first %d bytes were taken for a packet", n)
		}
	}
}

func FuzzFragment(f *testing.F) {
	f.Add(datagram4(numbered(300)).with(func(s *spec) { s.fragment = 0 }).build(), 100)
	f.Add(datagram4(numbered(300)).with(func(s *spec) { s.fragment, s.ipOptions = 0, []byte{0x83, 3, 4, 0} }).build(), 68)
	f.Fuzz(func(t *testing.T, p []byte, mtu int) {
		mtu = min(mtu, 1<<20)
		_ = Fragment(p, mtu, func(b []byte) error {
			if _, err := parse(b); err != nil || len(b) > mtu {
				t.Fatalf("a fragment of %d bytes, %v", len(b), err)
			}
			return nil
		})
	})
}
