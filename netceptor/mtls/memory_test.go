package mtls

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// memory remembers what it has written to the files of a profile. Its
// certificate is self-signed, and stands twice in the bundle of authorities.
type memory struct {
	dir            string
	cert, key, cas []byte
}

func (m *memory) files() files {
	return files{filepath.Join(m.dir, "cert.pem"), filepath.Join(m.dir, "key.pem"), filepath.Join(m.dir, "cas.pem"), "clientcas"}
}

func newMemory(t *testing.T, node string) *memory {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	san, err := SubjectAltNames(nil, nil, []string{node})
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(1, 0, 0), ExtraExtensions: []pkix.Extension{san}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	}
	m.cas = append(append([]byte("# two authorities\n"), m.cert...), m.cert...)
	return m
}

// write writes new files for that node.
func (m *memory) write(t *testing.T, node string) {
	t.Helper()
	n := newMemory(t, node)
	m.cert, m.key, m.cas = n.cert, n.key, n.cas
	m.rewrite(t)
}

func (m *memory) rewrite(t *testing.T) {
	t.Helper()
	m.put(t, "cert.pem", m.cert)
	m.put(t, "key.pem", m.key)
	m.put(t, "cas.pem", m.cas)
}

func (m *memory) put(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (m *memory) remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(m.dir, name)); err != nil {
		t.Fatal(err)
	}
}
