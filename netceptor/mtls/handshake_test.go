package mtls_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor/mtls"
	"github.com/project-receptor/receptor/netceptor/mtls/mtlstest"
)

// outcome is what the two ends of a handshake got.
type outcome struct {
	conn *tls.Conn
	peer mtls.Peer
	err  error
}

// pipe is two ends of a connection over the loopback.
func pipe(t *testing.T) (server, client net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(); client.Close() })
	return server, client
}

// shake does a handshake. A client of TLS 1.3 is done before the server has
// looked at its certificate, so each end also reads or writes a byte.
func shake(t *testing.T, s *mtls.Server, c *mtls.Client, host string) (server, client outcome) {
	t.Helper()
	here, there := pipe(t)
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		defer here.Close()
		if o.conn, o.peer, o.err = s.Handshake(t.Context(), here); o.err == nil {
			_, o.err = o.conn.Write([]byte{1})
		}
		done <- o
	}()
	if client.conn, client.peer, client.err = c.Handshake(t.Context(), there, host); client.err == nil {
		_, client.err = client.conn.Read(make([]byte, 1))
	}
	there.Close()
	return <-done, client
}

func fingerprints(t *testing.T, f mtlstest.Files) (short, long string) {
	t.Helper()
	b, err := os.ReadFile(f.Cert())
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	s, l := sha256.Sum256(block.Bytes), sha512.Sum512(block.Bytes)
	short, long = hex.EncodeToString(s[:]), strings.ToUpper(hex.EncodeToString(l[:]))
	var pairs []string
	for i := 0; i < len(long); i += 2 {
		pairs = append(pairs, long[i:i+2])
	}
	return short, strings.Join(pairs, ":")
}

