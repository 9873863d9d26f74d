package control_test

import (
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor"
)

// explanation is what alpha has to say of a service of gamma.
func explanation(service string, change func(*netceptor.Explanation)) netceptor.Explanation {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	us, to := netceptor.Addr{Node: "alpha", Service: "Ab3dEf7h"}, netceptor.Addr{Node: "gamma", Service: service}
	e := netceptor.Explanation{
		Node: "alpha", To: to, OK: true, Reason: "nothing that is known here stands in the way",
		Path:          []netceptor.Hop{{Node: "beta", Cost: 1}, {Node: "gamma", Cost: 2.5}},
		Link:          &netceptor.LinkStatus{Peer: "beta", State: "established", Cost: 1, Item: "tcp-peer beta:7323", Since: at, Authentication: "none"},
		There:         netceptor.FlowVerdict{From: us, To: to, Action: "accept", Number: 2, Rule: "accept tonode=gamma"},
		Back:          netceptor.FlowVerdict{From: to, To: us, Action: "accept"},
		Advertisement: &netceptor.Advertisement{NodeID: "gamma", Service: service, Time: at, ConnType: 2, Tags: map[string]string{"type": "TCP Proxy"}},
		Streams:       []netceptor.StreamStatus{{Node: "gamma", Service: service, Dir: "out", Connections: 1, Streams: 3, Authentication: "certificate", TLS: "tls-client mine"}},
		LastDial:      &netceptor.DialRecord{Time: at, Took: 3 * time.Millisecond, TLS: "mine"},
	}
	if change != nil {
		change(&e)
	}
	return e
}

func TestExplain(t *testing.T) {
	t.Parallel()
	m := threeNodes()
	m.Explanations = map[netceptor.Addr]netceptor.Explanation{}
	for service, change := range map[string]func(*netceptor.Explanation){
		"ssh": nil,
		"web": func(e *netceptor.Explanation) {
			e.OK, e.Reason = false, "the last dial failed: blocked by firewall of node beta"
			e.Advertisement, e.Link, e.Streams = nil, nil, nil
			e.LastDial.TLS = ""
			e.LastDial.Err = "blocked by firewall of node beta"
		},
	} {
		m.Explanations[netceptor.Addr{Node: "gamma", Service: service}] = explanation(service, change)
	}
	path := serve(t, newServer(m))
	const ssh = `{"node":"alpha","to":{"node":"gamma","service":"ssh"},"ok":true,"reason":"nothing that is known here stands in the way",` +
		`"route":{"path":[{"node":"beta","cost":1},{"node":"gamma","cost":2.5}],"cost":3.5,"link":{"peer":"beta","state":"established",`
	const web = `{"node":"alpha","to":{"node":"gamma","service":"web"},"ok":false,"reason":"the last dial failed: blocked by firewall of node beta",` +
		`"route":{"path":[{"node":"beta","cost":1},{"node":"gamma","cost":2.5}],"cost":3.5},` +
		`"firewall":[{"from":{"node":"alpha","service":"Ab3dEf7h"},"to":{"node":"gamma","service":"web"},"action":"accept","number":2,"rule":"accept tonode=gamma"},` +
		`{"from":{"node":"gamma","service":"web"},"to":{"node":"alpha","service":"Ab3dEf7h"},"action":"accept"}],` +
		`"service":{"advertised":false},"last_dial":{"time":"2026-11-22T12:00:00Z","took_ns":3000000,"took":"3ms","error":"blocked by firewall of node beta"}}`
	const sshEnd = `"service":{"advertised":true,"type":"stream-tls","tags":{"type":"TCP Proxy"},"time":"2026-11-22T12:00:00Z"},` +
		`"streams":[{"streams":3,"connections":1,"authentication":"certificate","tls":"tls-client mine"}],` +
		`"last_dial":{"time":"2026-11-22T12:00:00Z","took_ns":3000000,"took":"3ms","tls":"mine"}}`
	for name, tc := range map[string]struct{ line, begin, end string }{
		"plain":             {"explain gamma ssh", ssh, sshEnd + "\n"},
		"legacy JSON":       {`{"command":"explain","node":"gamma","service":"web"}`, web, "\n"},
		"our own":           {`{"v":1,"command":"explain","args":{"node":"gamma","service":"web"}}`, `{"id":null,"result":` + web + "}\n", ""},
		"our own, with TLS": {`{"v":1,"command":"explain","args":{"node":"gamma","service":"ssh"}}`, `{"id":null,"result":` + ssh, sshEnd + "}\n"},
		"one word":          {"explain gamma", "ERROR: explain takes a node and a service\n", ""},
		"three words":       {"explain gamma a b", "ERROR: explain takes a node and a service\n", ""},
		"an empty service":  {"explain gamma ", "ERROR: explain takes a node and a service\n", ""},
		"no texts":          {`{"command":"explain","node":5,"service":"web"}`, "ERROR: explain node and service must be strings\n", ""},
		"no node":           {`{"v":1,"command":"explain","args":{"service":"web"}}`, `{"id":null,"error":{"code":"invalid","msg":"node is missing"}}` + "\n", ""},
		"no service":        {`{"v":1,"command":"explain","args":{"node":"web"}}`, `{"id":null,"error":{"code":"invalid","msg":"service is missing"}}` + "\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := talk(t, path, tc.line+"\n")
			if !strings.HasPrefix(got, tc.begin) || !strings.HasSuffix(got, tc.end) || tc.end == "" && got != tc.begin {
				t.Errorf("got  %s\nwant %s ... %s", got, tc.begin, tc.end)
			}
		})
	}
}
