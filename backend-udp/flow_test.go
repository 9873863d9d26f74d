package backendudp

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug"
)

func (s *source) addr() netip.AddrPort { return s.LocalAddr().(*net.UDPAddr).AddrPort() }

// newTestFlow is a flow over a socket of its own, and what it counts.
func newTestFlow(t *testing.T, to ...netip.AddrPort) (*flow, map[string]uint64) {
	t.Helper()
	c, err := net.ListenUDP("udp", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	counts := map[string]uint64{}
	count := func(name string, n uint64) { counts[name] += n }
	sock, err := newSocket(&plug.UDPSocket{UDPConn: c}, count, nil)
	if err != nil {
		t.Fatal(err)
	}
	return newFlow(sock, count, func(*flow) {}, to...), counts
}

func write(t *testing.T, f *flow, msg []byte) {
	t.Helper()
	b := appendFrame(nil, msg)
	if n, err := f.Write(b); n != len(b) || err != nil {
		t.Fatalf("wrote %d of %d, %v", n, len(b), err)
	}
}

func TestGreeted(t *testing.T) {
	t.Parallel()
	now := time.Now()
	g := newGreeted(now)
	a, b := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.1:2")
	if g.take(now, a) {
		t.Error("nobody was greeted yet")
	}
	g.add(now, a)
	if g.take(now, b) {
		t.Error("another was greeted")
	}
	if !g.take(now, a) || g.take(now, a) {
		t.Error("a greeting is not answered once")
	}
	for after, want := range map[time.Duration]bool{
		greetedFor - 2*time.Second: true,
		greetedFor + 2*time.Second: false,
		-time.Second:               false,
	} {
		for _, start := range []time.Duration{time.Minute, 20 * time.Hour} { // the seconds begin anew after 18 hours
			at := now.Add(start)
			g.add(at, a)
			if got := g.take(at.Add(after), a); got != want {
				t.Errorf("answered after %v: %v", after, got)
			}
			g.take(at, a)
		}
	}
}

// Each part of a frame, and a frame cut anywhere, is what was framed.
func TestFrames(t *testing.T) {
	t.Parallel()
	msg := []byte("message")
	b := appendFrame(nil, msg)
	for n := range b {
		if _, size := cutFrame(b[:n]); size != 0 {
			t.Errorf("%d of %d bytes are a frame", n, len(b))
		}
	}
	got, size := cutFrame(append(b, 'x'))
	if string(got) != string(msg) || size != len(b) {
		t.Errorf("%q, %d", got, size)
	}
	if got, size := cutFrame([]byte{0, 0, 1}); len(got) != 0 || size != lengthSize {
		t.Errorf("an empty frame is %q, %d", got, size)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte{1, 0, 'x'})
	f.Fuzz(func(t *testing.T, b []byte) {
		msg, size := cutFrame(b)
		if size == 0 {
			return
		}
		if again := appendFrame(nil, msg); string(again) != string(b[:size]) {
			t.Errorf("%x is framed as %x", b[:size], again)
		}
		nodeOf(msg)
		lists(msg, "x")
	})
}
