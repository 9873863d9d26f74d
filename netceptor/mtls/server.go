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

// Server is a loaded ServerProfile. Its methods may be called concurrently.
type Server struct {
	loaded
	profile ServerProfile
}

// LoadServer reads the files of a profile, for that node; an empty one does not
// matter. log gets what happens to them later; nil: nobody does.
func LoadServer(p ServerProfile, node string, log hclog.Logger) (*Server, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	s := &Server{loaded{name: p.Name, relaxed: p.SkipReceptorNamesCheck}, p}
	if err := s.load(kindServer, files{p.Cert, p.Key, p.ClientCAs, "clientcas"}, p.PinnedClientCert, node, log); err != nil {
		return nil, err
	}
	return s, nil
}

// Profile is what was loaded.
func (s *Server) Profile() ServerProfile { return s.profile }

// Status is the state of the profile.
func (s *Server) Status() Status { return s.source.status(s.name, kindServer, s.Warning()) }

// Warning says what the profile leaves open; empty: nothing.
func (s *Server) Warning() string {
	switch {
	case s.profile.ClientCAs == "" && !s.profile.RequireClientCert:
		return "no client is asked for a certificate: who connects is not known"
	case !s.profile.RequireClientCert:
		return "a client may connect without a certificate: who it is, is not known then"
	case s.profile.SkipReceptorNamesCheck:
		return relaxedWarning
	}
	return ""
}

// Config is for any connection but a stream of the mesh. It need not be fetched
// anew when files change.
func (s *Server) Config() *tls.Config {
	c := s.config(s.source.get())
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.config(s.source.get()), nil }
	return c
}

func (s *Server) config(m *material) *tls.Config {
	c := baseConfig(s.profile.MinTLS13)
	c.Certificates = []tls.Certificate{*m.cert}
	c.ClientCAs = m.cas
	c.ClientAuth = s.clientAuth()
	// A client that comes back shows its certificate again: the authorities may
	// have changed.
	c.SessionTicketsDisabled = true
	c.VerifyConnection = s.pins.check
	return c
}

func (s *Server) clientAuth() tls.ClientAuthType {
	switch {
	case s.profile.RequireClientCert:
		return tls.RequireAndVerifyClientCert
	case s.profile.ClientCAs != "":
		return tls.VerifyClientCertIfGiven
	default:
		return tls.NoClientCert
	}
}

// StreamConfig is for one stream connection of the mesh, from that node: a client
// certificate must name it.
func (s *Server) StreamConfig(node string) *tls.Config {
	c := s.config(s.source.get())
	c.MinVersion = tls.VersionTLS13
	c.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return nil
		}
		if err := s.pins.check(state); err != nil {
			return err
		}
		return checkName(state.PeerCertificates[0], node)
	}
	return c
}

// Handshake speaks the server's part of TLS on conn. When it fails, conn is the
// caller's to close; so is it when ctx is done, which ends the handshake.
func (s *Server) Handshake(ctx context.Context, conn net.Conn) (*tls.Conn, Peer, error) {
	t := tls.Server(conn, s.Config())
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, Peer{}, diagnose(err)
	}
	p, err := s.Peer(t.ConnectionState())
	return t, p, err
}

// Peer tells who is at the other end of a connection that was made by the
// profile.
func (s *Server) Peer(state tls.ConnectionState) (Peer, error) {
	if len(state.VerifiedChains) == 0 {
		return Peer{}, nil
	}
	return peerOf(state)
}

// Recheck tells whether a client that has connected before would still be let
// in: its authority may have been removed, or its certificate have ended.
func (s *Server) Recheck(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		if s.profile.RequireClientCert {
			return errors.New("the client has shown no certificate")
		}
		return nil
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots:         s.source.get().cas,
		Intermediates: intermediates(state.PeerCertificates),
		CurrentTime:   time.Now(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return fmt.Errorf("%w: %s", err, describe(state.PeerCertificates[0]))
	}
	return nil
}
