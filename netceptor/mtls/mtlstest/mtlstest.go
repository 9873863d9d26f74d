// Package mtlstest makes authorities and certificates for tests, as files.
package mtlstest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor/mtls"
)

// CA is a certificate authority.
type CA struct {
	PEM  []byte
	Cert *x509.Certificate
	key  crypto.Signer
}

// NewCA makes an authority.
func NewCA(t testing.TB, name string) *CA {
	t.Helper()
	key := newKey(t, false)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca := &CA{PEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key: key}
	if ca.Cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return ca
}

// Leaf says what a certificate is like. The zero value is valid for 127.0.0.1 and
// localhost, as server and client, for a year.
type Leaf struct {
	Nodes    []string
	Hosts    []string // DNS names and addresses; nil: localhost, 127.0.0.1, ::1
	RSA      bool     // else ECDSA, which is faster to make
	Usage    []x509.ExtKeyUsage
	NotAfter time.Time
}

// Issue makes a certificate and its key.
func (ca *CA) Issue(t testing.TB, l Leaf) (cert, key []byte) {
	t.Helper()
	if l.Hosts == nil {
		l.Hosts = []string{"localhost", "127.0.0.1", "::1"}
	}
	if l.Usage == nil {
		l.Usage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	if l.NotAfter.IsZero() {
		l.NotAfter = time.Now().AddDate(1, 0, 0)
	}
	var names []string
	var addresses []net.IP
	for _, host := range l.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			addresses = append(addresses, ip)
		} else {
			names = append(names, host)
		}
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "leaf"},
		NotBefore: l.NotAfter.AddDate(-2, 0, 0), NotAfter: l.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: l.Usage,
	}
	if len(names)+len(addresses)+len(l.Nodes) > 0 {
		san, err := mtls.SubjectAltNames(names, addresses, l.Nodes)
		if err != nil {
			t.Fatal(err)
		}
		template.ExtraExtensions = []pkix.Extension{san}
	}
	signer := newKey(t, l.RSA)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Cert, signer.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

func newKey(t testing.TB, isRSA bool) crypto.Signer {
	t.Helper()
	if isRSA {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Files are the certificate files of a node, in a directory.
type Files struct{ Dir string }

// Cert, Key and CAs are the paths.
func (f Files) Cert() string { return filepath.Join(f.Dir, "cert.pem") }

// Key is the path of the key.
func (f Files) Key() string { return filepath.Join(f.Dir, "key.pem") }

// CAs is the path of the bundle of authorities.
func (f Files) CAs() string { return filepath.Join(f.Dir, "cas.pem") }

// Issue makes a certificate of the authority and writes it with its key.
func (f Files) Issue(t testing.TB, ca *CA, l Leaf) {
	t.Helper()
	cert, key := ca.Issue(t, l)
	Replace(t, f.Cert(), cert)
	Replace(t, f.Key(), key)
}

// Trust writes the bundle of authorities.
func (f Files) Trust(t testing.TB, cas ...*CA) {
	t.Helper()
	var all []byte
	for _, ca := range cas {
		all = append(all, ca.PEM...)
	}
	Replace(t, f.CAs(), all)
}

// NodeFiles makes the files of a node in a fresh directory.
func NodeFiles(t testing.TB, ca *CA, l Leaf) Files {
	t.Helper()
	f := Files{Dir: t.TempDir()}
	f.Issue(t, ca, l)
	f.Trust(t, ca)
	return f
}

// Replace replaces a file as a whole.
func Replace(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// Server is a profile of these files that demands client certificates.
func (f Files) Server(name string) mtls.ServerProfile {
	return mtls.ServerProfile{Name: name, Cert: f.Cert(), Key: f.Key(), RequireClientCert: true, ClientCAs: f.CAs()}
}

// Client is a profile of these files.
func (f Files) Client(name string) mtls.ClientProfile {
	return mtls.ClientProfile{Name: name, Cert: f.Cert(), Key: f.Key(), RootCAs: f.CAs()}
}

// LoadServer loads a profile for a node.
func LoadServer(t testing.TB, p mtls.ServerProfile, node string) *mtls.Server {
	t.Helper()
	s, err := mtls.LoadServer(p, node, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// LoadClient loads a profile for a node.
func LoadClient(t testing.TB, p mtls.ClientProfile, node string) *mtls.Client {
	t.Helper()
	c, err := mtls.LoadClient(p, node, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
