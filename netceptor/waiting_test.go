package netceptor

import (
	"errors"
	"net"
	"testing"
)

// More connections than may wait do not keep an honest neighbour out, and leave
// nothing behind. A listener's silent crowd is no other listener's business.
func TestCrowdAtTheDoor(t *testing.T) {
	t.Parallel()
	n := startNode(t, Config{NodeID: "victim"})
	in := func(item string) LinkConfig { return LinkConfig{Item: item, Dir: "in"} }
	other := connectRaw(t, n, "other", in("quiet"))
	silent := func() *Link {
		near, far := net.Pipe()
		t.Cleanup(func() { far.Close() })
		return addLink(t, n, near, in("busy"))
	}
	const more = 40
	var links []*Link
	for range maxWaiting + more {
		links = append(links, silent())
	}
	for i, l := range links[:more] {
		if err := ended(t, l); !errors.Is(err, errWaited) {
			t.Errorf("link %d ended with %v", i, err)
		}
	}
	if err := links[more].Err(); err != nil {
		t.Errorf("a younger one ended, too: %v", err)
	}
	s := n.Status()
	if got := s.Counters["connections_waiting"]; got != more || len(s.Links) != maxWaiting+1 {
		t.Errorf("%d made room, %d links are left", got, len(s.Links))
	}
	if a := s.Alarms; len(a) != 1 || a[0].Alarm != "connections_waiting" || a[0].Count != more || a[0].Detail != "busy" {
		t.Errorf("alarms: %+v", a)
	}

	honest := connectRaw(t, n, "honest", in("busy"))
	honest.update("honest", nil)
	other.update("other", nil)
	waitFor(t, n, "both neighbours", func(s Status) bool { return len(s.Connections) == 2 })
	for range maxWaiting {
		silent() // those who have said who they are stay
	}
	if s := n.Status(); len(s.Connections) != 2 {
		t.Errorf("neighbours: %v", s.Connections)
	}
}
