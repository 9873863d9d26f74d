package netceptor

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// alarmIn is an alarm of a node, if it was raised.
func alarmIn(s Status, name string) (Alarm, bool) {
	for _, a := range s.Alarms {
		if a.Alarm == name {
			return a, true
		}
	}
	return Alarm{}, false
}

// Every alarm is logged once, and counted for as long as it goes on.
func TestAlarmIsLoggedOnce(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := hclog.New(&hclog.LoggerOptions{Output: &out})
	var a alarms
	for i := range 1000 {
		a.raise(log, alarmUpdate, "evil", fmt.Sprint("reason ", i))
	}
	a.raise(log, alarmPanic, "", "")
	if got := strings.Count(out.String(), "[WARN]"); got != 2 {
		t.Errorf("%d lines were logged:\n%s", got, out.String())
	}
	all := a.all()
	if len(all) != 2 || all[0].Count != 1000 || all[0].Detail != "reason 999" || all[0].Peer != "evil" || all[0].Last.Before(all[0].First) {
		t.Errorf("alarms %+v", all)
	}
}

// Links that are refused for what their other end said or is, and what is seen of it.
func TestRefusedLinksAreAlarms(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		who   string
		do    func(p *rawPeer)
		alarm string // part of the detail; empty: none
	}{
		{"not allowed", "evil", func(p *rawPeer) { p.update("evil", nil) }, `"evil" is not among the allowed peers`},
		{"our own ID", "victim", func(p *rawPeer) { p.update("victim", nil) }, "has our own node ID"},
		{"connected already", "healthy", func(p *rawPeer) {
			p.route(&wire.RoutingUpdate{NodeID: "healthy", UpdateEpoch: 1, UpdateSequence: 1})
		}, ""},
		{"in another's name", "allowed", func(p *rawPeer) {
			p.update("allowed", nil)
			p.id = "healthy"
			p.update("healthy", map[string]float64{"victim": 1})
		}, `node "allowed" sent an update in the name of "healthy"`},
		{"another cost", "allowed", func(p *rawPeer) {
			p.update("allowed", nil)
			p.update("allowed", map[string]float64{"victim": 0.001})
		}, "the cost of this link is 1 here and 0.001"},
		{"a name as long as can be", strings.Repeat("\x1b[2J\n", 200), func(p *rawPeer) { p.update(p.id, nil) }, `\x1b[2J\n`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			nodes := startNodes(t, "victim", "healthy")
			victim, healthy := nodes[0], nodes[1]
			join(t, victim, healthy)
			waitRoutes(t, nodes...)
			p := connectRaw(t, victim, test.who, LinkConfig{AllowedPeers: []string{"allowed", "healthy"}})
			test.do(p)
			if err := ended(t, p.link); err == nil {
				t.Errorf("the link ended with %v", err)
			}
			waitCounter(t, victim, "link_refused", 1)
			if _, err := healthy.Ping(t.Context(), "victim", 30); err != nil {
				t.Error(err)
			}
			if test.alarm == "" {
				if a := victim.Status().Alarms; len(a) != 0 {
					t.Errorf("alarms %+v", a)
				}
				return
			}
			a, ok := alarmIn(victim.Status(), "link_refused")
			if !ok || !strings.Contains(a.Detail, test.alarm) || len(a.Detail) > 4*maxShown || strings.ContainsAny(a.Detail, "\x1b\n") {
				t.Errorf("alarm %+v", a)
			}
		})
	}
}

// While routes have stood for a while, a source that cannot be is an alarm.
func TestForgedSourceIsAnAlarm(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, "victim", "healthy")
	join(t, nodes[0], nodes[1])
	evil := attachRaw(t, nodes[0], "evil")
	waitRoutes(t, nodes...)
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		evil.send(data(30, Addr{"healthy", "x"}, Addr{"victim", "ping"}, ""))
		a, ok := alarmIn(nodes[0].Status(), "forged_source")
		if ok && a.Peer != "evil" {
			t.Errorf("alarm %+v", a)
		}
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatal("no alarm")
		}
	}
}
