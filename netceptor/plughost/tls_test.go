package plughost

import (
	"strings"
	"testing"

	"github.com/project-receptor/receptor/netceptor/mtls"
	"github.com/project-receptor/receptor/netceptor/mtls/mtlstest"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// withTLS adds a parameter to a kind whose TLS the core speaks.
func withTLS(k wire.Kind, typ string) wire.Kind {
	k.Params = append(k.Params, wire.Param{Name: "tls", Type: typ, TLS: wire.TLSCore, Help: "TLS"})
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
	p := r.attach("tcp", withTLS(tcpListener(), schema.TypeTLSServer), withTLS(tcpPeer(), schema.TypeTLSClient))
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
