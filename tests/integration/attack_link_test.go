package integration

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// What a neighbour can send, with the counters that rise by exactly that; and
// after each the victim is the same process and serves its healthy neighbour.
// The numbers are those of the verified attacks on legacy nodes.
func TestAttacksOfANeighbour(t *testing.T) {
	s := newStand(t)
	claimed := s.status(t).Epoch
	healthyEpoch := epoch(s.ctx, t, s.Lab, healthy)
	attacks := []struct {
		name   string
		attack func(p *evilPeer)
		rise   map[string]uint64
		alarm  string
	}{
		{"S1 empty frames", func(p *evilPeer) {
			for range 10 {
				p.send()
			}
		}, map[string]uint64{"empty_frame": 10}, ""},
		{"S1 every length up to 40, and the greatest", func(p *evilPeer) {
			for n := 1; n <= 40; n++ {
				p.send(make([]byte, n)...)
			}
			p.send(make([]byte, 65535)...)
		}, map[string]uint64{"short": 35, "unknown_node": 6}, ""},
		{"S3 the victim as source, every pair of reserved services", func(p *evilPeer) {
			for _, from := range []string{"ping", "unreach"} {
				for _, to := range []string{"ping", "unreach"} {
					p.data(30, victimHash, from, victimHash, to, "")
					p.data(30, victimHash, from, healthyHash, to, "")
				}
			}
		}, map[string]uint64{"spoofed_source": 8}, ""},
		{"S3 a reserved service as source", func(p *evilPeer) {
			p.data(30, evilHash, "ping", victimHash, "ping", "")
			p.data(30, evilHash, "unreach", victimHash, "ping", "")
			p.data(30, evilHash, "ping", victimHash, "unreach", "")
		}, map[string]uint64{"reserved_source": 2, "bad_notice": 1}, ""},
		{"the healthy neighbour as source", func(p *evilPeer) {
			p.data(30, healthyHash, "x", victimHash, "ping", "")
			p.data(30, healthyHash, "unreach", victimHash, "unreach",
				`{"FromNode":"alpha","ToNode":"beta","FromService":"x","ToService":"app","Problem":"service unknown"}`)
			p.data(30, healthyHash, "x", healthyHash, "ping", "")
		}, map[string]uint64{"reverse_path": 3}, ""},
		{"S4 the victim called the duplicate of itself", func(p *evilPeer) {
			p.route(update{NodeID: victim, UpdateEpoch: claimed + 1, UpdateSequence: 1, SuspectedDuplicate: claimed})
			p.route(update{NodeID: victim, UpdateEpoch: 1, UpdateSequence: 1, SuspectedDuplicate: claimed})
		}, map[string]uint64{"update_claims_our_id": 2}, "duplicate_node_id"},
		{"the victim's ID with the greatest epoch, and the greatest sequence", func(p *evilPeer) {
			p.route(update{NodeID: victim, UpdateEpoch: math.MaxUint64, UpdateSequence: 1})
			p.route(update{NodeID: victim, UpdateEpoch: claimed, UpdateSequence: math.MaxUint64})
		}, map[string]uint64{"update_claims_our_id": 2}, "duplicate_node_id"},
		{"the healthy neighbour restarted, re-routed, called a duplicate", func(p *evilPeer) {
			for _, u := range []update{
				{UpdateEpoch: healthyEpoch + 1, UpdateSequence: 1},
				{UpdateEpoch: healthyEpoch, UpdateSequence: math.MaxUint64},
				{UpdateEpoch: 1, UpdateSequence: 1, SuspectedDuplicate: healthyEpoch},
			} {
				u.NodeID, u.Connections = healthy, map[string]float64{evil: 0.001}
				p.route(u)
			}
			p.own(map[string]float64{victim: 1, healthy: 0.001})
		}, map[string]uint64{"update_second_hand": 3}, ""},
		{"S5 negative costs", func(p *evilPeer) {
			p.own(map[string]float64{victim: 1, "x": -5})
			p.route(update{NodeID: "x", Connections: map[string]float64{evil: -5}})
		}, map[string]uint64{"bad_cost": 2}, "bad_update"},
		{"S5 a negative cycle of three", func(p *evilPeer) {
			for i := range 3 {
				p.route(update{NodeID: fmt.Sprint("n", i), Connections: map[string]float64{fmt.Sprint("n", (i+1)%3): -1, fmt.Sprint("n", (i+2)%3): -1}})
			}
		}, map[string]uint64{"bad_cost": 3}, "bad_update"},
		{"S5 zero, too much, and no number", func(p *evilPeer) {
			p.route(update{NodeID: "x", Connections: map[string]float64{evil: 0}})
			p.route(update{NodeID: "x", Connections: map[string]float64{evil: 1e308}})
			p.route(update{NodeID: "x", Connections: map[string]float64{evil: math.Nextafter(1e9, 2e9)}})
			for _, number := range []string{"NaN", "Infinity", "-1e999", "1e999"} {
				p.send(fmt.Appendf([]byte{1}, `{"NodeID":"x","Connections":{"foo":%s},"ForwardingNode":"foo"}`, number)...)
			}
		}, map[string]uint64{"bad_cost": 3, "malformed_update": 4}, "bad_update"},
		{"an epoch at the end of time", func(p *evilPeer) {
			p.route(update{NodeID: "x", UpdateEpoch: math.MaxUint64, UpdateSequence: 1})
		}, map[string]uint64{"epoch_ahead": 1}, "bad_update"},
		{"updates that are none", func(p *evilPeer) {
			for _, text := range []string{"", "{", "null x", `{"UpdateEpoch":-1}`, `{"NodeID":7}`, strings.Repeat("[", 60000)} {
				p.send(append([]byte{1}, text...)...)
			}
			p.send(append([]byte{1}, `{"NodeID":"`+strings.Repeat("n", 2000)+`","ForwardingNode":"foo"}`...)...)
		}, map[string]uint64{"malformed_update": 7}, ""},
		{"advertisements that end legacy nodes, too long, of tomorrow", func(p *evilPeer) {
			for _, text := range []string{"{}", "null", `{"Cancel":true}`, "", "["} {
				p.send(append([]byte{2}, text...)...)
			}
			p.send(append([]byte{2}, bytes.Repeat([]byte(" "), 16<<10)...)...)
			p.send(append([]byte{2}, `{"NodeID":"x","Service":"s","Time":"9999-01-01T00:00:00Z"}`...)...)
		}, map[string]uint64{"malformed_ad": 5, "ad_too_long": 1, "ad_ahead": 1}, "bad_update"},
		{"more services of a node than are kept", func(p *evilPeer) {
			for i := range 300 {
				p.send(fmt.Appendf([]byte{2}, `{"NodeID":"x%x","Service":"s%d","Time":"2026-01-01T00:00:00Z"}`, p.epoch, i)...)
			}
		}, map[string]uint64{"too_many_ads_of_node": 300 - 256}, "table_full"},
		{"every other type of message", func(p *evilPeer) {
			for kind := 4; kind < 256; kind++ {
				p.send(byte(kind), '{')
			}
		}, map[string]uint64{"unknown_type": 252}, ""},
		{"more pings than are answered", func(p *evilPeer) {
			for range 2000 {
				p.data(30, evilHash, "x", victimHash, "ping", "")
			}
			p.data(30, evilHash, "x", victimHash, "nosuch", "y") // after all of them
		}, map[string]uint64{"service_unknown": 1}, ""},
	}
	for _, m := range s.media() {
		for _, a := range attacks {
			t.Run(m.name+"/"+a.name, func(t *testing.T) {
				p := s.neighbour(t, m)
				before := s.status(t)
				a.attack(p)
				s.expectRise(t, before, a.rise)
				s.expectUnhurt(t)
				after := s.status(t)
				if a.alarm != "" && after.Alarm(a.alarm).Count == before.Alarm(a.alarm).Count && a.alarm != "duplicate_node_id" {
					t.Errorf("no alarm %s: %+v", a.alarm, after.Alarms)
				}
				if a.alarm != "" && after.Alarm(a.alarm).Count == 0 {
					t.Errorf("alarm %s was never raised", a.alarm)
				}
				if limited := after.Counters["rate_limited"] - before.Counters["rate_limited"]; a.name == "more pings than are answered" && limited < 1000 {
					t.Errorf("only %d of 2000 pings were not answered", limited)
				}
			})
		}
	}
	// Nothing of it was believed.
	if st := s.status(t); st.RoutingTable["x"] != "" || st.RoutingTable["n0"] != "" {
		t.Errorf("routes %v", st.RoutingTable)
	}
}

