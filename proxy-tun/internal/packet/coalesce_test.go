package packet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestCoalesceWhatWasSplit: a super-packet that was cut is the same when it is joined.
func TestCoalesceWhatWasSplit(t *testing.T) {
	t.Parallel()
	for _, c := range superPackets {
		l, err := parse(c.spec.build())
		if err != nil {
			t.Fatal(err)
		}
		if c.want == 1 || c.want > maxUDPJoined || l.transport != ipv4Len && l.transport != ipv6Len {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h, p := c.spec.super(c.size)
			all, err := splitAll(h, p)
			if err != nil {
				t.Fatal(err)
			}
			co := NewCoalescer(maxSuper, true)
			for range 2 { // the second time with what is left of the first
				for _, b := range all {
					co.Add(b)
				}
				got := flushAll(t, co)
				if len(got) != 1 {
					t.Fatalf("%d packets", len(got))
				}
				if got[0].h != h {
					t.Errorf("header %+v, want %+v", got[0].h, h)
				}
				if !bytes.Equal(got[0].p, p) {
					t.Errorf("\n got % x\nwant % x", got[0].p[:80], p[:80])
				}
			}
		})
	}
}

// TestCoalesce: which packets are joined, by how many of them each that comes out is of.
func TestCoalesce(t *testing.T) {
	t.Parallel()
	// n segments in a row, of which those may be changed.
	type change func(i int, s *spec)
	row := func(first spec, n int, c change) (all [][]byte) {
		for i := range n {
			s := first
			s.id += uint16(i)
			s.seq += uint32(i * len(s.payload))
			if c != nil {
				c(i, &s)
			}
			all = append(all, s.build())
		}
		return all
	}
	at := func(n int, f func(s *spec)) change {
		return func(i int, s *spec) {
			if i == n {
				f(s)
			}
		}
	}
	damaged := func(all [][]byte, n, place int) [][]byte {
		all[n][place] ^= 1
		return all
	}
	four, six, udp := segment4(numbered(100)), segment6(numbered(100)), datagram4(numbered(100))
	other := four.with(func(s *spec) { s.src = "10.0.0.3" })
	for _, c := range []struct {
		name    string
		packets [][]byte
		want    []int
	}{
		{"a row", row(four, 4, nil), []int{4}},
		{"a row of IPv6", row(six, 4, nil), []int{4}},
		{"datagrams", row(udp, 4, nil), []int{4}},
		{"datagrams of IPv6", row(datagram6(numbered(100)), 4, nil), []int{4}},
		{"a pushed one ends it", row(four, 4, at(1, func(s *spec) { s.flags |= flagPSH })), []int{2, 2}},
		{"one that is pushed first", row(four, 3, at(0, func(s *spec) { s.flags |= flagPSH })), []int{1, 2}},
		{"the last one ends it", row(four, 3, at(2, func(s *spec) { s.flags |= flagFIN })), []int{3}},
		{"congestion begins one", row(four, 4, at(2, func(s *spec) { s.flags |= flagCWR })), []int{2, 2}},
		{"another echo of congestion", row(four, 4, at(2, func(s *spec) { s.flags |= 0x40 })), []int{2, 1, 1}},
		{"one is missing", row(four, 4, func(i int, s *spec) { s.seq += uint32(i / 2 * 100) }), []int{2, 2}},
		{"one comes twice", row(four, 3, at(2, func(s *spec) { s.seq -= 100 })), []int{2, 1}},
		{"a short one ends it", row(four, 4, at(1, func(s *spec) { s.payload = s.payload[:99] })), []int{2, 2}},
		{"a longer one begins one", row(four, 3, at(1, func(s *spec) { s.payload = numbered(101) })), []int{1, 1, 1}},
		{"an acknowledgement alone", row(four, 3, at(1, func(s *spec) { s.payload = nil })), []int{1, 1, 1}},
		{"segments of next to nothing", row(segment4(numbered(7)), 3, nil), []int{1, 1, 1}},
		{"next to nothing at the end", row(four, 3, at(2, func(s *spec) { s.payload = numbered(3) })), []int{3}},
		{"another acknowledgement", row(four, 4, func(i int, s *spec) { s.ack += uint32(i / 2) }), []int{2, 2}},
		{"another window", row(four, 4, func(i int, s *spec) { s.window += uint16(i / 2) }), []int{2, 2}},
		{"other options", row(four, 4, func(i int, s *spec) {
			s.tcpOptions = append(bytes.Clone(s.tcpOptions[:11]), byte(i/2))
		}), []int{2, 2}},
		{"no options", row(four, 3, at(2, func(s *spec) { s.tcpOptions = nil })), []int{2, 1}},
		{"another TOS", row(four, 4, func(i int, s *spec) { s.tos += uint8(i / 2) }), []int{2, 2}},
		{"another class", row(six, 4, func(i int, s *spec) { s.tos += uint8(i / 2 * 16) }), []int{2, 2}},
		{"another TTL", row(four, 4, func(i int, s *spec) { s.ttl += uint8(i / 2) }), []int{2, 2}},
		{"another hop limit", row(six, 4, func(i int, s *spec) { s.ttl += uint8(i / 2) }), []int{2, 2}},
		{"any ID with DF", row(four, 3, func(_ int, s *spec) { s.id = 0 }), []int{3}},
		{"other IDs without DF", row(four, 4, func(i int, s *spec) { s.fragment = 0; s.id += uint16(i / 2) }), []int{2, 2}},
		{"DF that comes and goes", row(four, 4, func(i int, s *spec) { s.fragment = uint16(i/2) * 0x4000 }), []int{2, 2}},
		{"fragments", row(udp, 3, func(i int, s *spec) { s.fragment = 0x2000 }), []int{1, 1, 1}},
		{"options of IP", row(four, 2, func(i int, s *spec) { s.ipOptions = []byte{1, 1, 1, 0} }), []int{1, 1}},
		{"extension headers", row(six, 2, func(i int, s *spec) { s.extension, s.ipOptions = 60, []byte{6, 0, 1, 4, 0, 0, 0, 0} }), []int{1, 1}},
		{"a connection that begins", row(four, 2, func(i int, s *spec) { s.flags |= flagSYN }), []int{1, 1}},
		{"urgent data", row(four, 2, func(i int, s *spec) { s.flags |= flagURG }), []int{1, 1}},
		{"a damaged payload", damaged(row(four, 4, nil), 2, 90), []int{2, 1, 1}},
		{"a damaged payload first", damaged(row(four, 3, nil), 0, 90), []int{1, 2}},
		{"a damaged IP header", damaged(row(four, 4, nil), 2, 10), []int{2, 1, 1}},
		{"a damaged datagram", damaged(row(udp, 4, nil), 2, 90), []int{2, 1, 1}},
		{"datagrams that say another length", damaged(row(udp, 2, nil), 1, 25), []int{1, 1}},
		{"datagrams without a checksum", func() [][]byte {
			all := row(udp, 2, nil)
			for _, p := range all {
				clear(p[26:28])
			}
			return all
		}(), []int{1, 1}},
		{"more than may be joined", row(segment4(numbered(1000)), 70, nil), []int{65, 5}},
		{"more datagrams than may be joined", row(datagram4(numbered(10)), 70, nil), []int{64, 6}},
		{"empty datagrams", row(datagram4(nil), 3, nil), []int{1, 1, 1}},
		{"something behind the end", [][]byte{append(four.build(), 0), append(four.build(), 0)}, []int{1, 1}},
		{"two flows", interleave(row(four, 3, nil), row(other, 3, nil)), []int{3, 3}},
		{"a flow and its answers", interleave(row(four, 3, nil), row(four.with(func(s *spec) { s.src, s.dst = s.dst, s.src }), 3, nil)), []int{3, 3}},
		{"TCP and UDP of the same ports", interleave(row(four, 3, nil), row(udp, 3, nil)), []int{3, 3}},
		{"rubbish between", interleave(row(four, 3, nil), [][]byte{{}, {0x40}, []byte("no packet at all")}), []int{3, 1, 1, 1}},
		{"a fragment between, of who knows whose flow", interleave(row(four, 2, nil), row(four, 2, at(0, func(s *spec) { s.fragment = 5 }))), []int{1, 1, 1, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			co := NewCoalescer(maxSuper, true)
			for _, p := range c.packets {
				co.Add(p)
			}
			var counts []int
			var out [][]byte
			for _, g := range flushAll(t, co) {
				pieces := [][]byte{g.p}
				if g.h != (Header{}) {
					var err error
					if pieces, err = splitAll(g.h, g.p); err != nil {
						t.Fatal(err)
					}
				}
				counts = append(counts, len(pieces))
				out = append(out, pieces...)
			}
			if fmt.Sprint(counts) != fmt.Sprint(c.want) {
				t.Errorf("joined %v, want %v", counts, c.want)
			}
			if err := sameFlows(c.packets, out); err != nil {
				t.Error(err)
			}
		})
	}
}

