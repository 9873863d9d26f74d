package netceptor

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor/mtls"
	"github.com/project-receptor/receptor/netceptor/mtls/mtlstest"
)

// answer accepts streams and sends to each who its dialler has proven to be.
func answer(t *testing.T, l *Listener) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p := c.(*Conn).Peer()
			_, _ = io.WriteString(c, p.Authentication+" "+p.Node) // the test notices what is missing
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
}

// hear dials and reads what answer sends.
func hear(t *testing.T, n *Node, node string, o DialOptions) (string, PeerIdentity, error) {
	t.Helper()
	c, err := n.DialWith(t.Context(), node, "svc", o)
	if err != nil {
		return "", PeerIdentity{}, err
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	return string(b), c.Peer(), err
}

// TestStreamTLS has who is taken for whom, or is refused, over three nodes in a
// line: a in the middle, b dials, c serves.
func TestStreamTLS(t *testing.T) {
	t.Parallel()
	ca, foreign := mtlstest.NewCA(t, "ca"), mtlstest.NewCA(t, "foreign")
	fb := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"b", "also-b"}})
	fc := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"c"}, Hosts: []string{"elsewhere"}, RSA: true})
	x := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"x"}})
	stranger := mtlstest.NodeFiles(t, foreign, mtlstest.Leaf{Nodes: []string{"b", "c"}})
	stranger.Trust(t, ca)
	nodes := line(t, "b", "a", "c")
	b, c := nodes[0], nodes[2]

	server := func(f mtlstest.Files, change ...func(*mtls.ServerProfile)) *mtls.Server {
		p := f.Server("srv")
		p.SkipReceptorNamesCheck = true // that streams do not care for
		for _, ch := range change {
			ch(&p)
		}
		return mtlstest.LoadServer(t, p, "c")
	}
	client := func(f mtlstest.Files, change ...func(*mtls.ClientProfile)) *mtls.Client {
		p := f.Client("cli")
		p.SkipReceptorNamesCheck = true
		for _, ch := range change {
			ch(&p)
		}
		return mtlstest.LoadClient(t, p, "b")
	}
	anyClient := func(p *mtls.ServerProfile) { p.RequireClientCert, p.ClientCAs = false, "" }
	ifGiven := func(p *mtls.ServerProfile) { p.RequireClientCert = false }
	nameless := func(p *mtls.ClientProfile) { p.Cert, p.Key = "", "" }
	anyServer := func(p *mtls.ClientProfile) { p.InsecureSkipVerify = true }

	for i, tt := range []struct {
		name         string
		server       *mtls.Server
		client       *mtls.Client
		heard, taken string // what the service has of us, and we of it
		err          string
	}{
		{"nobody proves anything", nil, nil, "none ", AuthNone, ""},
		{"both prove themselves", server(fc), client(fb), "certificate b", AuthCertificate, ""},
		{"only the service does", server(fc, anyClient), client(fb), "tls ", AuthCertificate, ""},
		{"a certificate is not required and not there", server(fc, ifGiven), client(fb, nameless), "tls ", AuthCertificate, ""},
		{"a certificate is not required but there", server(fc, ifGiven), client(fb), "certificate b", AuthCertificate, ""},
		{"any service will do", server(x), client(fb, anyServer), "certificate b", AuthTLS, ""},
		{"any service will do, and has nothing", nil, client(fb, anyServer), "none ", AuthTLS, ""},
		{"without TLS to a service with it", server(fc), nil, "", "", "insecure connection to secure service"},
		{"without TLS to a service with it that would take us", server(fc, anyClient), nil, "", "", "insecure connection to secure service"},
		{"with TLS to a service without it", nil, client(fb), "", "", "x509: certificate signed by unknown authority"},
		{"the service is on another node", server(x), client(fb), "", "", "x509: certificate is valid for Receptor node ID x, not c"},
		{"the service is of another authority", server(stranger), client(fb), "", "", "x509: certificate signed by unknown authority"},
		{"we are another node", server(fc), client(x), "", "", "does not accept our certificate"},
		{"we are another node, though no certificate is required", server(fc, ifGiven), client(x), "", "", "does not accept our certificate"},
		{"we are of another authority", server(fc), client(stranger), "", "", "does not accept our certificate"},
		{"we have no certificate", server(fc), client(fb, nameless), "", "", "or that there is none"},
	} {
		// One after the other: they have the service in turn.
		l, err := c.Listen("svc", ListenOptions{TLS: tt.server, Advertise: true})
		if err != nil {
			t.Fatal(err)
		}
		stop := t.Run(tt.name, func(t *testing.T) {
			answer(t, l)
			for range 2 { // by a new connection, and by that
				heard, peer, err := hear(t, b, "c", DialOptions{TLS: tt.client})
				if tt.err != "" {
					if !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), tt.err) {
						t.Fatalf("heard %q, %v; want the error %s", heard, err, tt.err)
					}
					return
				}
				if err != nil || heard != tt.heard || peer.Authentication != tt.taken || (peer.Node == "c") != (tt.taken == AuthCertificate) {
					t.Fatalf("%d: heard %q, of %+v, %v; want %q, %s", i, heard, peer, err, tt.heard, tt.taken)
				}
			}
		})
		if !stop {
			return
		}
	}
	s := b.Status().Streams
	if len(s) == 0 {
		t.Fatal("no streams in the status")
	}
	auth := make(map[string]bool)
	for _, row := range s {
		if row.Node != "c" || row.Service != "svc" || row.Dir != "out" || row.Connections == 0 {
			t.Errorf("%+v", row)
		}
		auth[row.Authentication+row.TLS] = true
	}
	if !auth["tlstls-client cli"] || !auth["certificatetls-client cli"] {
		t.Errorf("streams %+v", s)
	}
}

