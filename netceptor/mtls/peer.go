package mtls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const relaxedWarning = "skipreceptornamescheck: on links, who has a certificate may claim any node ID"

// Peer is who is at the other end of a connection, as far as that is proven.
type Peer struct {
	Proven bool     // it has shown a certificate, and that was verified
	Nodes  []string // the node IDs in it
}

// Check tells whether the peer has proven to be that node; the error says who it
// is instead.
func (p Peer) Check(node string) error {
	switch {
	case !p.Proven:
		return errors.New("it has shown no certificate that was verified")
	case !slices.Contains(p.Nodes, node):
		return nameError(p.Nodes, node)
	}
	return nil
}

// peerOf is who a verified certificate names.
func peerOf(state tls.ConnectionState) (Peer, error) {
	nodes, err := Names(state.PeerCertificates[0])
	if err != nil {
		return Peer{}, err
	}
	return Peer{Proven: true, Nodes: nodes}, nil
}

// checkName demands that a verified certificate names a node.
func checkName(c *x509.Certificate, node string) error {
	names, err := Names(c)
	if err != nil || slices.Contains(names, node) {
		return err
	}
	return nameError(names, node)
}

// nameError says, in the words of existing nodes, that a certificate is another
// one's.
func nameError(names []string, node string) error {
	switch len(names) {
	case 0:
		return fmt.Errorf("x509: certificate is not valid for any Receptor node IDs, but wanted to match %s", clip(node))
	case 1:
		return fmt.Errorf("x509: certificate is valid for Receptor node ID %s, not %s", clip(names[0]), clip(node))
	default:
		return fmt.Errorf("x509: certificate is valid for Receptor node IDs %s, not %s", list(names), clip(node))
	}
}

// list is some names, for people.
func list(names []string) string {
	const shown = 8 // a certificate may have thousands
	var b strings.Builder
	for i, name := range names {
		if i == shown {
			fmt.Fprintf(&b, " and %d more", len(names)-shown)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(clip(name))
	}
	return b.String()
}

// clip makes what others have named safe to show.
func clip(name string) string {
	if q := fmt.Sprintf("%.256q", name); len(q) != len(name)+2 {
		return q
	}
	return name
}

// baseConfig is common to all. Groups and ciphers are those of crypto/tls, which
// has the three curves of existing nodes among them.
func baseConfig(min13 bool) *tls.Config {
	c := &tls.Config{
		MinVersion: tls.VersionTLS12,
		// Small records first are for web pages. Here what is sent together is read
		// together.
		DynamicRecordSizingDisabled: true,
	}
	if min13 {
		c.MinVersion = tls.VersionTLS13
	}
	return c
}

// intermediates are the certificates that came with a leaf.
func intermediates(chain []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range chain[1:] {
		pool.AddCert(c)
	}
	return pool
}

// diagnose adds to the error of a handshake what somebody needs who has to mend
// it: whose certificate it was, and whose clock.
func diagnose(err error) error {
	var v *tls.CertificateVerificationError
	if errors.As(err, &v) && len(v.UnverifiedCertificates) > 0 {
		return fmt.Errorf("%w: %s", err, describe(v.UnverifiedCertificates[0]))
	}
	return err
}

// describe is a certificate that was refused, for people.
func describe(c *x509.Certificate) string {
	const format = time.RFC3339
	text := fmt.Sprintf("subject %.256q, issuer %.256q, valid from %s to %s, our clock says %s", c.Subject, c.Issuer,
		c.NotBefore.UTC().Format(format), c.NotAfter.UTC().Format(format), time.Now().UTC().Format(format))
	if names, err := Names(c); err == nil && len(names) > 0 {
		text += ", for nodes " + list(names)
	}
	return text
}
