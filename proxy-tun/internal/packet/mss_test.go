package packet

import (
	"bytes"
	"testing"
)

var syns = []struct {
	name string
	spec spec
	mtu  int
	want uint16 // 0: as it was
}{
	{"a SYN", syn(segment4(nil), 2, 4, 5, 180), 1280, 1240},
	{"its answer", syn(segment4(nil), 2, 4, 5, 180).with(func(s *spec) { s.flags |= flagACK }), 1280, 1240},
	{"of IPv6", syn(segment6(nil), 2, 4, 5, 180), 1280, 1220},
	{"behind other options", syn(segment4(nil), 4, 2, 1, 1, 2, 4, 5, 180), 1280, 1240},
	{"at an odd place", syn(segment4(nil), 1, 2, 4, 5, 180, 0, 0, 0), 1280, 1240},
	{"at an odd place, of IPv6", syn(segment6(nil), 3, 3, 7, 2, 4, 0xff, 0xff, 0), 9000, 8940},
	{"behind an extension header", syn(segment6(nil), 2, 4, 5, 180).with(func(s *spec) {
		s.extension, s.ipOptions = 60, []byte{6, 0, 1, 4, 0, 0, 0, 0}
	}), 1280, 1220},
	{"with data", syn(segment4(numbered(9)), 2, 4, 5, 180), 1280, 1240},
	{"one that fits", syn(segment4(nil), 2, 4, 4, 216), 1280, 0},
	{"one that is small", syn(segment4(nil), 2, 4, 1, 0), 1280, 0},
	{"no option", syn(segment4(nil)), 1280, 0},
	{"behind the end of options", syn(segment4(nil), 0, 2, 4, 5, 180, 0, 0, 0), 1280, 0},
	{"an option without a length", syn(segment4(nil), 1, 1, 1, 2), 1280, 0},
	{"an option of no length", syn(segment4(nil), 2, 0, 5, 180), 1280, 0},
	{"an option beyond the end", syn(segment4(nil), 1, 2, 4, 5), 1280, 0},
	{"an MSS of another length", syn(segment4(nil), 2, 6, 5, 180, 0, 0, 1, 1), 1280, 0},
	{"no SYN", syn(segment4(nil), 2, 4, 5, 180).with(func(s *spec) { s.flags = flagACK }), 1280, 0},
	{"UDP", datagram4([]byte{2, 4, 5, 180, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2}), 1280, 0},
	{"a later fragment", syn(segment4(nil), 2, 4, 5, 180).with(func(s *spec) { s.fragment = 1 }), 1280, 0},
	{"an MTU that cannot be", syn(segment4(nil), 2, 4, 5, 180), 60, 0},
	{"an MTU that is nothing", syn(segment4(nil), 2, 4, 5, 180), -1, 0},
}

func syn(s spec, options ...byte) spec {
	s.flags, s.tcpOptions = flagSYN, options
	return s
}

func TestClampMSS(t *testing.T) {
	t.Parallel()
	for _, c := range syns {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := c.spec.build()
			want := c.spec
			if c.want != 0 {
				at := bytes.LastIndex(want.tcpOptions, []byte{2, 4}) + 2
				want.tcpOptions = bytes.Clone(want.tcpOptions)
				want.tcpOptions[at], want.tcpOptions[at+1] = byte(c.want>>8), byte(c.want)
			}
			ClampMSS(p, c.mtu)
			if !bytes.Equal(p, want.build()) {
				t.Errorf("\n got % x\nwant % x", p, want.build())
			}
		})
	}
}

func TestClampMSSPrefixes(t *testing.T) {
	t.Parallel()
	for _, c := range syns {
		p := c.spec.build()
		for n := range p {
			cut := bytes.Clone(p[:n])
			if ClampMSS(cut, c.mtu); !bytes.Equal(cut, p[:n]) {
				t.Errorf("%s: the first %d bytes were changed", c.name, n)
			}
		}
	}
}

// TestClampMSSAllocs: neither a SYN nor any other packet takes memory.
func TestClampMSSAllocs(t *testing.T) {
	p, other := syns[0].spec.build(), segment4(numbered(9)).build()
	if n := testing.AllocsPerRun(100, func() {
		ClampMSS(p, 1280)
		ClampMSS(other, 1280)
	}); n > 0 {
		t.Errorf("two packets take %v allocations", n)
	}
}
