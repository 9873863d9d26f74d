package mtls

import (
	"errors"
	"fmt"
)

// ServerProfile is what a tls-server item says: how to be the server of TLS. The
// fields are the parameters of the item, in JSON as well: a plug that speaks TLS
// itself gets them so.
type ServerProfile struct {
	Name string `json:"name"` // required

	Cert string `json:"cert"` // required; PEM file, with its chain
	Key  string `json:"key"`  // required; PEM file

	RequireClientCert bool     `json:"requireclientcert,omitempty"` // a client must show a certificate
	ClientCAs         string   `json:"clientcas,omitempty"`         // PEM file of the authorities of clients; without RequireClientCert a certificate is checked if there is one
	PinnedClientCert  []string `json:"pinnedclientcert,omitempty"`  // fingerprints, hexadecimal with or without colons; one must fit, besides the authority

	// SkipReceptorNamesCheck relaxes what binds certificates to node IDs: the own
	// one need not name the own node, and on links a neighbour may claim any node ID
	// whatever its certificate says. It is for neighbours that are existing nodes
	// with certificates of that kind. Streams are not affected.
	SkipReceptorNamesCheck bool `json:"skipreceptornamescheck,omitempty"`

	MinTLS13 bool `json:"mintls13,omitempty"` // no TLS 1.2
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
	Name string `json:"name"` // required

	Cert string `json:"cert,omitempty"` // PEM file, with its chain; with Key or not at all
	Key  string `json:"key,omitempty"`  // PEM file

	RootCAs            string   `json:"rootcas,omitempty"`            // PEM file of the authorities of servers; empty: those of the system
	InsecureSkipVerify bool     `json:"insecureskipverify,omitempty"` // any server will do
	PinnedServerCert   []string `json:"pinnedservercert,omitempty"`   // fingerprints, hexadecimal with or without colons; one must fit, besides the authority

	SkipReceptorNamesCheck bool `json:"skipreceptornamescheck,omitempty"` // as of ServerProfile

	MinTLS13 bool `json:"mintls13,omitempty"` // no TLS 1.2
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