// TestHandshakes has every way in which two ends agree or do not.
func TestHandshakes(t *testing.T) {
	t.Parallel()
	ca, foreign := mtlstest.NewCA(t, "ca"), mtlstest.NewCA(t, "foreign")
	a := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"a"}})
	b := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"b", "bb"}, RSA: true})
	stranger := mtlstest.NodeFiles(t, foreign, mtlstest.Leaf{Nodes: []string{"b"}})
	stranger.Trust(t, ca)
	old := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"a", "b"}, NotAfter: time.Now().Add(-time.Hour)})
	onlyClient := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"a", "b"}, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	onlyServer := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"a", "b"}, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	aShort, aLong := fingerprints(t, a)
	bShort, bLong := fingerprints(t, b)
	wrongPin := strings.Repeat("ab", 32)

	type serverProfile = mtls.ServerProfile
	type clientProfile = mtls.ClientProfile
	for _, tt := range []struct {
		name   string
		server func(*serverProfile)
		client func(*clientProfile)
		host   string // "" stands for 127.0.0.1, "-" for none

		serverErr, clientErr string // parts of; "any": anything
		anonymous, unproven  bool   // the client to the server, the server to the client
	}{
		{name: "both prove themselves"},
		{name: "by a name", host: "localhost"},
		{name: "without a host", host: "-"},
		{name: "TLS 1.3 at least, at the server", server: func(p *serverProfile) { p.MinTLS13 = true }},
		{name: "TLS 1.3 at least, at the client", client: func(p *clientProfile) { p.MinTLS13 = true }},
		{name: "no client certificate asked for", server: func(p *serverProfile) { p.RequireClientCert, p.ClientCAs = false, "" }, anonymous: true},
		{
			name: "client certificate not required and not there", server: func(p *serverProfile) { p.RequireClientCert = false },
			client: func(p *clientProfile) { p.Cert, p.Key = "", "" }, anonymous: true,
		},
		{name: "client certificate not required but there", server: func(p *serverProfile) { p.RequireClientCert = false }},
		{
			name: "client certificate not required but bad", server: func(p *serverProfile) { p.RequireClientCert = false },
			client:    func(p *clientProfile) { p.Cert, p.Key = stranger.Cert(), stranger.Key() },
			serverErr: "unknown authority: subject", clientErr: "any",
		},
		{
			name: "no client certificate", client: func(p *clientProfile) { p.Cert, p.Key = "", "" },
			serverErr: "client didn't provide a certificate", clientErr: "certificate required",
		},
		{
			name: "client of another authority", client: func(p *clientProfile) { p.Cert, p.Key = stranger.Cert(), stranger.Key() },
			serverErr: `issuer "CN=foreign"`, clientErr: "any",
		},
		{
			name: "client certificate has ended", client: func(p *clientProfile) { p.Cert, p.Key = old.Cert(), old.Key() },
			serverErr: "expired", clientErr: "any",
		},
		{
			name: "client certificate is for servers", client: func(p *clientProfile) { p.Cert, p.Key = onlyServer.Cert(), onlyServer.Key() },
			serverErr: "incompatible key usage", clientErr: "any",
		},
		{
			name: "server of another authority", server: func(p *serverProfile) { p.Cert, p.Key = stranger.Cert(), stranger.Key() },
			serverErr: "any", clientErr: "our clock says",
		},
		{
			name: "server of another authority, without a host", host: "-", server: func(p *serverProfile) { p.Cert, p.Key = stranger.Cert(), stranger.Key() },
			serverErr: "any", clientErr: "unknown authority",
		},
		{
			name: "server certificate has ended", server: func(p *serverProfile) { p.Cert, p.Key = old.Cert(), old.Key() },
			serverErr: "any", clientErr: "expired",
		},
		{
			name: "server certificate is for clients", server: func(p *serverProfile) { p.Cert, p.Key = onlyClient.Cert(), onlyClient.Key() },
			serverErr: "any", clientErr: "incompatible key usage",
		},
		{name: "another host", host: "example.org", serverErr: "any", clientErr: "not example.org"},
		{name: "another address", host: "127.0.0.2", serverErr: "any", clientErr: "127.0.0.2"},
		{
			name: "any server", client: func(p *clientProfile) { p.InsecureSkipVerify = true }, host: "example.org",
			server: func(p *serverProfile) { p.Cert, p.Key = stranger.Cert(), stranger.Key() }, unproven: true,
		},
		{
			name: "any server of a pin", client: func(p *clientProfile) { p.InsecureSkipVerify, p.PinnedServerCert = true, []string{wrongPin} },
			serverErr: "any", clientErr: "pinned fingerprints", unproven: true,
		},
		{name: "pinned", server: func(p *serverProfile) { p.PinnedClientCert = []string{wrongPin, bShort} }, client: func(p *clientProfile) { p.PinnedServerCert = []string{aShort} }},
		{name: "pinned, the long ones", server: func(p *serverProfile) { p.PinnedClientCert = []string{bLong} }, client: func(p *clientProfile) { p.PinnedServerCert = []string{aLong, wrongPin} }},
		{name: "client is none of the pinned", server: func(p *serverProfile) { p.PinnedClientCert = []string{aShort} }, serverErr: "its SHA-256 is " + bShort, clientErr: "any"},
		{name: "server is none of the pinned", client: func(p *clientProfile) { p.PinnedServerCert = []string{wrongPin} }, serverErr: "any", clientErr: "pinned fingerprints"},
		{
			name: "pinned, and of another authority", server: func(p *serverProfile) { p.Cert, p.Key = stranger.Cert(), stranger.Key() },
			client: func(p *clientProfile) {
				short, _ := fingerprints(t, stranger)
				p.PinnedServerCert = []string{short}
			},
			serverErr: "any", clientErr: "unknown authority",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sp, cp := a.Server("s"), b.Client("c")
			sp.SkipReceptorNamesCheck, cp.SkipReceptorNamesCheck = true, true // the stranger's
			if tt.server != nil {
				tt.server(&sp)
			}
			if tt.client != nil {
				tt.client(&cp)
			}
			host := map[string]string{"": "127.0.0.1", "-": ""}[tt.host]
			if len(tt.host) > 1 {
				host = tt.host
			}
			server, client := shake(t, mtlstest.LoadServer(t, sp, "a"), mtlstest.LoadClient(t, cp, "b"), host)
			for _, end := range []struct {
				name string
				o    outcome
				want string
			}{{"server", server, tt.serverErr}, {"client", client, tt.clientErr}} {
				if (end.o.err == nil) != (end.want == "") || end.want != "any" && end.o.err != nil && !strings.Contains(end.o.err.Error(), end.want) {
					t.Errorf("%s: got %v, want %q", end.name, end.o.err, end.want)
				}
			}
			if tt.serverErr != "" || tt.clientErr != "" {
				return
			}
			if (server.peer.Check("bb") == nil) == tt.anonymous || server.peer.Proven == tt.anonymous {
				t.Errorf("the server has for its peer %+v", server.peer)
			}
			if (client.peer.Check("a") == nil) == tt.unproven || client.peer.Proven == tt.unproven {
				t.Errorf("the client has for its peer %+v", client.peer)
			}
			if !tt.anonymous && server.peer.Check("a").Error() != "x509: certificate is valid for Receptor node IDs b, bb, not a" {
				t.Errorf("another name: %v", server.peer.Check("a"))
			}
			if v := client.conn.ConnectionState().Version; v != tls.VersionTLS13 {
				t.Errorf("version %x", v)
			}
		})
	}
}

