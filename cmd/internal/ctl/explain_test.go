package ctl

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/control"
)

// explained is what node a has to say of a service of c.
func explained(service string) netceptor.Explanation {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.Local)
	us, to := netceptor.Addr{Node: "a", Service: "Ab3dEf7h"}, netceptor.Addr{Node: "c", Service: service}
	return netceptor.Explanation{
		Node: "a", To: to, OK: true, Reason: "nothing that is known here stands in the way",
		Path:          []netceptor.Hop{{Node: "b", Cost: 1}, {Node: "c", Cost: 2.5}},
		Link:          &netceptor.LinkStatus{Peer: "b", State: "established", Item: "tcp-peer b:7323", Remote: "10.0.0.2:7323", Since: at, Authentication: "certificate", TLS: "tls-client link"},
		There:         netceptor.FlowVerdict{From: us, To: to, Action: "accept", Number: 2, Rule: "accept tonode=c"},
		Back:          netceptor.FlowVerdict{From: to, To: us, Action: "accept"},
		Advertisement: &netceptor.Advertisement{Time: at, ConnType: 2, Tags: map[string]string{"type": "TCP Proxy"}},
		Streams:       []netceptor.StreamStatus{{Connections: 1, Streams: 3, Authentication: "certificate", TLS: "tls-client mine"}},
		LastDial:      &netceptor.DialRecord{Time: at, Took: 3 * time.Millisecond, TLS: "mine"},
	}
}

// explaining is a mesh of which a knows what there is to know.
func explaining() (m control.Mesh) {
	fake := threeNodes()
	blocked := explained("blocked")
	blocked.OK, blocked.Reason = false, "blocked by firewall of node a (rule 1: drop toservice=blocked)"
	blocked.There.Action, blocked.There.Number, blocked.There.Rule = "drop", 1, "drop toservice=blocked"
	blocked.Link, blocked.Advertisement, blocked.Streams = nil, nil, nil
	blocked.LastDial.TLS = ""
	blocked.LastDial.Err = "blocked by firewall of node \x1b[2J"
	fake.Explanations = map[netceptor.Addr]netceptor.Explanation{{Node: "c", Service: "ssh"}: explained("ssh"), {Node: "c", Service: "blocked"}: blocked}
	return fake
}

func TestExplain(t *testing.T) {
	t.Parallel()
	path := serve(t, explaining(), nil)
	for service, want := range map[string]outcome{
		"ssh": {0, `a to c:ssh: open: nothing that is known here stands in the way
Route     a - b (1) - c (2.5), cost 3.5
Link      to b: established since 2026-11-22 12:00:00, item tcp-peer b:7323, remote 10.0.0.2:7323, authentication certificate by tls-client link, 0 frames dropped
Firewall  a:Ab3dEf7h to c:ssh: accept (rule 2: accept tonode=c)
          c:ssh to a:Ab3dEf7h: accept (no rule)
Service   stream-tls, needs a TLS profile, advertised 2026-11-22 12:00:00, tags {'type': 'TCP Proxy'}
Streams   3 open on 1 connections, authentication certificate by tls-client mine
Last dial 2026-11-22 12:00:00 by mine: success, in 3ms
`, ""},
		"blocked": {1, `a to c:blocked: in the way: blocked by firewall of node a (rule 1: drop toservice=blocked)
Route     a - b (1) - c (2.5), cost 3.5
Firewall  a:Ab3dEf7h to c:blocked: drop (rule 1: drop toservice=blocked)
          c:blocked to a:Ab3dEf7h: accept (no rule)
Service   not advertised; it may be there all the same
Last dial 2026-11-22 12:00:00: blocked by firewall of node \x1b[2J, after 3ms
`, ""},
		"other": {1, `a to c:other: in the way: no route to node: it was never heard of
Route     none
Firewall  a:x to c:other: accept (no rule)
          c:other to a:x: accept (no rule)
Service   not advertised; it may be there all the same
Last dial none that is remembered
`, ""},
	} {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			run(t, "", "--socket", path, "explain", "c", service).check(t, want)
		})
	}
	if got := run(t, "", "--socket", path, "explain", "c", "ssh", "--json"); got.code != 0 || !strings.Contains(got.out, "\n    \"reason\": \"nothing that is known here stands in the way\",\n") {
		t.Errorf("got %+v", got)
	}
	run(t, "", "--socket", path, "explain", "c").check(t, outcome{2, "", "ERROR: Missing parameter: service\n"})
}

// Another node is asked through the mesh, if it can answer.
func TestExplainFrom(t *testing.T) {
	t.Parallel()
	near := threeNodes()
	path := serve(t, near, nil)
	other := serve(t, explaining(), nil) // it calls itself a, too, but is reached as b
	near.OnStream = map[string]func(control.Stream){
		"b:control": func(s control.Stream) { relay(s, other) },
		"c:control": func(s control.Stream) {
			_, _ = io.WriteString(s, "Receptor Control, node c\n")
			_, _ = s.Read(make([]byte, 1<<10))
			_, _ = io.WriteString(s, "ERROR: JSON did not contain a command\n")
			_ = s.Close()
		},
	}
	if got := run(t, "", "--socket", path, "explain", "--from", "b", "c", "ssh"); got.code != 0 || !strings.HasPrefix(got.out, "a to c:ssh: open: ") {
		t.Errorf("got %+v", got)
	}
	run(t, "", "--socket", path, "explain", "--from", "a", "c", "x").check(t, run(t, "", "--socket", path, "explain", "c", "x"))
	run(t, "", "--socket", path, "explain", "--from", "c", "a", "x").
		check(t, outcome{1, "", "ERROR: node c cannot explain: it is a legacy node, or an older one\n"})
	run(t, "", "--socket", path, "explain", "--from", "x", "a", "x").
		check(t, outcome{1, "", "ERROR: reach the control service of x: no route to node\n"})
}

// relay joins a stream to a Unix socket.
func relay(s control.Stream, path string) {
	c, err := net.Dial("unix", path)
	if err != nil {
		_ = s.Reset()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(s, c)
		_ = s.Close()
	}()
	_, _ = io.Copy(c, s)
	_ = c.Close()
	<-done
}
