package config

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/project-receptor/receptor/netceptor/mtls"
	"github.com/project-receptor/receptor/netceptor/mtls/mtlstest"
)

func TestTLSProfiles(t *testing.T) {
	t.Parallel()
	f := mtlstest.NodeFiles(t, mtlstest.NewCA(t, "ca"), mtlstest.Leaf{Nodes: []string{"n", "node1"}})
	pin := strings.Repeat("ab:", 31) + "ab"
	items, err := ParseYAML("n.yml", []byte(strings.NewReplacer("DIR", f.Dir, "PIN", pin).Replace(`
- node: {id: node1, requiretls: true}
- tls-server: {name: s, cert: DIR/cert.pem, key: DIR/key.pem, requireclientcert: yes, clientcas: DIR/cas.pem, pinnedclientcert: ["PIN"], mintls13: true}
- tls-client: {name: s, cert: DIR/cert.pem, key: DIR/key.pem, rootcas: DIR/cas.pem, pinnedservercert: "PIN", skipreceptornamescheck: on}
- tls-client: {name: none, cert: "", key: "", insecureskipverify: true}
- control-service: {tls: s}
`)))
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := Split(items)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, c.NeedTLS, true)
	equal(t, c.Control[0].TLS, "s")
	equal(t, c.Servers, []mtls.ServerProfile{{
		Name: "s", Cert: f.Cert(), Key: f.Key(), RequireClientCert: true, ClientCAs: f.CAs(), PinnedClientCert: []string{pin}, MinTLS13: true,
	}})
	equal(t, c.Clients, []mtls.ClientProfile{
		{Name: "s", Cert: f.Cert(), Key: f.Key(), RootCAs: f.CAs(), PinnedServerCert: []string{pin}, SkipReceptorNamesCheck: true},
		{Name: "none", InsecureSkipVerify: true},
	})
	set, err := c.LoadTLS(nil)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := set.Client("none"); s == nil || err != nil {
		t.Errorf("client none: %v", err)
	}
}

// One line each, with the place where the mistake was made.
func TestTLSMistakes(t *testing.T) {
	t.Parallel()
	f := mtlstest.NodeFiles(t, mtlstest.NewCA(t, "ca"), mtlstest.Leaf{Nodes: []string{"n", "node1"}})
	good := "cert=" + f.Cert() + " key=" + f.Key()
	relative, err := filepath.Abs("x.pem")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, args, want string }{
		{"no certificate", "--node-id n --tls-server name=a", "tls-server name=a: parameter cert is required: expected a file path\ntls-server name=a: parameter key is required: expected a file path"},
		{"a file that is not there", "--node-id n --tls-client name=a rootcas=x.pem", "tls-client name=a rootcas=x.pem: parameter rootcas: stat " + relative + ": no such file or directory"},
		{"a key alone", "--node-id n --tls-client name=a key=/k", "tls-client name=a key=/k: parameter cert is required: the key belongs to it"},
		{"the certificate of another", "--node-id m --tls-server name=a " + good, "tls-server name=a " + good + ": parameter cert: the certificate does not name this node: x509: certificate is valid for Receptor node IDs n, node1, not m (skipreceptornamescheck=true allows it)"},
		{"a short pin", "--node-id n --tls-client name=a pinnedservercert=00", `tls-client name=a pinnedservercert=00: parameter pinnedservercert: expected a fingerprint of 32 bytes (SHA-256) or 64 (SHA-512), got 1: "00"`},
		{"two of a name", "--node-id n --tls-client name=a --tls-client name=a mintls13=true", `tls-client name=a mintls13=true: there can be one tls-client name=a only, and "tls-client name=a" is one already`},
		{"a control service with TLS that is not there", "--node-id n --tls-client name=a --control-service tls=a", "control-service tls=a: parameter tls: there is no tls-server named a"},
		{"a control service with TLS that is wrong", "--node-id n --tls-server name=a cert=/none key=/none --control-service tls=a", "tls-server name=a cert=/none key=/none: parameter cert: stat /none: no such file or directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := split(t, strings.Fields(tt.args)...)
			equal(t, lines(t, err), strings.Split(tt.want, "\n"))
		})
	}
	if _, _, err := split(t, strings.Fields("--node-id n --tls-server name=a "+good+" --control-service tls=a")...); err != nil {
		t.Errorf("what is right: %v", err)
	}
}
