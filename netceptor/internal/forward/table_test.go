package forward

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

const (
	self, near, far, lost, stranger = 1, 2, 3, 4, 99

	other = 5 // a neighbour, with nothing behind it
)

func testTable(next *Link) *Table {
	return &Table{Self: self, Nodes: map[uint64]Entry{
		self: {Name: "self"},
		near: {Name: "near", Next: next, Part: 1},
		far:  {Name: "far", Next: next, Part: 1},
		lost: {Name: "lost"},

		other: {Name: "other", Next: next, Part: 2},
	}}
}

// message is a data message with bytes where forwarding must clear them.
func message(hops uint8, from, to uint64, payload string) []byte {
	h := wire.Header{
		Hops: hops, From: from, To: to,
		FromService: wire.Service{'a', 0, 'b'}, ToService: wire.Service{'c'},
	}
	m := append(h.Append(nil), payload...)
	m[offsetReserved], m[offsetReserved+1] = 0xaa, 0xbb
	return m
}

func TestRoute(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		msg  []byte
		want Verdict
	}{
		{"type only", []byte{0}, Short},
		{"a byte short", message(9, far, near, "")[:wire.HeaderSize-1], Short},
		{"unknown source", message(9, stranger, near, ""), Unknown},
		{"unknown destination", message(9, near, stranger, ""), Unknown},
		{"unknown source for us", message(9, stranger, self, ""), Unknown},
		{"from us", message(9, self, near, ""), Spoofed},
		{"from us to us", message(9, self, self, ""), Spoofed},
		{"from ourselves behind the neighbour", message(9, self, far, ""), Spoofed},
		{"from another part", message(9, other, self, ""), WrongWay},
		{"from nowhere", message(9, lost, self, ""), WrongWay},
		{"from the neighbour", message(9, near, self, ""), Local},
		{"for us", message(9, far, self, ""), Local},
		{"for us without hops", message(0, far, self, ""), Local},
		{"no hops left", message(0, far, near, ""), Expired},
		{"no hops left and no route", message(0, far, lost, ""), Expired},
		{"no route", message(9, far, lost, ""), NoRoute},
		{"forward", message(9, far, near, "payload"), Forward},
		{"last hop", message(1, far, near, ""), Forward},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			next := NewLink(nil)
			before := bytes.Clone(test.msg)
			got, to := testTable(next).Route(test.msg, near)
			if got != test.want {
				t.Fatalf("verdict %d, want %d", got, test.want)
			}
			if test.want != Forward {
				if to != nil || !bytes.Equal(test.msg, before) {
					t.Error("a message that does not go on was edited or given a link")
				}
				return
			}
			before[offsetHops]--
			before[offsetReserved], before[offsetReserved+1] = 0, 0
			if to != next || !bytes.Equal(test.msg, before) {
				t.Errorf("forwarded % x, want % x", test.msg, before)
			}
		})
	}
}

// A neighbour speaks for itself before there is a route to it, and for nobody else.
func TestRouteBeforeTheFirstRoutes(t *testing.T) {
	t.Parallel()
	table := testTable(nil)
	for from, want := range map[uint64]Verdict{lost: Local, near: WrongWay, other: WrongWay} {
		if got, _ := table.Route(message(9, from, self, ""), lost); got != want {
			t.Errorf("from node %d over a neighbour without a route: verdict %d, want %d", from, got, want)
		}
	}
}

// Cutting, routing and queueing frames, and taking them for the writer, must not
// allocate: this is what a transit node does all day.
func TestForwardingAllocs(t *testing.T) {
	next := NewLink(nil)
	table := testTable(next)
	l := NewLink(nil)
	each := func(msg []byte) *Link {
		_, to := table.Route(msg, near)
		return to
	}
	var stream []byte
	for range 45 {
		stream = frame(stream, message(30, near, far, string(make([]byte, 1200))))
	}
	var out lanes
	buf := make([]byte, len(stream))
	round := func() {
		copy(buf, stream)
		if used := l.cut(buf, each); used != len(buf) {
			t.Fatalf("used %d of %d", used, len(buf))
		}
		if !next.take(&out) || len(out.data) != len(buf) {
			t.Fatal("not all was forwarded")
		}
	}
	round()
	round() // both buffers have grown now
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations for %d frames, want none", n, 45)
	}
}

// Packets of our own must not allocate either, as long as there is room.
func TestSendAllocs(t *testing.T) {
	q := NewQueue(LinkQueue)
	header, data := make([]byte, wire.HeaderSize), make([]byte, 14*1452)
	var out lanes
	round := func() {
		q.Send(header, data, 1452, 0)
		q.Control(header)
		q.take(&out)
	}
	round()
	round()
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// BenchmarkForward moves frames of 1.4 kB through a transit node, both links in
// memory: one read of 45 frames, their routing and queueing, and the write.
func BenchmarkForward(b *testing.B) {
	const frames = 45
	var stream []byte
	for range frames {
		stream = frame(stream, message(30, near, far, string(make([]byte, 1400-wire.HeaderSize))))
	}
	// The two ends share credits for three reads, since without a socket between
	// them the one would outrun the other and most would be dropped.
	credits := make(chan struct{}, 3)
	for range cap(credits) {
		credits <- struct{}{}
	}
	out := NewLink(&creditConn{size: len(stream), credits: credits})
	table := testTable(out)
	in := NewLink(&repeatConn{stream: stream, times: b.N/frames + 1, credits: credits})
	b.SetBytes(1400)
	b.ReportAllocs()
	b.ResetTimer()
	var both sync.WaitGroup
	both.Go(func() {
		if err := out.Write(); err != nil {
			b.Error(err)
		}
	})
	err := in.Read(func(msg []byte) *Link {
		_, to := table.Route(msg, near)
		return to
	})
	out.Close()
	both.Wait()
	if !errors.Is(err, io.EOF) {
		b.Fatal(err)
	}
	b.ReportMetric(float64(in.Counters().FramesIn)/b.Elapsed().Seconds(), "frames/s")
	if dropped := out.Counters().Dropped; dropped > 0 {
		b.Errorf("%d frames dropped", dropped)
	}
}

// repeatConn reads the same bytes so many times, for a credit each.
type repeatConn struct {
	net.Conn
	stream  []byte
	times   int
	at      int
	credits <-chan struct{}
}

func (c *repeatConn) Read(b []byte) (int, error) {
	if c.at == len(c.stream) {
		c.at = 0
		c.times--
	}
	if c.times <= 0 {
		return 0, io.EOF
	}
	if c.at == 0 {
		<-c.credits
	}
	n := copy(b, c.stream[c.at:])
	c.at += n
	return n, nil
}

// creditConn takes all and gives a credit for each size bytes.
type creditConn struct {
	net.Conn
	size    int
	credits chan<- struct{}
	taken   int
}

func (c *creditConn) Write(b []byte) (int, error) {
	c.taken += len(b)
	for ; c.taken >= c.size; c.taken -= c.size {
		c.credits <- struct{}{}
	}
	return len(b), nil
}
