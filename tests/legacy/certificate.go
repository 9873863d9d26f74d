package legacy

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// insecureName is in the certificate of a stream listener without TLS
// configuration, and all that its clients look for.
const insecureName = "netceptor-insecure-common-name"

// newInsecureCertificate makes what such a listener presents. It is valid for a
// day, which nobody minds.
func newInsecureCertificate() (tls.Certificate, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: insecureName},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// insecureServer is for listeners without TLS configuration.
func insecureServer() (*tls.Config, error) {
	cert, err := newInsecureCertificate()
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{alpn}, MinVersion: tls.VersionTLS13}, nil
}

// insecureClient is for diallers without TLS configuration. The server name is
// the dialler's own.
func insecureClient(self string) *tls.Config {
	return &tls.Config{
		ServerName: self, NextProtos: []string{alpn}, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			for _, der := range raw {
				if cert, err := x509.ParseCertificate(der); err == nil && cert.Subject.CommonName == insecureName {
					return nil
				}
			}
			return errors.New("insecure connection to secure service")
		},
	}
}

var (
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidNodeID         = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 2312, 19, 1}
)

// nodeName is the name of a node as another name in a certificate.
type nodeName struct {
	ID    asn1.ObjectIdentifier
	Value string `asn1:"explicit,tag:0,utf8"`
}

// NodeIDs returns the node IDs that a certificate names.
func NodeIDs(cert *x509.Certificate) ([]string, error) {
	var ids []string
	for _, e := range cert.Extensions {
		if !e.Id.Equal(oidSubjectAltName) {
			continue
		}
		var list []asn1.RawValue
		if rest, err := asn1.Unmarshal(e.Value, &list); err != nil || len(rest) > 0 {
			return nil, fmt.Errorf("read the names of a certificate: %w", errors.Join(err, errTrailing(rest)))
		}
		for _, name := range list {
			var other nodeName
			if name.Class != asn1.ClassContextSpecific || name.Tag != 0 {
				continue
			}
			if _, err := asn1.UnmarshalWithParams(name.FullBytes, &other, "tag:0"); err == nil && other.ID.Equal(oidNodeID) {
				ids = append(ids, other.Value)
			}
		}
	}
	return ids, nil
}

func errTrailing(rest []byte) error {
	if len(rest) == 0 {
		return nil
	}
	return fmt.Errorf("%d bytes too many", len(rest))
}

// NamesExtension makes the extension that names a node, and hosts besides.
func NamesExtension(ids []string, dnsNames []string, ips [][]byte) (pkix.Extension, error) {
	var list []asn1.RawValue
	context := func(tag int, b []byte) {
		list = append(list, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: b})
	}
	for _, d := range dnsNames {
		context(2, []byte(d))
	}
	for _, ip := range ips {
		context(7, ip)
	}
	for _, id := range ids {
		der, err := asn1.MarshalWithParams(nodeName{oidNodeID, id}, "tag:0")
		if err != nil {
			return pkix.Extension{}, fmt.Errorf("name node %q: %w", id, err)
		}
		list = append(list, asn1.RawValue{FullBytes: der})
	}
	der, err := asn1.Marshal(list)
	if err != nil {
		return pkix.Extension{}, fmt.Errorf("make the names of a certificate: %w", err)
	}
	return pkix.Extension{Id: oidSubjectAltName, Value: der}, nil
}

// checkNode expects a certificate to name a node.
func checkNode(der []byte, node string) error {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	ids, err := NodeIDs(cert)
	switch {
	case err != nil:
		return err
	case slices.Contains(ids, node):
		return nil
	case len(ids) == 0:
		return fmt.Errorf("x509: certificate is not valid for any Receptor node IDs, but wanted to match %s", node)
	case len(ids) == 1:
		return fmt.Errorf("x509: certificate is valid for Receptor node ID %s, not %s", ids[0], node)
	}
	return fmt.Errorf("x509: certificate is valid for Receptor node IDs %s, not %s", strings.Join(ids, ", "), node)
}
