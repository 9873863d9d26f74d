package streams

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// The protocols on top of QUIC, by ALPN.
const (
	protoMux    = "receptor-mux/1"
	protoLegacy = "netceptor"
)

// insecureName is the common name in the certificate of a service without a TLS
// profile, and all that a dialler without one checks: it keeps such a dialler
// from taking a service that has a profile for one that has not.
const insecureName = "netceptor-insecure-common-name"

// newCertificate makes the throw-away certificate of a carrier.
func newCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making a key: %w", err)
	}
	name := pkix.Name{CommonName: insecureName}
	// Nobody checks the dates. They are wide, so that no clock makes trouble.
	now := time.Now()
	template := x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      name,
		Issuer:       name,
		NotBefore:    now.AddDate(-1, 0, 0),
		NotAfter:     now.AddDate(30, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// serverTLS is of services without a TLS profile.
func serverTLS(cert tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{protoMux, protoLegacy},
		Certificates: []tls.Certificate{cert},
	}
}

// clientTLS is of diallers without a TLS profile. Chain, dates and key are not
// looked at, as existing nodes do not: there is no identity to be had.
func clientTLS() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{protoMux, protoLegacy},
		InsecureSkipVerify: true, //nolint:gosec // replaced by VerifyConnection
		VerifyConnection: func(s tls.ConnectionState) error {
			for _, c := range s.PeerCertificates {
				if c.Subject.CommonName == insecureName {
					return nil
				}
			}
			return errors.New("insecure connection to secure service")
		},
	}
}
