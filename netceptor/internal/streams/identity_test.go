package streams

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"

	"github.com/project-receptor/receptor/netceptor/mtls/mtlstest"
)

// legacyTLS is the configuration of a legacy node with a named TLS configuration:
// its groups, no SNI, certificates both ways. verify is what it checks.
func legacyTLS(t *testing.T, f mtlstest.Files, ca *mtlstest.CA, verify func(tls.ConnectionState) error) *tls.Config {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(f.Cert(), f.Key())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, NextProtos: []string{"netceptor"},
		CurvePreferences: []tls.CurveID{tls.CurveP521, tls.CurveP384, tls.CurveP256},
		ClientAuth:       tls.RequireAndVerifyClientCert, ClientCAs: pool,
		InsecureSkipVerify: true, VerifyConnection: verify,
	}
}

func TestLegacySecure(t *testing.T) {
	ca := mtlstest.NewCA(t, "ca")
	ours := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"1"}})
	theirs := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"9"}, RSA: true})
	other := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"8"}})
	server, client := mtlstest.LoadServer(t, ours.Server("s"), "1"), mtlstest.LoadClient(t, ours.Client("c"), "1")
	none := func(tls.ConnectionState) error { return nil }

	modes(t, func(t *testing.T, basic bool) {
		for name, test := range map[string]struct {
			files mtlstest.Files
			err   string
		}{
			"we dial":                    {theirs, ""},
			"we dial, and it is another": {other, "x509: certificate is valid for Receptor node ID 8, not 9"},
		} {
			t.Run(name, func(t *testing.T) {
				ctx := testContext(t)
				m := newMesh(t, basic)
				c := m.node(1)
				n := m.legacySecure(9, "theirs", legacyTLS(t, test.files, ca, none))
				accepted := make(chan error, 1)
				go func() {
					_, _, err := n.accept(ctx)
					accepted <- err
				}()
				s, err := c.DialTLS(ctx, MakeEndpoint(9, svc("theirs")), client)
				if test.err != "" {
					if !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), test.err) {
						t.Errorf("got %v, want %s", err, test.err)
					}
					if _, err := c.Dial(ctx, MakeEndpoint(9, svc("theirs"))); err == nil || !strings.Contains(err.Error(), "insecure connection to secure service") {
						t.Errorf("without TLS: %v", err)
					}
					_ = n.ln.Close()
					<-accepted
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := <-accepted; err != nil {
					t.Fatal(err)
				}
				if p := s.Security(); p.Peer.Check("9") != nil || p.Profile != "tls-client c" {
					t.Errorf("security %+v", p)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		for name, test := range map[string]struct {
			files *mtlstest.Files
			ok    bool
		}{
			"it dials":                   {&theirs, true},
			"it dials as another":        {&other, false},
			"it dials, without any TLS ": {nil, false},
		} {
			t.Run(name, func(t *testing.T) {
				ctx := testContext(t)
				m := newMesh(t, basic)
				c := m.node(1)
				l, err := c.ListenTLS(svc("ours"), server)
				if err != nil {
					t.Fatal(err)
				}
				n := m.legacy(9, "theirs")
				conf := &tls.Config{InsecureSkipVerify: true, ServerName: "9", NextProtos: []string{"netceptor"}}
				if test.files != nil {
					conf = legacyTLS(t, *test.files, ca, none)
				}
				q, err := n.tr.Dial(ctx, MakeEndpoint(1, svc("ours")).addr(), conf, legacyConfig())
				if err != nil {
					t.Fatal(err) // it notices only later
				}
				if !test.ok {
					eventually(t, "it is refused", func() bool { return q.Context().Err() != nil })
					var refused *quic.TransportError
					if err := context.Cause(q.Context()); !errors.As(err, &refused) || !refused.ErrorCode.IsCryptoError() || !refused.Remote {
						t.Errorf("the connection ended with %v", err)
					}
					return
				}
				str, err := q.OpenStream()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := str.Write([]byte{0}); err != nil {
					t.Fatal(err)
				}
				s, err := accept(ctx, l)
				if err != nil {
					t.Fatal(err)
				}
				if p := s.Security(); p.Peer.Check("9") != nil || p.Profile != "tls-server s" {
					t.Errorf("security %+v", p)
				}
				if err := s.Reset(); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

// legacySecure is legacy with a TLS configuration.
func (m *testMesh) legacySecure(id uint64, service string, conf *tls.Config) *legacyNode {
	m.t.Helper()
	n := m.legacy(id, service)
	_ = n.ln.Close()
	var err error
	if n.ln, err = n.tr.Listen(conf, legacyConfig()); err != nil {
		m.t.Fatal(err)
	}
	return n
}
