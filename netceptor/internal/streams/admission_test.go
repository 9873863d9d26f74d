package streams

import (
	"context"
	"errors"
	"testing"

	"github.com/quic-go/quic-go"
)

// knock is a first packet of a node.
func knock(a *admission, node uint64) (*visit, error) {
	ctx, err := a.enter(context.Background(), &quic.ClientInfo{RemoteAddr: MakeEndpoint(node, [8]byte{'x'}).addr()})
	if err != nil {
		return nil, err
	}
	return ctx.Value(visitKey{}).(*visit), nil
}

func TestAdmissionOfHandshakes(t *testing.T) {
	t.Parallel()
	var a admission
	if a.verify(nil) {
		t.Error("a dialler of an idle node has to show its address")
	}
	for i := range maxNodeHandshakes {
		if _, err := knock(&a, 1); err != nil {
			t.Fatalf("handshake %d: %v", i, err)
		}
	}
	if _, err := knock(&a, 1); !errors.Is(err, errHandshakes) {
		t.Errorf("one too many of a node: %v", err)
	}
	if a.verify(nil) {
		t.Error("an address is asked for although only half of the places are taken")
	}
	for range maxHandshakes - maxNodeHandshakes {
		if _, err := knock(&a, 2); err != nil {
			t.Fatal(err)
		}
	}
	if !a.verify(nil) {
		t.Error("no address is asked for")
	}
	if _, err := knock(&a, 3); !errors.Is(err, errHandshakes) {
		t.Errorf("one too many of all: %v", err)
	}
	if a.retries != 1 || a.handshakesRefused != 2 || a.connsRefused != 0 {
		t.Errorf("counted %d, %d, %d", a.retries, a.handshakesRefused, a.connsRefused)
	}
}

// What has ended, by whatever end, leaves nothing.
func TestAdmissionForgets(t *testing.T) {
	t.Parallel()
	var a admission
	for i := range maxNodeConns {
		v, err := knock(&a, 1)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		a.mu.Lock()
		v.meet()
		v.meet()
		a.mu.Unlock()
	}
	if _, err := knock(&a, 1); !errors.Is(err, errNodeConns) {
		t.Errorf("one too many of a node: %v", err)
	}
	v, err := knock(&a, 2)
	if err != nil {
		t.Fatal(err)
	}
	v.end() // in the handshake
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.handshakes != 0 || len(a.nodes) != 1 || a.nodes[1].conns != maxNodeConns || a.nodes[1].handshakes != 0 {
		t.Errorf("%d handshakes, nodes %v", a.handshakes, a.nodes)
	}
}

// Among many handshakes a dialler has to show its address, which it does without
// its user noticing; among too many it is refused at once.
func TestAdmissionOfDiallers(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		p := newPair(t, basic)
		a := &p.b.admission
		others := func(n int) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.handshakes += n
		}
		others(retryAbove + 1)
		d, s := p.open(t)
		if got := p.b.Counters()["stream_retries"]; got == 0 {
			t.Error("the dialler did not have to show its address")
		}
		others(maxHandshakes - retryAbove)
		c := p.m.node(3)
		if _, err := c.Dial(t.Context(), MakeEndpoint(2, svc("echo"))); err == nil {
			t.Error("a dialler that is too many was let in")
		}
		if got := p.b.Counters()["stream_handshakes_refused"]; got == 0 {
			t.Error("nothing was counted")
		}
		others(-1 - maxHandshakes)
		_, _ = d.Close(), s.Close()
		again, s := openStream(t, c, p.l, MakeEndpoint(2, svc("echo")))
		_, _ = again.Close(), s.Close()
		eventually(t, "no handshakes are counted", func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.handshakes == 0 && a.nodes[1].conns == 1 && a.nodes[3].conns == 1
		})
	})
}