// interleave takes packets in turn.
func interleave(rows ...[][]byte) (all [][]byte) {
	for i := range rows[0] {
		for _, r := range rows {
			if i < len(r) {
				all = append(all, r[i])
			}
		}
	}
	return all
}

// sameFlows tells what is not the same in two rows of packets: of each flow the same
// packets in the same order, but for what is as good.
func sameFlows(in, out [][]byte) error {
	flows := func(all [][]byte) map[string][][]byte {
		m := map[string][][]byte{}
		for _, p := range all {
			key, q := alike(p)
			m[key] = append(m[key], q)
		}
		return m
	}
	was, is := flows(in), flows(out)
	if len(was) != len(is) {
		return fmt.Errorf("%d flows came in, %d out", len(was), len(is))
	}
	for key, packets := range was {
		if len(packets) != len(is[key]) {
			return fmt.Errorf("flow %x: %d packets came in, %d out", key, len(packets), len(is[key]))
		}
		for i, p := range packets {
			if q := is[key][i]; !bytes.Equal(p, q) {
				return fmt.Errorf("flow %x, packet %d\n was % x\n  is % x", key, i, p, q)
			}
		}
	}
	return nil
}

// alike returns the flow of a packet and the packet without what may change: IDs of
// IPv4 packets that have DF, and which of its two forms a checksum of nothing has.
func alike(p []byte) (key string, q []byte) {
	q = bytes.Clone(p)
	l, err := parse(q)
	if err != nil || l.fragment || l.protocol != protoTCP && l.protocol != protoUDP || l.end-l.transport < 8 {
		return "", q
	}
	at := map[uint8]int{protoTCP: tcpChecksum, protoUDP: udpChecksum}[l.protocol]
	zero := func(b []byte) {
		if b[0] == 0xff && b[1] == 0xff {
			clear(b[:2])
		}
	}
	if l.end-l.transport >= at+2 {
		zero(q[l.transport+at:])
	}
	if !l.v6 {
		if binary.BigEndian.Uint16(q[6:])&dontFragment != 0 && slowChecksum(q[:l.transport]) == 0 {
			clear(q[4:6])
			clear(q[10:12])
		}
		zero(q[10:])
	}
	f := l.flow(q)
	return string(f.addresses[:]) + string(f.ports[:]) + string(f.protocol), q
}

