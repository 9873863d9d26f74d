package mtls

import (
	"errors"
	"fmt"
)

// ServerProfile is what a tls-server item says: how to be the server of TLS. The
// fields are the parameters of the item.
type ServerProfile struct {
	Name string // required

	Cert, Key string // required; PEM files, the certificate with its chain

	RequireClientCert bool     // a client must show a certificate
	ClientCAs         string   // PEM file of the authorities of clients; without RequireClientCert a certificate is checked if there is one
	PinnedClientCert  []string // fingerprints, hexadecimal with or without colons; one must fit, besides the authority

	// SkipReceptorNamesCheck relaxes what binds certificates to node IDs: the own
	// one need not name the own node, and on links a neighbour may claim any node ID
	// whatever its certificate says. It is for neighbours that are existing nodes
	// with certificates of that kind. Streams are not affected.
	SkipReceptorNamesCheck bool

	MinTLS13 bool // no TLS 1.2
}

// Validate says which parameter is wrong. It looks at no file.
func (p *ServerProfile) Validate() error {
	switch {
	case p.Name == "":
		return errors.New("parameter name is required")
	case p.Cert == "":
		return errors.New("parameter cert is required: a server of TLS has a certificate")
	case p.Key == "":
		return errors.New("parameter key is required: it belongs to the certificate")
	case len(p.PinnedClientCert) > 0 && !p.RequireClientCert && p.ClientCAs == "":
		return errors.New("parameter pinnedclientcert: no client is asked for a certificate without requireclientcert or clientcas")
	}
	if _, err := parsePins(p.PinnedClientCert); err != nil {
		return fmt.Errorf("parameter pinnedclientcert: %w", err)
	}
	return nil
}

// ClientProfile is what a tls-client item says: how to be the client of TLS. The
// fields are the parameters of the item.
type ClientProfile struct {
	Name string // required

	Cert, Key string // PEM files, the certificate with its chain; both or neither

	RootCAs            string   // PEM file of the authorities of servers; empty: those of the system
	InsecureSkipVerify bool     // any server will do
	PinnedServerCert   []string // fingerprints, hexadecimal with or without colons; one must fit, besides the authority

	SkipReceptorNamesCheck bool // as of ServerProfile

	MinTLS13 bool // no TLS 1.2
}

// Validate says which parameter is wrong. It looks at no file.
func (p *ClientProfile) Validate() error {
	switch {
	case p.Name == "":
		return errors.New("parameter name is required")
	case p.Cert != "" && p.Key == "":
		return errors.New("parameter key is required: it belongs to the certificate")
	case p.Cert == "" && p.Key != "":
		return errors.New("parameter cert is required: the key belongs to it")
	}
	if _, err := parsePins(p.PinnedServerCert); err != nil {
		return fmt.Errorf("parameter pinnedservercert: %w", err)
	}
	return nil
}