// What ends the link of who sends it, and only that.
func TestAttacksThatCostTheLink(t *testing.T) {
	s := newStand(t)
	for _, m := range s.media() {
		for _, a := range []struct {
			name   string
			attack func(p *evilPeer)
			rise   map[string]uint64
			alarm  string // part of the alarm's detail
		}{
			{"an update in another's name", func(p *evilPeer) {
				p.route(update{NodeID: "x", ForwardingNode: healthy})
			}, map[string]uint64{"link_refused": 1}, `in the name of "beta"`},
			{"another cost than the link's", func(p *evilPeer) {
				p.own(map[string]float64{victim: 0.001})
			}, map[string]uint64{"link_refused": 1}, "the cost of this link"},
			{"the link no longer listed", func(p *evilPeer) {
				p.own(map[string]float64{})
			}, map[string]uint64{"link_refused": 1}, "no longer lists this link"},
			{"a truncated frame", func(p *evilPeer) {
				p.bytes(0xff, 0xff, 0)
				p.conn.Close()
			}, nil, ""},
			{"a reject", func(p *evilPeer) { p.send(3) }, nil, ""},
		} {
			t.Run(m.name+"/"+a.name, func(t *testing.T) {
				p := s.neighbour(t, m)
				before := s.status(t)
				a.attack(p)
				s.expectClosed(t, p)
				s.expectRise(t, before, a.rise)
				must(t, s.WaitStatus(s.ctx, victim, func(st *lab.Status) bool { return len(st.Links) == 1 }))
				if detail := s.status(t).Alarm("link_refused").Detail; !strings.Contains(detail, a.alarm) {
					t.Errorf("the alarm says %q, not %q", detail, a.alarm)
				}
				s.expectUnhurt(t)
			})
		}
	}
}

