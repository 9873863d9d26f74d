package integration

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// udpSource is somebody who sends datagrams to the victim, and counts what it sends
// and what comes back.
type udpSource struct {
	t    *testing.T
	conn *net.UDPConn
	out  int
}

// source opens a socket at an address of this host: all of 127/8 are, so who comes
// from many of them is like one who forges them.
func (s *stand) source(t *testing.T, at string) *udpSource {
	t.Helper()
	var d net.Dialer
	d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(at)}
	c, err := d.DialContext(s.ctx, "udp", s.link)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return &udpSource{t: t, conn: c.(*net.UDPConn)}
}

func (u *udpSource) send(msg []byte) {
	u.t.Helper()
	n, err := u.conn.Write(msg)
	must(u.t, err)
	u.out += n
}

// hear waits for a datagram.
func (u *udpSource) hear() []byte {
	u.t.Helper()
	must(u.t, u.conn.SetReadDeadline(time.Now().Add(patience)))
	buf := make([]byte, 64<<10)
	n, err := u.conn.Read(buf)
	must(u.t, err)
	return buf[:n]
}

// expectSmall reads what has come, and checks that it is no more than three times
// what was sent, heard of it before included.
func (u *udpSource) expectSmall(heard int) {
	u.t.Helper()
	buf := make([]byte, 64<<10)
	for {
		must(u.t, u.conn.SetReadDeadline(time.Now().Add(time.Millisecond)))
		n, err := u.conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		must(u.t, err)
		heard += n
	}
	if heard > 3*u.out {
		u.t.Errorf("%d bytes came back for %d", heard, u.out)
	}
}

// own is a routing update of a node about itself.
func own(node string, epoch uint64, links string) []byte {
	return fmt.Appendf([]byte{1}, `{"NodeID":%[1]q,"UpdateID":"%08[2]x","UpdateEpoch":%[2]d,"UpdateSequence":1,"Connections":{%[3]s},"ForwardingNode":%[1]q}`, node, epoch, links)
}

// expectCounted waits until the backend's counters have risen by that since before,
// whatever has become of some.
func (s *stand) expectCounted(t *testing.T, before *lab.Status, want map[string]uint64, but ...string) {
	t.Helper()
	var risen map[string]uint64
	err := s.WaitStatus(s.ctx, victim, func(st *lab.Status) bool {
		risen = maps.Clone(st.Plug("backend-udp").Counters)
		for name, n := range before.Plug("backend-udp").Counters {
			if risen[name] -= n; risen[name] == 0 {
				delete(risen, name)
			}
		}
		for _, name := range but {
			delete(risen, name)
		}
		return maps.Equal(risen, want)
	})
	if err != nil {
		t.Fatalf("counters rose by %v, expected %v", risen, want)
	}
}

// What anybody can send to a UDP listener, from any address, costs the victim no
// link, and nobody more than three times what was sent.
func TestAttacksOverUDP(t *testing.T) {
	t.Parallel()
	s := newStandOver(t, programs, "udp", freeUDPPort(t))
	backend := s.program(t, "receptor-backend-udp")
	open := descriptors(t, backend.PID())
	for _, a := range []struct {
		name   string
		attack func(t *testing.T)
		rise   map[string]uint64
	}{
		{"S2 empty datagrams", func(t *testing.T) {
			for range 20 {
				u := s.source(t, "127.0.0.1")
				for range 5 {
					u.send(nil)
				}
				defer u.expectSmall(0)
			}
		}, map[string]uint64{"datagram_empty": 100}},
		{"every length up to 40", func(t *testing.T) {
			u := s.source(t, "127.0.0.1")
			for n := 1; n <= 40; n++ {
				u.send(bytes.Repeat([]byte{1}, n))
			}
			u.expectSmall(0)
		}, map[string]uint64{"datagram_unanswered": 40}},
		{"the greatest, of every type", func(t *testing.T) {
			for kind := byte(0); kind < 5; kind++ {
				u := s.source(t, "127.0.0.1")
				u.send(bytes.Repeat([]byte{kind}, 65507))
				u.expectSmall(len(u.hear()))
			}
		}, nil},
		{"two thousand false addresses", func(t *testing.T) {
			msg := own("forged", 7, "")
			for i := range 2000 {
				u := s.source(t, fmt.Sprintf("127.1.%d.%d", i/250, 1+i%250))
				u.send(msg)
				if i%100 == 0 {
					u.expectSmall(len(u.hear()))
				}
				must(t, u.conn.Close())
			}
		}, nil},
	} {
		t.Run(a.name, func(t *testing.T) {
			before := s.status(t)
			a.attack(t)
			s.expectCounted(t, before, a.rise)
			s.expectUnhurt(t)
			if st := s.status(t); len(st.Links) != 1 {
				t.Errorf("links: %+v", st.Links)
			}
			if now := descriptors(t, backend.PID()); now > open {
				t.Errorf("the backend has %d descriptors open, %d before", now, open)
			}
		})
	}
}

// Who answers the greeting and then says nothing that makes it a neighbour, or makes
// it one without listing the victim, gets little, and is forgotten.
func TestSlowOpenersOverUDP(t *testing.T) {
	t.Parallel()
	s := newStandOver(t, programs, "udp", freeUDPPort(t))
	var all []*udpSource
	heard := map[*udpSource]int{}
	for i := range 200 {
		u := s.source(t, "127.2.0.1")
		msg := own(fmt.Sprint("slow-", i), uint64(i), "")
		if i%2 == 0 {
			msg = append([]byte{1}, bytes.Repeat([]byte("{"), 150)...)
		}
		u.send(msg)
		heard[u] = len(u.hear())
		u.send(msg)
		all = append(all, u)
	}
	must(t, s.WaitStatus(s.ctx, victim, func(st *lab.Status) bool { return len(st.Links) == 1+len(all) }))
	s.expectUnhurt(t)
	// Who says who it is gets the time of every link, which is longer.
	must(t, s.WaitStatus(s.ctx, victim, func(st *lab.Status) bool { return len(st.Links) <= 1+len(all)/2 }))
	s.expectUnhurt(t)
	for _, u := range all {
		u.expectSmall(heard[u])
	}
}

// A neighbour over UDP can send the worst: it costs its link at most.
func TestAttacksOfANeighbourOverUDP(t *testing.T) {
	t.Parallel()
	s := newStandOver(t, programs, "udp", freeUDPPort(t))
	u := s.source(t, "127.0.0.1")
	u.send(own(evil, s.epoch, ""))
	u.hear()
	u.send(own(evil, s.epoch, `"alpha":1`))
	must(t, s.WaitStatus(s.ctx, victim, func(st *lab.Status) bool { return len(st.Links) == 2 }))
	before := s.status(t)
	for range 10 {
		u.send(nil)
	}
	for n := 1; n <= 40; n++ {
		u.send(make([]byte, n))
	}
	u.send(make([]byte, 65507))
	s.expectRise(t, before, map[string]uint64{"short": 35, "unknown_node": 6})
	// What the node says before the backend knows that the link stands may be too much.
	s.expectCounted(t, before, map[string]uint64{"datagram_empty": 10}, "datagram_unproven")
	s.expectUnhurt(t)
	u.send([]byte{3})
	must(t, s.WaitStatus(s.ctx, victim, func(st *lab.Status) bool { return len(st.Links) == 1 }))
	s.expectUnhurt(t)
}
