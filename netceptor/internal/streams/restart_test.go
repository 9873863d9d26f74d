package streams

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

func TestRestarted(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		p := newPair(t, basic)
		d, _ := p.open(t)
		back := listen(t, p.a, "back")
		d2, a2 := openStream(t, p.b, back, MakeEndpoint(1, svc("back")))
		_ = d2

		p.m.silent.Store(true)
		p.b = p.m.node(2) // kills the old one
		p.l = listen(t, p.b, "echo")
		writes := make(chan error, 1)
		go func() {
			_, err := io.Copy(d, &pattern{size: 1 << 30})
			writes <- err
		}()
		p.a.Restarted(2)
		wantErr(t, <-writes, ErrReset)
		for _, s := range []*Stream{d, a2} {
			_, err := s.Read(make([]byte, 1))
			wantErr(t, err, ErrReset)
			_ = s.Close()
		}
		// The new process is there at once.
		d, a := p.open(t)
		_, _ = d.Close(), a.Close()
	})
}

// Streams outlive the loss of all routes for a while, and end as resets if there is
// none for too long. A node that was back in time has all of it again.
func TestNodeThatIsCutOff(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		p := newPair(t, basic)
		d, a := p.open(t)
		now := time.Now()
		look := func(after time.Duration, reached bool) {
			for _, c := range []*Carrier{p.a, p.b} {
				c.endCutOff(now.Add(after), func(uint64) bool { return reached })
			}
		}
		look(0, false)
		look(cutOffLimit-1, false)
		look(cutOffLimit, true)
		look(cutOffLimit+1, false)
		look(2*cutOffLimit, false)
		if _, err := d.Write([]byte("x")); err != nil {
			t.Fatalf("a stream whose node was back in time: %v", err)
		}
		if _, err := io.ReadFull(a, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		p.m.silent.Store(true) // so that neither hears it from the other
		look(2*cutOffLimit+1, false)
		for _, s := range []*Stream{d, a} {
			_, err := s.Read(make([]byte, 1))
			wantErr(t, err, ErrReset)
			_ = s.Close()
		}
	})
}

// Without any word of a restart, the new process answers the packets of the old
// one's connections with stateless resets, whether the service is bound again or
// not. That reaches diallers; quic-go's accepting side has no token to know one by.
func TestStatelessReset(t *testing.T) {
	for _, bound := range []bool{true, false} {
		t.Run(fmt.Sprintf("bound=%v", bound), func(t *testing.T) {
			modes(t, func(t *testing.T, basic bool) {
				p := newPair(t, basic)
				d, _ := p.open(t)
				p.b = p.m.node(2)
				if bound {
					p.l = listen(t, p.b, "echo")
				}
				eventually(t, "the stream is reset", func() bool {
					_, err := d.Write(make([]byte, 100)) // quic-go does not answer tiny packets
					return errors.Is(err, ErrReset)
				})
				_, err := d.Read(make([]byte, 1))
				wantErr(t, err, ErrReset)
				_ = d.Close()
			})
		})
	}
}

// A dial over a connection that turns out to be dead takes another.
func TestDialOverDeadConnection(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		p := newPair(t, basic)
		d, _ := p.open(t)
		p.b = p.m.node(2)
		p.l = listen(t, p.b, "echo")
		if _, err := d.Write(make([]byte, 100)); err != nil { // answered with a stateless reset
			t.Fatal(err)
		}
		d2, a2 := p.open(t)
		if d2.conn == d.conn {
			t.Error("the dead connection was used")
		}
		_, _, _ = d.Close(), d2.Close(), a2.Close()
	})
}

func TestCarrierClose(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		p := newPair(t, basic)
		d, a := p.open(t)
		_, _ = d.Write([]byte("some"))
		ctx := testContext(t)
		waiting := make(chan error, 2)
		go func() {
			_, err := p.l.Next(ctx)
			waiting <- err
		}()
		go func() {
			_, err := a.Write(make([]byte, 32<<20))
			waiting <- err
		}()
		_ = p.b.Close()
		_ = p.b.Close()
		wantErr(t, <-waiting, net.ErrClosed)
		wantErr(t, <-waiting, net.ErrClosed)
		_, err := io.Copy(io.Discard, d)
		wantErr(t, err, ErrReset)
		_, err = p.b.Dial(ctx, p.to)
		wantErr(t, err, net.ErrClosed)
		_, err = p.b.Listen(svc("late"))
		wantErr(t, err, net.ErrClosed)
		_, _ = d.Close(), a.Close()
		if p.b.Deliver(p.to, p.to, []byte{0x40}, 0) {
			t.Error("a closed carrier takes packets")
		}
	})
}