// A legacy node offers TLS 1.2 with P-521, P-384 and P-256 only, unless it is
// configured for 1.3.
func TestLegacyGroups(t *testing.T) {
	t.Parallel()
	ca := mtlstest.NewCA(t, "ca")
	f := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"a"}})
	s, c := mtlstest.LoadServer(t, f.Server("s"), "a"), mtlstest.LoadClient(t, f.Client("c"), "a")
	suites := []uint16{
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	}
	curves := []tls.CurveID{tls.CurveP521, tls.CurveP384, tls.CurveP256}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		legacy := func(of *tls.Config) *tls.Config {
			of = of.Clone()
			of.CurvePreferences, of.CipherSuites, of.MaxVersion, of.GetConfigForClient = curves, suites, version, nil
			return of
		}
		for name, pair := range map[string][2]*tls.Config{
			"legacy client": {s.Config(), legacy(c.Config("127.0.0.1"))},
			"legacy server": {legacy(s.Config()), c.Config("127.0.0.1")},
		} {
			here, there := pipe(t)
			failed := make(chan error, 1)
			go func() {
				server := tls.Server(here, pair[0])
				failed <- server.HandshakeContext(t.Context())
			}()
			client := tls.Client(there, pair[1])
			if err := client.HandshakeContext(t.Context()); err != nil {
				t.Errorf("%s, %x: %v", name, version, err)
			}
			if client.ConnectionState().Version != version {
				t.Errorf("%s: version %x, want %x", name, client.ConnectionState().Version, version)
			}
			if err := <-failed; err != nil {
				t.Errorf("%s, %x: %v", name, version, err)
			}
		}
	}
}

// What a stream demands: the node at the other end, and no host.
func TestStreamConfigs(t *testing.T) {
	t.Parallel()
	ca := mtlstest.NewCA(t, "ca")
	a := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"a"}, Hosts: []string{"elsewhere"}})
	b := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"b"}, Hosts: []string{"elsewhere"}})
	s, c := mtlstest.LoadServer(t, a.Server("s"), "a"), mtlstest.LoadClient(t, b.Client("c"), "b")
	for _, tt := range []struct {
		name                 string
		from, to             string
		serverErr, clientErr string
	}{
		{"both are", "b", "a", "", ""},
		{"the client is another", "x", "a", "x509: certificate is valid for Receptor node ID b, not x", ""},
		{"the server is another", "b", "x", "", "x509: certificate is valid for Receptor node ID a, not x"},
	} {
		here, there := pipe(t)
		failed := make(chan error, 1)
		go func() {
			failed <- tls.Server(here, s.StreamConfig(tt.from)).HandshakeContext(t.Context())
		}()
		config := c.StreamConfig(tt.to)
		if config.ServerName != "" {
			t.Errorf("%s: server name %q", tt.name, config.ServerName)
		}
		clientErr := tls.Client(there, config).HandshakeContext(t.Context())
		serverErr := <-failed
		if tt.clientErr != "" && (clientErr == nil || !strings.Contains(clientErr.Error(), tt.clientErr)) {
			t.Errorf("%s: client: %v", tt.name, clientErr)
		}
		if tt.serverErr != "" && (serverErr == nil || !strings.Contains(serverErr.Error(), tt.serverErr)) {
			t.Errorf("%s: server: %v", tt.name, serverErr)
		}
		if tt.clientErr == "" && tt.serverErr == "" && (clientErr != nil || serverErr != nil) {
			t.Errorf("%s: %v, %v", tt.name, clientErr, serverErr)
		}
	}
}
