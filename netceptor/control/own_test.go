package control_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/control"
)

func TestOwnForm(t *testing.T) {
	t.Parallel()
	path := serve(t, newServer(threeNodes(), extraCommands...))
	const (
		event  = `"event":{"seq":1,"from":"beta","time_ns":200000,"time":"200µs"}}` + "\n"
		result = `"result":{"received":1,"sent":1}}` + "\n"
	)
	for _, tc := range []struct{ name, in, want string }{
		{"number as id", `{"v":1,"id":7,"command":"ping","args":{"node":"beta"}}`, `{"id":7,` + event + `{"id":7,` + result},
		{"anything as id", `{"v":1,"id":{"a":[1,"<é>"]},"command":"ping","args":{"node":"beta"}}`, `{"id":{"a":[1,"<é>"]},` + event + `{"id":{"a":[1,"<é>"]},` + result},
		{"no id", `{"v":1,"command":"ping","args":{"node":"beta"}}`, `{"id":null,` + event + `{"id":null,` + result},
		{"id too long", `{"v":1,"id":"` + strings.Repeat("x", 5000) + `","command":"ping"}`, `{"id":null,"error":{"code":"invalid","msg":"id is longer than 4096 bytes"}}` + "\n"},
		{"other version", `{"v":2,"id":7,"command":"ping"}`, `{"id":7,"error":{"code":"unsupported","msg":"version 2 of this form is not spoken here, 1 is"}}` + "\n"},
		{"no command", `{"v":1,"id":7}`, `{"id":7,"error":{"code":"invalid","msg":"command must be a string"}}` + "\n"},
		{"unknown command", `{"v":1,"id":7,"command":"PING"}`, `{"id":7,"error":{"code":"unknown_command","msg":"unknown command \"PING\""}}` + "\n"},
		{"only in the plain form", `{"v":1,"id":7,"command":"show"}`, `{"id":7,"error":{"code":"unknown_command","msg":"unknown command \"show\""}}` + "\n"},
		{"args no object", `{"v":1,"id":7,"command":"ping","args":["beta"]}`, `{"id":7,"error":{"code":"invalid","msg":"args must be an object"}}` + "\n"},
		{"args null", `{"v":1,"id":7,"command":"ping","args":null}`, `{"id":7,"error":{"code":"invalid","msg":"node is missing"}}` + "\n"},
		{"unknown argument", `{"v":1,"id":7,"command":"ping","args":{"nod":"beta"}}`, `{"id":7,"error":{"code":"invalid","msg":"args: unknown field \"nod\""}}` + "\n"},
		{"argument of the wrong type", `{"v":1,"id":7,"command":"ping","args":{"node":7}}`, `{"id":7,"error":{"code":"invalid","msg":"args: node is a number, not a string"}}` + "\n"},
		{"argument out of range", `{"v":1,"id":7,"command":"ping","args":{"node":"beta","hops":256}}`, `{"id":7,"error":{"code":"invalid","msg":"hops must be between 0 and 255"}}` + "\n"},
		{"no result", `{"v":1,"id":7,"command":"nothing"}`, `{"id":7,"result":{}}` + "\n"},
		{"error", `{"v":1,"id":7,"command":"fail"}`, `{"id":7,"error":{"code":"internal","msg":"two\nlines"}}` + "\n"},
		{"panic", `{"v":1,"id":7,"command":"panic"}`, `{"id":7,"event":"soon"}` + "\n" + `{"id":7,"error":{"code":"internal","msg":"internal error"}}` + "\n"},
		{"unwritable answer", `{"v":1,"id":7,"command":"unwritable"}`, `{"id":7,"error":{"code":"internal","msg":"internal error"}}` + "\n"},
		{"connect to nobody", `{"v":1,"id":7,"command":"connect","args":{"node":"delta","service":"x"}}`, `{"id":7,"error":{"code":"unreachable","msg":"no route to node"}}` + "\n"},
		{"connect to no service", `{"v":1,"id":7,"command":"connect","args":{"node":"beta","service":"x"}}`, `{"id":7,"error":{"code":"not_found","msg":"service unknown"}}` + "\n"},
		{"connect without service", `{"v":1,"id":7,"command":"connect","args":{"node":"beta"}}`, `{"id":7,"error":{"code":"invalid","msg":"service is missing"}}` + "\n"},
		{
			"pings", `{"v":1,"id":7,"command":"ping","args":{"node":"gamma","count":2,"interval_ms":0}}`,
			`{"id":7,"event":{"seq":1,"from":"gamma","time_ns":300000,"time":"300µs"}}` + "\n" +
				`{"id":7,"event":{"seq":2,"from":"gamma","time_ns":300000,"time":"300µs"}}` + "\n" +
				`{"id":7,"result":{"received":2,"sent":2}}` + "\n",
		},
		{
			"ping that expires", `{"v":1,"id":7,"command":"ping","args":{"node":"gamma","hops":1}}`,
			`{"id":7,"event":{"seq":1,"from":"beta","time_ns":200000,"time":"200µs","error":{"code":"unreachable","msg":"message expired"}}}` + "\n" +
				`{"id":7,"result":{"received":0,"sent":1}}` + "\n",
		},
		{
			"traceroute", `{"v":1,"id":7,"command":"traceroute","args":{"node":"beta"}}`,
			`{"id":7,"event":{"hop":0,"from":"alpha","time_ns":100000,"time":"100µs"}}` + "\n" +
				`{"id":7,"event":{"hop":1,"from":"beta","time_ns":200000,"time":"200µs"}}` + "\n" +
				`{"id":7,"result":{"reached":true}}` + "\n",
		},
		{"some of status", `{"v":1,"id":7,"command":"status","args":{"fields":["node","epoch","routes","nonsense"]}}`, `{"id":7,"result":{"epoch":"30064771072000001","node":"alpha","routes":{"beta":"beta","gamma":"beta"}}}` + "\n"},
		{"a legacy line after ours", `{"v":1,"id":7,"command":"nothing"}` + "\nping beta", `{"id":7,"result":{}}` + "\n" + pong},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := talk(t, path, tc.in+"\n"); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// The status of our own form has all of the node's, and what the caller adds; the
// node's own keys win.
func TestOwnStatus(t *testing.T) {
	t.Parallel()
	m := threeNodes()
	m.State.Links = []netceptor.LinkStatus{{Peer: "beta", State: "established", Cost: 1}}
	m.State.Counters = map[string]uint64{"drop_no_route": 3}
	m.State.Advertisements = []netceptor.Advertisement{
		{NodeID: "beta", Service: "control", ConnType: 1, WorkCommands: []netceptor.WorkCommand{{WorkType: "sec", Secure: true}}},
		{NodeID: "beta", Service: "odd", ConnType: 9},
	}
	s := control.New(control.Config{NodeID: "alpha"})
	s.Register(control.MeshCommands(m, func() map[string]any {
		return map[string]any{"items": []string{"tcp-peer"}, "node": "not me"}
	})...)

	var answer struct{ Result map[string]json.RawMessage }
	if err := json.Unmarshal([]byte(talk(t, serve(t, s), `{"v":1,"command":"status"}`+"\n")), &answer); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for k := range answer.Result {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	want := []string{
		"advertisements", "alarms", "connections", "counters", "epoch", "firewall", "goroutines", "items", "known_costs",
		"links", "node", "routes", "streams", "system", "uptime_s", "version",
	}
	if !slices.Equal(keys, want) {
		t.Errorf("keys %v, want %v", keys, want)
	}
	for key, want := range map[string]string{
		"node":        `"alpha"`,
		"items":       `["tcp-peer"]`,
		"connections": `[{"node":"beta","cost":1}]`,
		"counters":    `{"drop_no_route":3}`,
		"known_costs": `{}`,
		"advertisements": `[{"node":"beta","service":"control","time":"0001-01-01T00:00:00Z","type":"stream","work_types":[{"type":"sec","secure":true}]},` +
			`{"node":"beta","service":"odd","time":"0001-01-01T00:00:00Z","type":"9"}]`,
	} {
		if got := string(answer.Result[key]); got != want {
			t.Errorf("%s: got %s, want %s", key, got, want)
		}
	}
	if links := string(answer.Result["links"]); !strings.Contains(links, `"peer":"beta","state":"established"`) {
		t.Errorf("links: %s", links)
	}
}