func TestStreamTLSOfLocalService(t *testing.T) {
	t.Parallel()
	f := mtlstest.NodeFiles(t, mtlstest.NewCA(t, "ca"), mtlstest.Leaf{Nodes: []string{"a"}})
	n := startNode(t, Config{NodeID: "a"})
	l, err := n.Listen("svc", ListenOptions{TLS: mtlstest.LoadServer(t, f.Server("s"), "a")})
	if err != nil {
		t.Fatal(err)
	}
	answer(t, l)
	heard, peer, err := hear(t, n, "localhost", DialOptions{TLS: mtlstest.LoadClient(t, f.Client("c"), "a")})
	if err != nil || heard != "certificate a" || peer.Node != "a" {
		t.Errorf("heard %q of %+v, %v", heard, peer, err)
	}
	if ad := n.Status().Advertisements; len(ad) != 0 {
		t.Errorf("advertised: %+v", ad)
	}
}

func TestStreamTLSIsAdvertised(t *testing.T) {
	t.Parallel()
	f := mtlstest.NodeFiles(t, mtlstest.NewCA(t, "ca"), mtlstest.Leaf{Nodes: []string{"a"}})
	n := startNode(t, Config{NodeID: "a"})
	l, err := n.Listen("svc", ListenOptions{Advertise: true, TLS: mtlstest.LoadServer(t, f.Server("s"), "a")})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if ad := n.Status().Advertisements; len(ad) != 1 || ad[0].ConnType != 2 {
		t.Errorf("advertised: %+v", ad)
	}
}

// Authorities and certificates are replaced while streams are open and more are
// opened: what is open stays, what is new works, and who is left behind is out,
// though it has a connection that it could share.
func TestStreamTLSFilesChange(t *testing.T) {
	t.Parallel()
	before, after := mtlstest.NewCA(t, "before"), mtlstest.NewCA(t, "after")
	fb := mtlstest.NodeFiles(t, before, mtlstest.Leaf{Nodes: []string{"b"}})
	fc := mtlstest.NodeFiles(t, before, mtlstest.Leaf{Nodes: []string{"c"}})
	late := mtlstest.NodeFiles(t, before, mtlstest.Leaf{Nodes: []string{"b"}})
	nodes := line(t, "b", "c")
	b, c := nodes[0], nodes[1]
	server, client := mtlstest.LoadServer(t, fc.Server("s"), "c"), mtlstest.LoadClient(t, fb.Client("c"), "b")
	lateClient := mtlstest.LoadClient(t, late.Client("late"), "b")

	l, err := c.Listen("svc", ListenOptions{TLS: server})
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan *Conn, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			close(accepted)
			return
		}
		accepted <- conn.(*Conn)
	}()
	standing, err := b.DialWith(t.Context(), "c", "svc", DialOptions{TLS: client})
	if err != nil {
		t.Fatal(err)
	}
	defer standing.Close()
	other := <-accepted
	defer other.Close()
	answer(t, l)
	works := func(what string, client *mtls.Client) {
		t.Helper()
		if heard, _, err := hear(t, b, "c", DialOptions{TLS: client}); err != nil || heard != "certificate b" {
			t.Fatalf("%s: heard %q, %v", what, heard, err)
		}
	}
	works("before", lateClient)

	step := func(change func()) {
		t.Helper()
		s, c := server.Generation(), client.Generation()
		change()
		for end := time.Now().Add(patience); server.Generation() == s || client.Generation() == c; time.Sleep(10 * time.Millisecond) {
			works("in between", client)
			if time.Now().After(end) {
				t.Fatal("the files are not read again")
			}
		}
		works("after a step", client)
	}
	step(func() { fb.Trust(t, before, after); fc.Trust(t, before, after) })
	works("while both authorities count", lateClient)
	step(func() {
		fb.Issue(t, after, mtlstest.Leaf{Nodes: []string{"b"}})
		fc.Issue(t, after, mtlstest.Leaf{Nodes: []string{"c"}})
	})
	late.Trust(t, before, after)
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if lateClient.Generation() > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the files are not read again")
		}
	}
	works("with the old certificate", lateClient)
	fb.Trust(t, after)
	fc.Trust(t, after)
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		_, _, err := hear(t, b, "c", DialOptions{TLS: lateClient})
		if err != nil {
			if !strings.Contains(err.Error(), "does not accept our certificate") {
				t.Errorf("the old authority: %v", err)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatal("the old authority is still good")
		}
	}
	works("at last", client)

	const text = "still here"
	if _, err := io.WriteString(standing, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(other, got); err != nil || string(got) != text {
		t.Errorf("the stream that stood: %q, %v", got, err)
	}
}

// A service that comes back with TLS gets no streams of the connections of before.
func TestStreamTLSComesLater(t *testing.T) {
	t.Parallel()
	ca := mtlstest.NewCA(t, "ca")
	fc := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"c"}})
	nodes := line(t, "b", "c")
	b, c := nodes[0], nodes[1]
	l, err := c.Listen("svc", ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if conn, err := l.Accept(); err == nil {
			_ = conn.Close()
		}
	}()
	if _, _, err := hear(t, b, "c", DialOptions{}); err != nil {
		t.Fatal(err)
	}
	<-answered
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = c.Listen("svc", ListenOptions{TLS: mtlstest.LoadServer(t, fc.Server("s"), "c")}); err != nil {
		t.Fatal(err)
	}
	answer(t, l)
	if heard, _, err := hear(t, b, "c", DialOptions{}); err == nil || !strings.Contains(err.Error(), "insecure connection to secure service") {
		t.Errorf("heard %q, %v", heard, err)
	}
	if _, _, err := hear(t, b, "c", DialOptions{}); errors.Is(err, ErrRefused) {
		t.Errorf("%v", err)
	}
}
