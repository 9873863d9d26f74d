package mtls_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor/mtls"
	"github.com/project-receptor/receptor/netceptor/mtls/mtlstest"
)

// TestMistakes has what is wrong with profiles: one line each, with the parameter.
func TestMistakes(t *testing.T) {
	t.Parallel()
	ca := mtlstest.NewCA(t, "ca")
	good := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"a"}})
	other := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{Nodes: []string{"b", "c"}})
	nameless := mtlstest.NodeFiles(t, ca, mtlstest.Leaf{})
	empty := filepath.Join(t.TempDir(), "empty")
	mtlstest.Replace(t, empty, nil)
	short := filepath.Join(t.TempDir(), "short")
	mtlstest.Replace(t, short, append(ca.PEM, ca.PEM[:len(ca.PEM)-40]...))
	bad := filepath.Join(t.TempDir(), "bad")
	mtlstest.Replace(t, bad, []byte(strings.Replace(string(ca.PEM), "MII", "AAA", 1)))
	large := filepath.Join(t.TempDir(), "large")
	mtlstest.Replace(t, large, make([]byte, 2<<20))

	for _, tt := range []struct {
		name   string
		server func(*mtls.ServerProfile)
		client func(*mtls.ClientProfile)
		want   string
	}{
		{name: "no name", server: func(p *mtls.ServerProfile) { p.Name = "" }, client: func(p *mtls.ClientProfile) { p.Name = "" }, want: "parameter name is required"},
		{name: "no certificate", server: func(p *mtls.ServerProfile) { p.Cert = "" }, client: func(p *mtls.ClientProfile) { p.Cert = "" }, want: "parameter cert is required"},
		{name: "no key", server: func(p *mtls.ServerProfile) { p.Key = "" }, client: func(p *mtls.ClientProfile) { p.Key = "" }, want: "parameter key is required"},
		{
			name: "no such certificate", server: func(p *mtls.ServerProfile) { p.Cert = "/none/c" }, client: func(p *mtls.ClientProfile) { p.Cert = "/none/c" },
			want: "parameter cert: stat /none/c: no such file",
		},
		{
			name: "no such key", server: func(p *mtls.ServerProfile) { p.Key = "/none/k" }, client: func(p *mtls.ClientProfile) { p.Key = "/none/k" },
			want: "parameter key: stat /none/k: no such file",
		},
		{name: "no such clientcas", server: func(p *mtls.ServerProfile) { p.ClientCAs = "/none/ca" }, want: "parameter clientcas: stat /none/ca: no such file"},
		{name: "no such rootcas", client: func(p *mtls.ClientProfile) { p.RootCAs = "/none/ca" }, want: "parameter rootcas: stat /none/ca: no such file"},
		{name: "a directory", server: func(p *mtls.ServerProfile) { p.Cert = good.Dir }, client: func(p *mtls.ClientProfile) { p.Cert = good.Dir }, want: "is no file"},
		{name: "a large file", server: func(p *mtls.ServerProfile) { p.ClientCAs = large }, client: func(p *mtls.ClientProfile) { p.RootCAs = large }, want: "is larger than"},
		{
			name: "the key of another", server: func(p *mtls.ServerProfile) { p.Key = other.Key() }, client: func(p *mtls.ClientProfile) { p.Key = other.Key() },
			want: "private key does not match public key",
		},
		{name: "no key in the file", server: func(p *mtls.ServerProfile) { p.Key = good.Cert() }, client: func(p *mtls.ClientProfile) { p.Key = good.Cert() }, want: "parameters cert, key:"},
		{name: "no certificate in the file", server: func(p *mtls.ServerProfile) { p.Cert = empty }, client: func(p *mtls.ClientProfile) { p.Cert = empty }, want: "parameter cert: " + empty + ": there is no certificate in it"},
		{name: "no authority in the file", server: func(p *mtls.ServerProfile) { p.ClientCAs = empty }, client: func(p *mtls.ClientProfile) { p.RootCAs = empty }, want: "there is no certificate in it"},
		{name: "authorities cut short", server: func(p *mtls.ServerProfile) { p.ClientCAs = short }, client: func(p *mtls.ClientProfile) { p.RootCAs = short }, want: "of 2 certificates in it 1 can be read"},
		{name: "a broken authority", server: func(p *mtls.ServerProfile) { p.ClientCAs = bad }, client: func(p *mtls.ClientProfile) { p.RootCAs = bad }, want: "x509: malformed"},
		{
			name: "names of others", server: func(p *mtls.ServerProfile) { p.Cert, p.Key = other.Cert(), other.Key() }, client: func(p *mtls.ClientProfile) { p.Cert, p.Key = other.Cert(), other.Key() },
			want: "x509: certificate is valid for Receptor node IDs b, c, not a (skipreceptornamescheck=true allows it)",
		},
		{
			name: "no names", server: func(p *mtls.ServerProfile) { p.Cert, p.Key = nameless.Cert(), nameless.Key() }, client: func(p *mtls.ClientProfile) { p.Cert, p.Key = nameless.Cert(), nameless.Key() },
			want: "x509: certificate is not valid for any Receptor node IDs, but wanted to match a",
		},
		{name: "a short pin", server: func(p *mtls.ServerProfile) { p.PinnedClientCert = []string{"aa:bb"} }, want: `parameter pinnedclientcert: expected a fingerprint of 32 bytes (SHA-256) or 64 (SHA-512), got 2: "aa:bb"`},
		{name: "a pin that is none", client: func(p *mtls.ClientProfile) { p.PinnedServerCert = []string{"SHA256:x"} }, want: `parameter pinnedservercert: expected a fingerprint in hexadecimal, got "SHA256:x"`},
		{
			name: "pins that nobody is asked for", server: func(p *mtls.ServerProfile) {
				p.PinnedClientCert, p.RequireClientCert, p.ClientCAs = []string{strings.Repeat("00", 32)}, false, ""
			},
			want: "parameter pinnedclientcert: no client is asked",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			check := func(err error) {
				t.Helper()
				if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
					t.Errorf("got %v\nwant %s", err, tt.want)
				}
			}
			if tt.server != nil {
				p := good.Server("s")
				tt.server(&p)
				_, err := mtls.LoadServer(p, "a", nil)
				check(err)
			}
			if tt.client != nil {
				p := good.Client("c")
				tt.client(&p)
				_, err := mtls.LoadClient(p, "a", nil)
				check(err)
			}
		})
	}
}