// TestCoalesceKeepsFlows: many flows in any order, and among their segments some that
// are no use.
func TestCoalesceKeepsFlows(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	flows := []spec{
		segment4(nil), segment6(nil), datagram4(nil), datagram6(nil),
		segment4(nil).with(func(s *spec) { s.src = "10.0.0.9" }), segment6(nil).with(func(s *spec) { s.dst = "fd00::9" }),
	}
	co := NewCoalescer(20000, true)
	var joined, came int
	for range 50 {
		var in, out [][]byte
		for range r.IntN(200) {
			s := &flows[r.IntN(len(flows))]
			s.payload = numbered(1000)
			s.flags = flagACK
			switch r.IntN(20) {
			case 0:
				s.payload = s.payload[:r.IntN(1000)]
			case 1:
				s.flags |= flagPSH
			case 2:
				s.seq += 1000
			}
			p := s.build()
			s.id++
			s.seq += uint32(len(s.payload))
			if r.IntN(30) == 0 {
				p[r.IntN(len(p))] ^= 1 << r.IntN(8)
			}
			in = append(in, p)
			co.Add(p)
		}
		for _, g := range flushAll(t, co) {
			came++
			if !g.h.Super() {
				out = append(out, g.p)
				continue
			}
			if len(g.p) > 20000 {
				t.Fatalf("a super-packet of %d bytes", len(g.p))
			}
			pieces, err := splitAll(g.h, g.p)
			if err != nil {
				t.Fatal(err)
			}
			joined += len(pieces)
			out = append(out, pieces...)
		}
		if err := sameFlows(in, out); err != nil {
			t.Fatal(err)
		}
	}
	if joined < came {
		t.Errorf("only %d packets were joined", joined)
	}
}