// The service's streams outlive its listener.
func TestStreamOutlivesListener(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		p := newPair(t, basic)
		d, a := p.open(t)
		_ = p.l.Close()
		go func() {
			_, _ = io.Copy(d, &pattern{size: 1 << 20})
			_ = d.CloseWrite()
		}()
		if err := verify(a, 1<<20); err != nil {
			t.Fatal(err)
		}
		_, _ = d.Close(), a.Close()
	})
}

// A dial that an existing node really made.
func TestRecordedInitial(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		b, err := os.ReadFile("testdata/recorded-dial.json")
		if err != nil {
			t.Fatal(err)
		}
		var recorded struct {
			Source      string `json:"source"`
			Destination string `json:"destination"`
			Payload     string `json:"payload"`
		}
		if err := json.Unmarshal(b, &recorded); err != nil {
			t.Fatal(err)
		}
		var src, dst Endpoint
		payload := make([]byte, 1200)
		for _, f := range []struct {
			to   []byte
			text string
		}{{src[:], recorded.Source}, {dst[:], recorded.Destination}, {payload, recorded.Payload}} {
			if n, err := hex.Decode(f.to, []byte(f.text)); err != nil || n != len(f.to) {
				t.Fatalf("%d bytes: %v", n, err)
			}
		}

		type packet struct {
			from Endpoint
			b    byte
		}
		answers := make(chan packet, 100)
		m := newMesh(t, basic)
		m.attach(src.Node(), func(from, to Endpoint, b []byte, _ uint8) bool {
			if to == src {
				select {
				case answers <- packet{from, b[0]}:
				default:
				}
			}
			return true
		})
		c := m.node(dst.Node())
		if c.Deliver(src, dst, payload, 0) {
			t.Error("a dial to a service that is not bound is taken")
		}
		l, err := c.Listen(dst.Service())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		if !c.Deliver(src, dst, payload, 0) {
			t.Error("the dial is not taken")
		}
		select {
		case p := <-answers:
			if p.from != dst || p.b&0xf0 != 0xc0 {
				t.Errorf("the answer starts with %#x and comes from %x", p.b, p.from)
			}
		case <-time.After(60 * time.Second):
			t.Fatal("no answer")
		}
	})
}

// What Deliver says decides whether the sender gets a notice.
func TestDeliver(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		p := newPair(t, basic)
		from := MakeEndpoint(7, svc("someone"))
		initial := append([]byte{0xc0, 0, 0, 0, 1, 8}, make([]byte, 1194)...)
		initial2 := append([]byte{0xd0, 0x6b, 0x33, 0x43, 0xcf, 8}, make([]byte, 1194)...)
		unknown := append([]byte{0xc0, 9, 9, 9, 9, 8}, make([]byte, 1194)...)
		short := append([]byte{0x40}, make([]byte, 50)...)
		bound, unbound := p.to, MakeEndpoint(2, svc("nobody"))
		dial := MakeEndpoint(2, p.b.DialService())
		for _, c := range []struct {
			name string
			to   Endpoint
			b    []byte
			want bool
		}{
			{"initial, bound", bound, initial, true},
			{"short, bound", bound, short, true},
			{"initial, not bound", unbound, initial, false},
			{"initial of version 2, not bound", unbound, initial2, false},
			{"unknown version, not bound", unbound, unknown, false},
			{"short, never bound", unbound, short, false},
			{"initial to the dial service", dial, initial, false},
			{"short to the dial service", dial, short, true},
			{"a datagram, bound", bound, []byte{1, 2, 3}, true},
			{"a datagram, not bound", unbound, []byte{1, 2, 3}, false},
			{"a short datagram like QUIC, not bound", unbound, []byte{0xc0, 0, 0}, false},
			{"a datagram to the dial service", dial, []byte{1, 2, 3}, true},
			{"empty, bound", bound, nil, true},
			{"empty, not bound", unbound, nil, false},
			{"empty to the dial service", dial, nil, true},
		} {
			if got := p.b.Deliver(from, c.to, c.b, 0); got != c.want {
				t.Errorf("%s: %v, want %v", c.name, got, c.want)
			}
		}

		d, a := p.open(t)
		_ = p.l.Close()
		if !p.b.Deliver(from, bound, short, 0) {
			t.Error("short, not bound any more but with connections: not taken")
		}
		if p.b.Deliver(from, bound, initial, 0) {
			t.Error("initial, not bound any more: taken")
		}
		if p.b.Deliver(from, bound, []byte{1, 2, 3}, 0) {
			t.Error("a datagram, not bound any more: taken")
		}
		_, _ = d.Close(), a.Close()
	})
}
