package streams

import (
	"bytes"
	"errors"
	"net"
	"os"
	"slices"
	"testing"
	"time"
)

func TestQueueRoundTrip(t *testing.T) {
	t.Parallel()
	var q packetQueue
	q.init(5000) // wraps around at uneven places
	b := make([]byte, maxPacket)
	for i := range 1000 {
		src, dst := MakeEndpoint(uint64(i), svc("a")), MakeEndpoint(7, svc("bcdefghi"))
		want := bytes.Repeat([]byte{byte(i)}, i%maxPacket)
		q.put(src, dst, want, uint8(i&3))
		if i%3 == 0 {
			continue // two wait at times
		}
		for {
			if err := q.wait(); err != nil {
				t.Fatal(err)
			}
			n, s, d, ecn := q.take(b)
			more := q.used > 0
			q.mu.Unlock()
			if more {
				continue
			}
			if !bytes.Equal(b[:n], want) || s != src || d != dst || ecn != uint8(i&3) {
				t.Fatalf("packet %d came out as %d bytes from %x to %x, ecn %d", i, n, s, d, ecn)
			}
			break
		}
	}
}

func TestQueueBounds(t *testing.T) {
	t.Parallel()
	var q packetQueue
	q.init(3 * (packetHeaderSize + 1000))
	for range 5 {
		q.put(Endpoint{}, Endpoint{}, make([]byte, 1000), 0)
	}
	if got := q.dropped.Load(); got != 2 {
		t.Errorf("%d packets dropped, want 2", got)
	}
	if err := q.wait(); err != nil {
		t.Fatal(err)
	}
	q.take(make([]byte, 10)) // a short buffer cuts the packet and nothing else
	n, _, _, _ := q.take(make([]byte, 1000))
	q.mu.Unlock()
	if n != 1000 {
		t.Errorf("%d bytes, want 1000", n)
	}
	q.put(Endpoint{}, Endpoint{}, make([]byte, maxPacket+1), 0)
	if got := q.dropped.Load(); got != 3 {
		t.Errorf("%d packets dropped, want 3", got)
	}
}

func TestQueueDeadline(t *testing.T) {
	t.Parallel()
	var q packetQueue
	q.init(1000)
	for _, d := range []time.Duration{-time.Second, time.Millisecond} {
		waited := make(chan error, 1)
		go func() { waited <- q.wait() }()
		_ = q.SetReadDeadline(time.Now().Add(d))
		wantErr(t, <-waited, os.ErrDeadlineExceeded)
		_ = q.SetReadDeadline(time.Time{})
	}
	waited := make(chan error, 1)
	go func() { waited <- q.wait() }()
	_ = q.Close()
	wantErr(t, <-waited, net.ErrClosed)
}

func TestQueueAllocs(t *testing.T) {
	var q packetQueue
	q.init(queueSize)
	p, b := make([]byte, 1400), make([]byte, maxPacket)
	if n := testing.AllocsPerRun(100, func() {
		q.put(Endpoint{}, Endpoint{}, p, 0)
		if err := q.wait(); err != nil {
			t.Fatal(err)
		}
		q.take(b)
		q.mu.Unlock()
	}); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

func TestKindOf(t *testing.T) {
	t.Parallel()
	v1 := func(first byte, destLen byte) []byte { return []byte{first, 0, 0, 0, 1, destLen, 0} }
	v2 := func(first byte) []byte { return []byte{first, 0x6b, 0x33, 0x43, 0xcf, 8, 0} }
	for _, c := range []struct {
		name string
		b    []byte
		want packetKind
	}{
		{"empty", nil, kindJunk},
		{"not quic", []byte{0x3f, 1, 2, 3, 4, 5, 6}, kindJunk},
		{"short header", []byte{0x40}, kindOther},
		{"v1 initial of a client", v1(0xc0, 8), kindOpening},
		{"v1 initial of a server", v1(0xc0, 4), kindOther},
		{"v1 0-RTT", v1(0xd0, 8), kindOpening},
		{"v1 handshake", v1(0xe0, 8), kindOther},
		{"v1 retry", v1(0xf0, 8), kindOther},
		{"v2 initial", v2(0xd0), kindOpening},
		{"v2 0-RTT", v2(0xe0), kindOpening},
		{"v2 handshake", v2(0xf0), kindOther},
		{"v2 retry", v2(0xc0), kindOther},
		{"version negotiation", []byte{0x80, 0, 0, 0, 0, 8, 0}, kindOther},
		{"unknown version", []byte{0xc0, 1, 2, 3, 4, 8, 0}, kindOpening},
	} {
		if got := kindOf(c.b); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
		for i := range c.b {
			if kindOf(c.b[:i]) == kindOpening && i < 6 {
				t.Errorf("%s: %d bytes are enough to open a connection", c.name, i)
			}
		}
	}
}

func TestMapped(t *testing.T) {
	t.Parallel()
	m := Endpoint{10: 0xff, 11: 0xff, 12: 1}
	if !m.mapped() || MakeEndpoint(1, svc("\x00\x00\xff\xff")).mapped() {
		t.Error("mapped endpoints are not told apart")
	}
	p := newPair(t, false)
	if _, err := p.a.Dial(t.Context(), m); !errors.Is(err, ErrServiceUnknown) {
		t.Errorf("dial to a mapped endpoint: %v", err)
	}
	before := p.b.main.conn.(interface{ size() int }).size()
	p.b.Deliver(m, p.to, []byte{0x40, 1}, 0)
	if p.b.main.conn.(interface{ size() int }).size() != before {
		t.Error("a packet from a mapped endpoint is taken")
	}
}

func (q *packetQueue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.used
}

func TestDialServiceName(t *testing.T) {
	t.Parallel()
	a, b := randomService(), randomService()
	if a == b {
		t.Error("two names are the same")
	}
	if slices.Contains(a[:], 0) {
		t.Errorf("%q is short", a)
	}
}
