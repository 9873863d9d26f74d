package backendws

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/project-receptor/receptor/netceptor/mtls/mtlstest"
	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
)

// Two of these plugs over wss, each with a certificate: the cores hear who the
// other side is.
func TestTLS(t *testing.T) {
	t.Parallel()
	ca := mtlstest.NewCA(t, "ca")
	alpha := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"alpha"}})
	beta := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"beta", "beta2"}})
	server := alpha.Server("s")
	server.RequireClientCert = true
	near, addr := listening(t, map[string]any{}, server)

	far, s := plugtest.Attached(t, New())
	it := item(t, s, kindPeer, map[string]any{"address": "wss://" + addr}, beta.Client("c"))
	s.Configure(it)
	in, out := near.Link(), far.Link()
	if b := in.LinkBody(); !b.Secured || !slices.Equal(b.Names, []string{"beta", "beta2"}) {
		t.Errorf("the listener's LINK %+v", b)
	}
	if b := out.LinkBody(); !b.Secured || !slices.Equal(b.Names, []string{"alpha"}) || b.Remote != addr {
		t.Errorf("the peer's LINK %+v", b)
	}
	a, b := in.OpenLink("l"), out.OpenLink("l")
	for range 2 {
		sendFrames(t, a, "one", largest)
		wantFrames(t, b, "one", largest)
		a, b = b, a
	}

	// Who shows no certificate, or a nameless one, gets no link.
	for name, c := range map[string]*tls.Config{
		"no certificate": {InsecureSkipVerify: true},
		"a nameless one": mtlstest.LoadClient(t, mtlstest.NodeFiles(t, ca, mtlstest.Leaf{}).Client("c"), "").Config(""),
	} {
		d := websocket.Dialer{TLSClientConfig: c}
		if ws, resp, err := d.Dial("wss://"+addr, nil); err == nil {
			_ = resp.Body.Close()
			_ = ws.Close()
			t.Errorf("%s: a WebSocket was made", name)
		}
	}
	if o, _ := near.Opening(0); o != nil {
		t.Error("there was a LINK")
	}
}

func TestPeerDoesNotTrust(t *testing.T) {
	t.Parallel()
	ca := mtlstest.NewCA(t, "ca")
	_, addr := listening(t, map[string]any{}, mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"alpha"}}).Server("s"))
	for name, profile := range map[string]any{
		"another authority": mtlstest.NodeFiles(t, mtlstest.NewCA(t, "other"), mtlstest.Leaf{Nodes: []string{"beta"}}).Client("c"),
		"the system":        nil,
	} {
		_, s := plugtest.Attached(t, New())
		it := item(t, s, kindPeer, map[string]any{"address": "wss://" + addr}, profile)
		s.Configure(it)
		if st := s.WaitItem(it.Item, wire.StateDegraded); !strings.Contains(st.Err, "TLS with "+addr) || !strings.Contains(st.Err, "unknown authority") {
			t.Errorf("%s: %s", name, st.Err)
		}
	}
}