func TestSkipReceptorNamesCheck(t *testing.T) {
	t.Parallel()
	f := mtlstest.NodeFiles(t, mtlstest.NewCA(t, "ca"), mtlstest.Leaf{Nodes: []string{"b"}})
	s, c := f.Server("s"), f.Client("c")
	s.SkipReceptorNamesCheck, c.SkipReceptorNamesCheck = true, true
	server, client := mtlstest.LoadServer(t, s, "a"), mtlstest.LoadClient(t, c, "a")
	if !server.Relaxed() || !client.Relaxed() || server.Warning() == "" || client.Warning() == "" {
		t.Errorf("relaxed %v %v, warnings %q %q", server.Relaxed(), client.Relaxed(), server.Warning(), client.Warning())
	}
	// A client without a certificate has no name to check.
	mtlstest.LoadClient(t, mtls.ClientProfile{Name: "c", RootCAs: f.CAs()}, "a")
}

func TestSet(t *testing.T) {
	t.Parallel()
	end := time.Now().Add(50 * time.Hour)
	f := mtlstest.NodeFiles(t, mtlstest.NewCA(t, "ca"), mtlstest.Leaf{Nodes: []string{"a", "b"}, NotAfter: end})
	s := mtlstest.LoadServer(t, f.Server("one"), "a")
	c := mtlstest.LoadClient(t, f.Client("one"), "b")
	set := mtls.NewSet([]*mtls.Server{s}, []*mtls.Client{c})
	if got, err := set.Server("one"); got != s || err != nil {
		t.Errorf("server: %v, %v", got, err)
	}
	if got, err := set.Client("one"); got != c || err != nil {
		t.Errorf("client: %v, %v", got, err)
	}
	for _, set := range []*mtls.Set{set, nil, {}} {
		if got, err := set.Server(""); got != nil || err != nil {
			t.Errorf("server of no name: %v, %v", got, err)
		}
		if got, err := set.Client("two"); got != nil || err == nil || err.Error() != "there is no tls-client named two" {
			t.Errorf("unknown client: %v, %v", got, err)
		}
	}
	st := set.Status()
	if len(st) != 2 || st[0].Kind != "tls-client" || st[1].Kind != "tls-server" || st[0].Name != "one" || *st[0].DaysLeft != 2 || len(st[0].Nodes) != 2 || st[0].Err != "" {
		t.Errorf("status: %+v", st)
	}
	if err := os.Remove(f.Cert()); err != nil {
		t.Fatal(err)
	}
	for _, err := set.Server("one"); set.Status()[1].Err == ""; { // by the next look
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
