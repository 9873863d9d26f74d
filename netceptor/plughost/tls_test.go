package plughost

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/project-receptor/receptor/netceptor/mtls"
	"github.com/project-receptor/receptor/netceptor/mtls/mtlstest"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// withTLS adds a parameter to a kind whose TLS the core speaks.
func withTLS(k wire.Kind, tls string) wire.Kind {
	k.Params = append(k.Params, wire.Param{Name: "tls", Type: schema.TypeString, TLS: tls, Help: "TLS"})
	return k
}

func TestTLSOfItems(t *testing.T) {
	t.Parallel()
	f := mtlstest.NodeFiles(t, mtlstest.NewCA(t, "ca"), mtlstest.Leaf{Nodes: []string{"alpha"}})
	relaxed := f.Client("relaxed")
	relaxed.SkipReceptorNamesCheck = true
	set := mtls.NewSet(
		[]*mtls.Server{mtlstest.LoadServer(t, f.Server("good"), "alpha")},
		[]*mtls.Client{mtlstest.LoadClient(t, f.Client("good"), "alpha"), mtlstest.LoadClient(t, relaxed, "alpha")},
	)
	r := newRig(t, "alpha", Config{TLS: set})
	listener := func(port int, tls string) Item {
		i := listenerItem(port)
		i.Params["tls"] = tls
		return i
	}
	peer := func(address, tls string) Item {
		return Item{Kind: "tcp-peer", Params: map[string]any{"address": address, "tls": tls}}
	}
	r.SetItems([]Item{
		listener(1, "good"), listener(2, "bad"), listener(3, ""),
		peer("h:1", "good"), peer("h:2", "bad"), peer("h:3", "relaxed"), peer("h:4", ""), peer("LOCALHOST:5", ""), peer("[::1]:6", ""),
	})
	p := r.attach("tcp", withTLS(tcpListener(), wire.TLSServer), withTLS(tcpPeer(), wire.TLSClient))
	c := p.WaitConfig("the items", func(c wire.Config) bool { return len(c.Items) == 7 })
	var reports []wire.ItemStatus
	for _, i := range c.Items {
		if strings.Contains(string(i.Params), "tls") {
			t.Errorf("%s: the plug gets %s", i.Item, i.Params)
		}
		reports = append(reports, wire.ItemStatus{Item: i.Item, State: wire.StateUp})
		if port, ok := strings.CutPrefix(i.Item, "tcp-listener port="); ok {
			reports[len(reports)-1].Addr = "0.0.0.0:" + port
		}
	}
	p.Status(reports...)
	const plain = "no TLS: who is at the other end is not known, and others may listen"
	for i, want := range []struct{ state, err, warning string }{
		{"up", "", ""},
		{"failed", "parameter tls: there is no tls-server named bad", ""},
		{"up", "", plain},
		{"up", "", ""},
		{"failed", "parameter tls: there is no tls-client named bad", ""},
		{"up", "", "skipreceptornamescheck: on links, who has a certificate may claim any node ID"},
		{"up", "", plain},
		{"up", "", ""},
		{"up", "", ""},
	} {
		if s := r.itemIs(i, want.state, want.err); s.Warning != want.warning {
			t.Errorf("%s: warning %q, want %q", s.Item, s.Warning, want.warning)
		}
	}
	r.eventually("the warning in the log", func() bool {
		return strings.Contains(r.log.String(), `[WARN]  item state: item="tcp-listener port=3" state=up plug=tcp addr=0.0.0.0:3 warning="`+plain)
	})
	// What the links get.
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, want := range map[int]string{0: "good <nil> ", 3: "<nil> good h", 6: "<nil> <nil> h"} {
		c := r.items[i].link
		got := "<nil> <nil> " + c.TLSHost
		if c.TLSServer != nil {
			got = c.TLSServer.Name() + " <nil> " + c.TLSHost
		} else if c.TLSClient != nil {
			got = "<nil> " + c.TLSClient.Name() + " " + c.TLSHost
		}
		if got != want {
			t.Errorf("item %d: %s, want %s", i, got, want)
		}
	}
}

