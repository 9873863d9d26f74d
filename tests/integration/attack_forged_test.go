package integration

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"testing"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// distant is a node behind the healthy neighbour.
const distant = "gamma"

// What a neighbour says in the name of a distant node is not believed: a restart,
// an edge, a withdrawal, a duplicate. Streams with that node go on.
func TestForgedNewsOfADistantNode(t *testing.T) {
	s := newStand(t)
	entry := freePort(t)
	_, err := s.Start("receptor", "--node", "id="+distant, "--tcp-peer", "address="+s.behind,
		"--tcp-server", "bindaddr=127.0.0.1", "port="+strconv.Itoa(entry), "remotenode="+victim, "remoteservice=app")
	must(t, err)
	must(t, s.WaitRoute(s.ctx, victim, distant))
	must(t, s.WaitRoute(s.ctx, distant, victim))
	must(t, lab.WaitRoundTrip(s.ctx, lab.Local(entry)))
	stream, err := lab.DialWait(s.ctx, lab.Local(entry))
	must(t, err)
	defer stream.Close()
	deadline, _ := s.ctx.Deadline()
	must(t, stream.SetDeadline(deadline))
	echo := func(text string) {
		t.Helper()
		_, err := io.WriteString(stream, text)
		must(t, err)
		back := make([]byte, len(text))
		if _, err := io.ReadFull(stream, back); err != nil || string(back) != text {
			t.Fatalf("the stream with the distant node: %q came back as %q: %v", text, back, err)
		}
	}
	echo("before")
	now := epoch(s.ctx, t, s.Lab, distant)
	foreign := json.RawMessage(fmt.Sprintf(`{"v":1,"key":%q,"sig":%q}`,
		base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32)), base64.StdEncoding.EncodeToString(make([]byte, 64))))
	forged := []update{
		{UpdateEpoch: now + 1, UpdateSequence: 1, Connections: map[string]float64{evil: 0.001}},                          // restarted
		{UpdateEpoch: now, UpdateSequence: math.MaxUint64 - 1, Connections: map[string]float64{evil: 0.001, healthy: 1}}, // an edge
		{UpdateEpoch: now, UpdateSequence: math.MaxUint64, Connections: map[string]float64{}},                            // withdrawn
		{UpdateEpoch: 1, UpdateSequence: 1, SuspectedDuplicate: now},                                                     // a duplicate
	}
	for _, m := range s.media() {
		for _, c := range []struct {
			name     string
			ours     json.RawMessage // said by the evil neighbour of itself
			ext      json.RawMessage // in the forged updates
			counter  string
			alarming bool
		}{
			{"by an existing node", nil, nil, "update_unsigned_by_legacy", false},
			{"not signed", json.RawMessage(`{"v":1}`), nil, "update_unsigned", true},
			{"signed by another", json.RawMessage(`{"v":1}`), foreign, "update_wrong_key", true},
		} {
			t.Run(m.name+"/"+c.name, func(t *testing.T) {
				p := s.neighbourSaying(t, m, c.ours)
				before := s.status(t)
				for _, u := range forged {
					u.NodeID, u.Ext = distant, c.ext
					p.route(u)
				}
				p.own(map[string]float64{victim: 1, distant: 0.001}) // the other end of the edge
				s.expectRise(t, before, map[string]uint64{c.counter: uint64(len(forged))})
				must(t, s.WaitStatus(s.ctx, victim, func(st *lab.Status) bool { return st.KnownCosts[evil][distant] != 0 }))
				echo(c.name)
				after := s.status(t)
				if via := after.RoutingTable[distant]; via != healthy {
					t.Errorf("the way to the distant node is over %q", via)
				}
				if links := after.KnownCosts[distant]; len(links) != 1 || links[healthy] != 1 {
					t.Errorf("the distant node is said to have the links %v", links)
				}
				if raised := after.Alarm("forged_update").Count > before.Alarm("forged_update").Count; raised != c.alarming {
					t.Errorf("alarm raised: %t, want %t: %+v", raised, c.alarming, after.Alarms)
				}
				s.expectUnhurt(t)
			})
		}
	}
	// Nobody else takes its name either, while it is known.
	for _, m := range s.media() {
		before := s.status(t)
		p := s.silent(t, m)
		p.route(update{NodeID: distant, ForwardingNode: distant, UpdateEpoch: now + 2, UpdateSequence: 1})
		s.expectClosed(t, p)
		s.expectRise(t, before, map[string]uint64{"update_unsigned": 1, "link_refused": 1})
	}
	echo("after")
	if st := s.status(t); slices.ContainsFunc(st.Links, func(l lab.Link) bool { return l.Peer == distant }) {
		t.Errorf("links %+v", st.Links)
	}
}
