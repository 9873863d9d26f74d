package streams

import (
	"encoding/hex"
	"testing"
)

// Packets that are none, or of no connection, for a service and for the service
// that the node dials from: nothing panics, nobody waits, and the sender is told
// just of a service that is not bound.
func FuzzDeliver(f *testing.F) {
	initial, err := hex.DecodeString("c000000001080102030405060708000040") // an Initial, cut off
	if err != nil {
		f.Fatal(err)
	}
	f.Add(initial)
	f.Add(append(initial, make([]byte, 1200)...))
	f.Add([]byte{0xc0, 0xaa, 0xbb, 0xcc, 0xdd, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0}) // of no known version
	f.Add([]byte{0x80, 0, 0, 0, 0, 4, 1, 2, 3, 4, 0, 0, 0, 0, 1})             // Version Negotiation
	f.Add(append([]byte{0x40, 1, 2, 3, 4}, make([]byte, 60)...))              // of a connection that is gone
	var carriers []*Carrier
	for _, basic := range []bool{true, false} {
		c, err := New(Config{NodeID: "victim", Self: 7, Basic: basic, Send: func(_, _ Endpoint, _ []byte, _ int, _ uint8) {}})
		if err != nil {
			f.Fatal(err)
		}
		if err := c.Start(); err != nil {
			f.Fatal(err)
		}
		f.Cleanup(func() { _ = c.Close() })
		if _, err := c.Listen(svc("svc")); err != nil {
			f.Fatal(err)
		}
		carriers = append(carriers, c)
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		src := MakeEndpoint(9, svc("x"))
		for _, c := range carriers {
			for _, service := range [][8]byte{svc("svc"), c.DialService(), svc("nosuch")} {
				ours := c.Deliver(src, MakeEndpoint(7, service), packet, 0)
				if service == c.DialService() && !ours && kindOf(packet) != kindOpening {
					t.Error("an answer to the service that we dial from is not taken")
				}
				if service == svc("svc") && !ours {
					t.Error("a packet for a bound service is not its own")
				}
				if service == svc("nosuch") && ours {
					t.Error("a packet for a service that is not bound was taken")
				}
			}
		}
	})
}
