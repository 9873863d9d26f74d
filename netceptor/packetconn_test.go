package netceptor

import (
	"bytes"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// listenPacket opens a datagram service that is closed when the test ends.
func listenPacket(t *testing.T, n *Node, service string) *PacketConn {
	t.Helper()
	c, err := n.ListenPacket(service, ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestDatagrams(t *testing.T) {
	t.Parallel()
	nodes := line(t, "a", "b", "c")
	near, far := listenPacket(t, nodes[0], ""), listenPacket(t, nodes[2], "svc")
	local := listenPacket(t, nodes[0], "local")
	if len(near.LocalAddr().(Addr).Service) != 8 {
		t.Errorf("the fresh name is %v", near.LocalAddr())
	}
	buf := make([]byte, wire.MaxMessage)
	for _, test := range []struct {
		name string
		to   Addr
		at   *PacketConn
		size int
	}{
		{"empty", Addr{"c", "svc"}, far, 0},
		{"small", Addr{"c", "svc"}, far, 1},
		{"the largest", Addr{"c", "svc"}, far, maxPayload},
		{"to ourselves", Addr{"a", "local"}, local, 100},
		{"to localhost", Addr{"localhost", "local"}, local, maxPayload},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := bytes.Repeat([]byte{'x'}, test.size)
			if n, err := near.WriteTo(want, test.to); n != test.size || err != nil {
				t.Fatalf("wrote %d, %v", n, err)
			}
			test.at.SetReadDeadline(time.Now().Add(patience))
			n, from, err := test.at.ReadFrom(buf)
			if err != nil || !bytes.Equal(buf[:n], want) {
				t.Fatalf("read %d bytes, %v", n, err)
			}
			if from != near.LocalAddr() {
				t.Errorf("from %v, want %v", from, near.LocalAddr())
			}
		})
	}
	// The way back, into a buffer that is too small.
	if _, err := far.WriteTo([]byte("answer"), near.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	near.SetReadDeadline(time.Now().Add(patience))
	if n, from, err := near.ReadFrom(buf[:3]); err != nil || string(buf[:n]) != "ans" || from != far.LocalAddr() {
		t.Errorf("read %q from %v, %v", buf[:n], from, err)
	}
}

func TestDatagramErrors(t *testing.T) {
	t.Parallel()
	n := startNode(t, Config{NodeID: "a"})
	c := listenPacket(t, n, "c")
	for _, test := range []struct {
		name string
		to   net.Addr
		size int
		want error
		text string
	}{
		{"unknown node", Addr{"b", "x"}, 1, ErrNoRoute, ""},
		{"unknown service here", Addr{"a", "x"}, 1, ErrServiceUnknown, ""},
		{"long service name", Addr{"a", "ninechars"}, 1, ErrTooLong, ""},
		{"too large", Addr{"a", "c"}, maxPayload + 1, nil, "longer than 65499"},
		{"foreign address", &net.UDPAddr{}, 1, nil, "not one of the mesh"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := c.WriteTo(make([]byte, test.size), test.to)
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// What a node on the way says of a datagram, whatever is in it, is there for who
// wants it.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	nodes := line(t, "a", "b", "c")
	c := listenPacket(t, nodes[0], "c")
	to := Addr{"c", "nosuch"}
	for _, test := range []struct {
		payload string
		hops    uint8
		want    Notice
	}{
		{"x", 30, Notice{"c", to, "service unknown"}},
		{"", 30, Notice{"c", to, "service unknown"}},
		{"\x00", 30, Notice{"c", to, "service unknown"}},
		{"1234567", 30, Notice{"c", to, "service unknown"}},
		{"\xc0\x00\x00", 30, Notice{"c", to, "service unknown"}},
		{strings.Repeat("\x00", maxPayload), 30, Notice{"c", to, "service unknown"}},
		{"x", 1, Notice{"b", to, "message expired"}},
	} {
		if err := c.send(to, []byte(test.payload), test.hops); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-c.Unreachable():
			if got != test.want {
				t.Errorf("%.10q: got %+v, want %+v", test.payload, got, test.want)
			}
		case <-time.After(patience):
			t.Fatalf("%.10q: no notice", test.payload)
		}
	}
	if err := c.send(to, nil, 0); !errors.Is(err, ErrExpired) {
		t.Errorf("sent without hops: %v", err)
	}
}

func TestDatagramDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := startNode(t, Config{NodeID: "a", noStreams: true})
		c := listenPacket(t, n, "c")
		timesOut := func(after time.Duration) {
			t.Helper()
			start := time.Now()
			_, _, err := c.ReadFrom(make([]byte, 1))
			var netErr net.Error
			if !errors.As(err, &netErr) || !netErr.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("got %v, want a timeout", err)
			}
			if took := time.Since(start); took != after {
				t.Errorf("after %v, want %v", took, after)
			}
		}
		c.SetReadDeadline(time.Now().Add(time.Second))
		timesOut(time.Second)
		timesOut(0)
		c.SetReadDeadline(time.Now().Add(-time.Second))
		timesOut(0)

		// A deadline that is moved while somebody reads counts for them, too.
		c.SetReadDeadline(time.Now().Add(time.Minute))
		time.AfterFunc(time.Second, func() { c.SetReadDeadline(time.Now().Add(2 * time.Second)) })
		timesOut(3 * time.Second)
		c.SetReadDeadline(time.Time{})
		time.AfterFunc(time.Second, func() { c.SetReadDeadline(time.Now()) })
		timesOut(time.Second)

		c.SetDeadline(time.Now())
		if _, err := c.WriteTo(nil, Addr{"a", "c"}); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write past the deadline: %v", err)
		}
		c.SetDeadline(time.Time{})
		if _, err := c.WriteTo([]byte("x"), Addr{"a", "c"}); err != nil {
			t.Error(err)
		}
		if _, _, err := c.ReadFrom(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		time.AfterFunc(time.Second, func() { c.Close() })
		if _, _, err := c.ReadFrom(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read on a closed conn: %v", err)
		}
		if err := c.SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("deadline of a closed conn: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A service that nobody reads drops, by number and by size, and stalls nobody.
func TestDatagramQueueIsBounded(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 32 << 10} {
		n := startNode(t, Config{NodeID: "a", noStreams: true})
		c := listenPacket(t, n, "c")
		for range packetQueue + 10 {
			c.receive(packet{data: make([]byte, size)})
		}
		fit := min(packetQueue, packetQueueBytes/size)
		if dropped := n.Status().Counters["packet_queue_full"]; dropped != uint64(packetQueue+10-fit) {
			t.Errorf("size %d: %d dropped, want %d", size, dropped, packetQueue+10-fit)
		}
	}
}