// Where a plug speaks TLS itself it gets what the profile says, and only that one.
func TestTLSOfThePlug(t *testing.T) {
	t.Parallel()
	f := mtlstest.NodeFiles(t, mtlstest.NewCA(t, "ca"), mtlstest.Leaf{Nodes: []string{"alpha"}})
	relaxed := f.Server("relaxed")
	relaxed.SkipReceptorNamesCheck = true
	set := mtls.NewSet([]*mtls.Server{mtlstest.LoadServer(t, f.Server("good"), "alpha"), mtlstest.LoadServer(t, relaxed, "alpha")}, nil)
	r := newRig(t, "alpha", Config{TLS: set})
	own := tcpListener()
	own.Params = append(own.Params, wire.Param{Name: "tls", Type: schema.TypeString, PlugTLS: wire.TLSServer, Help: "TLS"})
	item := func(port int, tls string) Item {
		i := listenerItem(port)
		i.Params["tls"] = tls
		return i
	}
	r.SetItems([]Item{item(1, "good"), item(2, "bad"), item(3, ""), item(4, "relaxed")})
	p := r.attach("ws", own)
	c := p.WaitConfig("the items", func(c wire.Config) bool { return len(c.Items) == 3 })
	var told struct{ TLS *mtls.ServerProfile }
	if err := json.Unmarshal(c.Items[0].Params, &told); err != nil || told.TLS == nil || told.TLS.Name != "good" || told.TLS.Key != f.Server("good").Key {
		t.Errorf("the plug gets %s, %v", c.Items[0].Params, err)
	}
	if strings.Contains(string(c.Items[1].Params), "tls") {
		t.Errorf("without TLS the plug gets %s", c.Items[1].Params)
	}
	r.itemIs(1, "failed", "parameter tls: there is no tls-server named bad")

	r.mu.Lock()
	defer r.mu.Unlock()
	rule := &Rule{Roles: map[string]RoleRule{wire.RoleLink: {Names: []string{"b*"}}}}
	names := []string{"beta", "gamma"}
	for _, tc := range []struct {
		item            int
		link            wire.Link
		rule            *Rule
		profile         string
		names, believed int
		err             string
	}{
		{0, wire.Link{Secured: true, Names: names}, &everything, "of the plug: good", 2, 2, ""},
		{0, wire.Link{Secured: true, Names: names}, rule, "of the plug: good", 2, 1, ""},
		{0, wire.Link{Secured: true, Names: names}, &Rule{}, "of the plug: good", 2, 0, ""},
		{0, wire.Link{}, &everything, "", 0, 0, "and the link has not"},
		{2, wire.Link{Secured: true, Names: names}, &everything, "of the plug", 0, 0, ""},
		{2, wire.Link{Names: names}, &everything, "", 0, 0, ""},
		{3, wire.Link{Secured: true, Names: names}, &everything, "of the plug: relaxed", 0, 0, ""},
		{0, wire.Link{Secured: true, Names: make([]string, maxNames+1)}, &everything, "", 0, 0, "at most 256 are allowed"},
	} {
		m, err := r.items[tc.item].tls.medium(tc.link, tc.rule)
		switch {
		case tc.err != "":
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%+v: %v, want %s", tc, err, tc.err)
			}
		case err != nil || (m == nil) != (tc.profile == ""):
			t.Errorf("%+v: %+v, %v", tc, m, err)
		case m != nil && (m.Profile != tc.profile || len(m.Names) != tc.names || len(m.Proven) != tc.believed):
			t.Errorf("%+v: %+v", tc, m)
		}
	}
	if _, err := (itemTLS{}).medium(wire.Link{Secured: true}, &everything); err == nil {
		t.Error("a kind without such a parameter has links with TLS")
	}
}

func TestHostIn(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"127.0.0.1:80": "127.0.0.1 false", "[::1]:80": "::1 false", "ws://h/p": "h false", "wss://[::1]:4/": "::1 true", "": " false", "h": " false",
	} {
		host, secure := hostIn(address)
		if got := fmt.Sprint(host, " ", secure); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}
