package legacy

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"time"
)

// TLS is a configuration of TLS, for both ends, of links and of streams.
type TLS struct {
	Certificate        *tls.Certificate // nil for a client without
	Roots              *x509.CertPool   // servers and clients are checked against; nil: the system's
	RequireClientCert  bool
	VerifyClientCert   bool // if it has one
	Pins               [][]byte
	InsecureSkipVerify bool // of servers, pins included
	MinTLS13           bool
}

func (t *TLS) base() *tls.Config {
	c := new(tls.Config)
	if t.Certificate != nil {
		c.Certificates = []tls.Certificate{*t.Certificate}
	}
	if t.MinTLS13 {
		c.MinVersion = tls.VersionTLS13
		return c
	}
	c.MinVersion = tls.VersionTLS12
	c.CurvePreferences = []tls.CurveID{tls.CurveP521, tls.CurveP384, tls.CurveP256}
	c.CipherSuites = []uint16{
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	}
	return c
}

// linkServer is for listeners below the mesh: whose certificate it is that a
// node has does not matter.
func (t *TLS) linkServer() *tls.Config {
	c := t.server()
	c.VerifyPeerCertificate = func(raw [][]byte, _ [][]*x509.Certificate) error {
		if len(raw) == 0 {
			return nil
		}
		return t.checkPins(raw[0])
	}
	return c
}

func (t *TLS) server() *tls.Config {
	c := t.base()
	c.ClientCAs = t.Roots
	switch {
	case t.RequireClientCert:
		c.ClientAuth = tls.RequireAndVerifyClientCert
	case t.VerifyClientCert:
		c.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return c
}

// linkClient is for diallers below the mesh: the certificate must name the host.
func (t *TLS) linkClient(host string) *tls.Config {
	c := t.base()
	c.RootCAs, c.ServerName, c.InsecureSkipVerify = t.Roots, host, t.InsecureSkipVerify
	if !t.InsecureSkipVerify {
		c.VerifyPeerCertificate = func(raw [][]byte, _ [][]*x509.Certificate) error { return t.checkPins(raw[0]) }
	}
	return c
}

// checkPins expects a certificate to have one of the pinned fingerprints.
func (t *TLS) checkPins(der []byte) error {
	short, long := sha256.Sum256(der), sha512.Sum512(der)
	if len(t.Pins) == 0 || slices.ContainsFunc(t.Pins, func(pin []byte) bool {
		return bytes.Equal(pin, short[:]) || bytes.Equal(pin, long[:])
	}) {
		return nil
	}
	return errors.New("the certificate is not among the pinned ones")
}

// alpn is the protocol of streams.
const alpn = "netceptor"

// streamServer is for listeners on the mesh. A client that must have a
// certificate must be named in it.
func (t *TLS) streamServer() *tls.Config {
	c := t.server()
	c.NextProtos = []string{alpn}
	if !t.RequireClientCert {
		return c
	}
	listener := c.Clone()
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		each := listener.Clone()
		each.VerifyPeerCertificate = func(raw [][]byte, _ [][]*x509.Certificate) error {
			return checkNode(raw[0], nodeOf(hello.Conn.RemoteAddr()))
		}
		return each, nil
	}
	return c
}

func nodeOf(a net.Addr) string {
	if addr, ok := a.(Addr); ok {
		return addr.Node
	}
	return ""
}

// streamClient is for diallers on the mesh: the certificate must name the node.
func (t *TLS) streamClient(node string) *tls.Config {
	c := t.base()
	c.NextProtos = []string{alpn}
	c.InsecureSkipVerify = true // the names of hosts do not count: checked below
	if t.InsecureSkipVerify {
		return c
	}
	c.VerifyPeerCertificate = func(raw [][]byte, _ [][]*x509.Certificate) error {
		if err := t.verifyServer(raw); err != nil {
			return err
		}
		return errors.Join(t.checkPins(raw[0]), checkNode(raw[0], node))
	}
	return c
}

// verifyServer checks the chain of a server's certificate, but no name.
func (t *TLS) verifyServer(raw [][]byte) error {
	between := x509.NewCertPool()
	for _, der := range raw[1:] {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		between.AddCert(cert)
	}
	leaf, err := x509.ParseCertificate(raw[0])
	if err != nil {
		return err
	}
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: t.Roots, Intermediates: between, CurrentTime: time.Now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}
