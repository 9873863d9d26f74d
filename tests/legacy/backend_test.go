package legacy

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"
)

// patience is ten times what anything here takes on a busy machine.
const patience = 30 * time.Second

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// Over each medium two nodes find each other, and again after the link was cut.
func TestMedia(t *testing.T) {
	t.Parallel()
	type medium struct {
		listen func(n *Node, at string) (*Backend, error)
		dial   func(n *Node, addr string) error
	}
	dialled := func(_ *Backend, err error) error { return err }
	ca := newAuthority(t)
	server, client := ca.issue("l"), ca.issue("d")
	server.RequireClientCert = true
	for name, m := range map[string]medium{
		"tcp": {
			func(n *Node, at string) (*Backend, error) { return n.ListenTCP(at, LinkConfig{}, nil) },
			func(n *Node, addr string) error { return dialled(n.DialTCP(addr, LinkConfig{}, nil, true), nil) },
		},
		"tcp with TLS": {
			func(n *Node, at string) (*Backend, error) { return n.ListenTCP(at, LinkConfig{}, server) },
			func(n *Node, addr string) error { return dialled(n.DialTCP(addr, LinkConfig{}, client, true), nil) },
		},
		"udp": {
			func(n *Node, at string) (*Backend, error) { return n.ListenUDP(at, LinkConfig{}) },
			func(n *Node, addr string) error { return dialled(n.DialUDP(addr, LinkConfig{}, true), nil) },
		},
		"ws": {
			func(n *Node, at string) (*Backend, error) { return n.ListenWebSocket(at, "/mesh", LinkConfig{}, nil) },
			func(n *Node, addr string) error {
				return dialled(n.DialWebSocket("ws://"+addr+"/mesh", nil, LinkConfig{}, nil, true))
			},
		},
		"wss": {
			func(n *Node, at string) (*Backend, error) { return n.ListenWebSocket(at, "", LinkConfig{}, server) },
			func(n *Node, addr string) error {
				return dialled(n.DialWebSocket("wss://"+addr, nil, LinkConfig{}, client, true))
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, d := start(t, Config{ID: "l"}), start(t, Config{ID: "d", RedialPace: 0.01})
			b, err := m.listen(l, "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			addr := b.Addr.String()
			if err := m.dial(d, addr); err != nil {
				t.Fatal(err)
			}
			linked := func() bool { return l.Routes()["d"] != "" && d.Routes()["l"] != "" }
			eventually(t, "the link is up", linked)
			if p := d.Ping(t.Context(), "l", maxHops); p.Err != nil {
				t.Errorf("ping: %v", p.Err)
			}
			if name == "udp" {
				return // which tells nobody of an end
			}
			b.Close()
			eventually(t, "both ends have forgotten the link", func() bool { return len(l.Routes())+len(d.Routes()) == 0 })
			if _, err := m.listen(l, addr); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the link is up again", linked)
		})
	}
}

// The pauses between dials are those of the document, but for the pace.
func TestRedialPauses(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close() // so that nobody listens
	failures := make(chan time.Time, 100)
	n, err := Start(Config{ID: "a", RedialPace: 0.01, Trace: func(e Event) {
		if e.Way == Note {
			failures <- e.Time
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	n.DialTCP(addr, LinkConfig{}, nil, true)
	last := <-failures
	for i, least := range []float64{50, 75, 112.5, 168.75, 200, 200} {
		at := <-failures
		if got := at.Sub(last).Seconds() * 1000; got < least-1 {
			t.Errorf("pause %d is %v ms, expected %v", i, got, least)
		}
		last = at
	}
}

func TestBadConfigs(t *testing.T) {
	t.Parallel()
	for _, c := range []Config{
		{}, {ID: "LocalHost"}, {ID: "a", MaxIdle: time.Second}, {ID: "a", Firewall: []Rule{{Action: "refuse"}}}, {ID: "a", RedialPace: -1},
	} {
		if n, err := Start(c); err == nil {
			n.Close()
			t.Errorf("started with %+v", c)
		}
	}
}

// After its end a node takes nothing.
func TestClosedNode(t *testing.T) {
	t.Parallel()
	n := start(t, Config{ID: "a"})
	n.Close()
	if _, err := n.ListenPacket("x"); !errors.Is(err, ErrClosed) {
		t.Errorf("listens: %v", err)
	}
	near, far := net.Pipe()
	defer far.Close()
	<-n.AddLink(NewFramed(near), LinkConfig{})
	if got := fmt.Sprint(n.Err()); got != ErrClosed.Error() {
		t.Errorf("ended with %s", got)
	}
}