// Who has not said who it is. The links end by themselves, after ten seconds.
func TestAttacksOfAStranger(t *testing.T) {
	s := newStand(t)
	for _, m := range s.media() {
		t.Run(m.name, func(t *testing.T) {
			before := s.status(t)
			peers := make(map[string]*evilPeer)
			for name, attack := range map[string]func(p *evilPeer){
				"S1": func(p *evilPeer) { p.bytes(0, 0) },
				"every length": func(p *evilPeer) {
					for n := 1; n <= 40; n++ {
						p.send(make([]byte, n)...)
					}
				},
				"the greatest length": func(p *evilPeer) { p.send(make([]byte, 65535)...) },
				"data":                func(p *evilPeer) { p.data(30, victimHash, "ping", victimHash, "ping", "") },
				"HTTP":                func(p *evilPeer) { p.bytes([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")...) },
				"TLS":                 func(p *evilPeer) { p.bytes(22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3) },
				"half a frame":        func(p *evilPeer) { p.bytes(0xff, 0xff, 1, '{') },
				"nothing":             func(*evilPeer) {},
				"relayed updates only": func(p *evilPeer) {
					for range 20 {
						p.route(update{NodeID: "x"})
					}
				},
				"the name of localhost": func(p *evilPeer) { p.route(update{NodeID: "LocalHost", ForwardingNode: "LocalHost"}) },
				"the victim's name":     func(p *evilPeer) { p.route(update{NodeID: victim, ForwardingNode: victim}) },
				"a neighbour's name":    func(p *evilPeer) { p.route(update{NodeID: healthy, ForwardingNode: healthy, UpdateEpoch: 1}) },
			} {
				peers[name] = s.silent(t, m)
				attack(peers[name])
			}
			s.expectRise(t, before, map[string]uint64{"link_refused": 3})
			s.expectUnhurt(t)
			for name, p := range peers {
				select {
				case <-p.read:
				case <-s.ctx.Done():
					t.Errorf("%s: the victim has not closed the link", name)
				}
			}
			// Data are 40 sizes, the greatest and the ping; 20 updates were only relayed.
			s.expectRise(t, before, map[string]uint64{"empty_frame": 1, "link_refused": 3, "not_established": 40 + 1 + 1 + 20})
			must(t, s.WaitStatus(s.ctx, victim, func(st *lab.Status) bool { return len(st.Links) == 1 }))
			s.expectUnhurt(t)
		})
	}
}