func TestCoalesceWithoutUDP(t *testing.T) {
	t.Parallel()
	co := NewCoalescer(maxSuper, false)
	for range 3 {
		co.Add(datagram4(numbered(10)).build())
	}
	if got := flushAll(t, co); len(got) != 3 || got[0].h != (Header{}) {
		t.Errorf("%d packets", len(got))
	}
}

func TestFlushStops(t *testing.T) {
	t.Parallel()
	co := NewCoalescer(maxSuper, false)
	for range 3 {
		co.Add(datagram4(numbered(10)).build())
	}
	full, n := errors.New("full"), 0
	if err := co.Flush(func(Header, []byte) error {
		n++
		return full
	}); !errors.Is(err, full) || n != 1 {
		t.Errorf("%v after %d packets", err, n)
	}
	if got := flushAll(t, co); len(got) != 0 {
		t.Errorf("%d packets were kept", len(got))
	}
}

// batch is what coalescing is measured with.
func batch(s spec) (all [][]byte) {
	for range 43 {
		s.payload = numbered(1348)
		all = append(all, s.build())
		s.id++
		s.seq += 1348
	}
	return all
}

// TestCoalesceAllocs: joining takes no memory, once there has been a batch.
func TestCoalesceAllocs(t *testing.T) {
	packets := append(batch(segment4(nil)), batch(datagram6(nil))...)
	co := NewCoalescer(maxSuper, true)
	emit := func(Header, []byte) error { return nil }
	if n := testing.AllocsPerRun(100, func() {
		for _, p := range packets {
			co.Add(p)
		}
		if err := co.Flush(emit); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("a batch takes %v allocations", n)
	}
}

// FuzzCoalesce takes packets, each behind its length in two bytes.
func FuzzCoalesce(f *testing.F) {
	for _, s := range []spec{segment4(numbered(50)), segment6(numbered(50)), datagram4(numbered(50)), datagram6(numbered(50))} {
		all, err := splitAll(s.super(20)) // small: large inputs take a fuzzer long to make smaller
		if err != nil {
			f.Fatal(err)
		}
		var b []byte
		for _, q := range all {
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(q))), q...)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		co := NewCoalescer(maxSuper, true)
		var in, out [][]byte
		for len(b) > 2 {
			n := min(int(binary.BigEndian.Uint16(b)), len(b)-2)
			in = append(in, b[2:2+n])
			co.Add(b[2 : 2+n])
			b = b[2+n:]
		}
		for _, g := range flushAll(t, co) {
			pieces := [][]byte{g.p}
			if g.h.Super() {
				var err error
				if pieces, err = splitAll(g.h, g.p); err != nil {
					t.Fatalf("what was joined cannot be cut: %v", err)
				}
			}
			out = append(out, pieces...)
		}
		if err := sameFlows(in, out); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkCoalesce(b *testing.B) {
	for name, s := range map[string]spec{"TCPv4": segment4(nil), "TCPv6": segment6(nil), "UDPv4": datagram4(nil)} {
		b.Run(name, func(b *testing.B) {
			packets := batch(s)
			co := NewCoalescer(maxSuper, true)
			b.SetBytes(int64(len(packets) * len(packets[0])))
			b.ReportAllocs()
			for b.Loop() {
				for _, p := range packets {
					co.Add(p)
				}
				if err := co.Flush(func(Header, []byte) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
