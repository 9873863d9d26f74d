package mtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Client is a loaded ClientProfile. Its methods may be called concurrently.
type Client struct {
	loaded
	profile ClientProfile
}

// LoadClient reads the files of a profile, for that node; an empty one does not
// matter. log gets what happens to them later; nil: nobody does.
func LoadClient(p ClientProfile, node string, log hclog.Logger) (*Client, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	c := &Client{loaded{name: p.Name, relaxed: p.SkipReceptorNamesCheck}, p}
	if err := c.load(kindClient, files{p.Cert, p.Key, p.RootCAs, "rootcas"}, p.PinnedServerCert, node, log); err != nil {
		return nil, err
	}
	return c, nil
}

// Profile is what was loaded.
func (c *Client) Profile() ClientProfile { return c.profile }

// Status is the state of the profile.
func (c *Client) Status() Status { return c.source.status(c.name, kindClient, c.Warning()) }

// Warning says what the profile leaves open; empty: nothing.
func (c *Client) Warning() string {
	switch {
	case c.profile.InsecureSkipVerify && len(c.pins) == 0:
		return "insecureskipverify: any server is taken for the right one"
	case c.profile.InsecureSkipVerify:
		return "insecureskipverify: a server need only have one of the pinned certificates, whatever that names"
	case c.profile.SkipReceptorNamesCheck:
		return relaxedWarning
	}
	return ""
}

// Config is for one connection, but a stream of the mesh, to a host: its
// certificate must be valid for that name or address. An empty host stands for
// any. It is fetched for each connection, as the files may have changed.
func (c *Client) Config(host string) *tls.Config {
	m := c.source.get()
	t := c.config(m)
	t.RootCAs, t.ServerName = m.cas, host
	t.InsecureSkipVerify = c.profile.InsecureSkipVerify //nolint:gosec // as configured, and warned of
	t.VerifyConnection = c.pins.check
	if host == "" && !c.profile.InsecureSkipVerify {
		t.InsecureSkipVerify = true //nolint:gosec // replaced by VerifyConnection
		t.VerifyConnection = c.verifier(m, "")
	}
	return t
}

// StreamConfig is for one stream connection of the mesh, to that node: the
// certificate must name it, whatever host it is for. It is fetched for each
// connection.
func (c *Client) StreamConfig(node string) *tls.Config {
	m := c.source.get()
	t := c.config(m)
	t.MinVersion = tls.VersionTLS13
	t.InsecureSkipVerify = true //nolint:gosec // replaced by VerifyConnection, unless it is configured
	t.VerifyConnection = c.pins.check
	if !c.profile.InsecureSkipVerify {
		t.VerifyConnection = c.verifier(m, node)
	}
	return t
}

func (c *Client) config(m *material) *tls.Config {
	t := baseConfig(c.profile.MinTLS13)
	if m.cert != nil {
		// Whatever authorities the server names: should it know ours no more, it can
		// say so. crypto/tls would show nothing.
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return m.cert, nil }
	}
	return t
}

// verifier checks a server's certificate, which must name the node if that is
// not empty.
func (c *Client) verifier(m *material, node string) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		leaf := state.PeerCertificates[0] // a server of TLS 1.2 and 1.3 has one
		_, err := leaf.Verify(x509.VerifyOptions{
			Roots:         m.cas,
			Intermediates: intermediates(state.PeerCertificates),
			CurrentTime:   time.Now(),
			KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		if err != nil {
			return fmt.Errorf("%w: %s", err, describe(leaf))
		}
		if err := c.pins.check(state); err != nil {
			return err
		}
		if node == "" {
			return nil
		}
		return checkName(leaf, node)
	}
}

// Handshake speaks the client's part of TLS on conn, to a server for that host,
// as of Config. When it fails, conn is the caller's to close; so is it when ctx is
// done, which ends the handshake.
func (c *Client) Handshake(ctx context.Context, conn net.Conn, host string) (*tls.Conn, Peer, error) {
	t := tls.Client(conn, c.Config(host))
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, Peer{}, diagnose(err)
	}
	p, err := c.Peer(t.ConnectionState())
	return t, p, err
}

// Peer tells who is at the other end of a connection that was made by the
// profile.
func (c *Client) Peer(state tls.ConnectionState) (Peer, error) {
	if c.profile.InsecureSkipVerify {
		return Peer{}, nil
	}
	if len(state.PeerCertificates) == 0 {
		return Peer{}, errors.New("the server has shown no certificate")
	}
	return peerOf(state)
}
