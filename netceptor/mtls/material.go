package mtls

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// maxFile bounds a certificate file: the largest bundles of authorities have a
// fifth of it.
const maxFile = 1 << 20

// files are the paths of what a profile is made of; an empty one is not used.
type files struct{ cert, key, cas, casParam string }

// contents are what stands in files.
type contents struct{ cert, key, cas []byte }

func (c *contents) equal(o *contents) bool {
	return bytes.Equal(c.cert, o.cert) && bytes.Equal(c.key, o.key) && bytes.Equal(c.cas, o.cas)
}

// read reads the files.
func (f *files) read() (*contents, error) {
	c := new(contents)
	for _, part := range []struct {
		param, path string
		to          *[]byte
	}{{"cert", f.cert, &c.cert}, {"key", f.key, &c.key}, {f.casParam, f.cas, &c.cas}} {
		if part.path == "" {
			continue
		}
		b, err := readFile(part.path)
		if err != nil {
			return nil, fmt.Errorf("parameter %s: %w", part.param, err)
		}
		*part.to = b
	}
	return c, nil
}

// readFile reads a file that may be anything: no pipe is waited for.
func readFile(path string) (_ []byte, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return b, err
}

// material is what the files of a profile hold. It is not changed once made.
type material struct {
	contents   *contents
	generation uint64
	loaded     time.Time

	cert  *tls.Certificate // nil: none
	names []string         // node IDs in it
	cas   *x509.CertPool   // nil: those of the system
}

// parse makes material of what stands in the files.
func (f *files) parse(c *contents) (*material, error) {
	m := &material{contents: c, loaded: time.Now()}
	if f.cert != "" {
		if _, err := parseBundle(c.cert); err != nil {
			return nil, fmt.Errorf("parameter cert: %s: %w", f.cert, err)
		}
		pair, err := tls.X509KeyPair(c.cert, c.key)
		if err != nil {
			return nil, fmt.Errorf("parameters cert, key: %s and %s: %w", f.cert, f.key, err)
		}
		if m.names, err = Names(pair.Leaf); err != nil {
			return nil, fmt.Errorf("parameter cert: %s: %w", f.cert, err)
		}
		m.cert = &pair
	}
	if f.cas != "" {
		bundle, err := parseBundle(c.cas)
		if err != nil {
			return nil, fmt.Errorf("parameter %s: %s: %w", f.casParam, f.cas, err)
		}
		m.cas = x509.NewCertPool()
		for _, ca := range bundle {
			m.cas.AddCert(ca)
		}
	}
	return m, nil
}

// parseBundle reads the certificates of a PEM file. One that cannot be read is an
// error, and so is a file that was cut short: x509.CertPool would go on without
// what is missing.
func parseBundle(text []byte) ([]*x509.Certificate, error) {
	const kind = "CERTIFICATE"
	begun := bytes.Count(text, []byte("-----BEGIN "+kind+"-----"))
	var all []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != kind {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	switch {
	case begun == 0:
		return nil, errors.New("there is no certificate in it")
	case len(all) < begun:
		return nil, fmt.Errorf("of %d certificates in it %d can be read: it is damaged or cut short", begun, len(all))
	}
	return all, nil
}

// checkOwnName demands that the certificate, if there is one, names a node.
func (m *material) checkOwnName(node string) error {
	if m.cert == nil || slices.Contains(m.names, node) {
		return nil
	}
	return fmt.Errorf("parameter cert: the certificate does not name this node: %w (skipreceptornamescheck=true allows it)", nameError(m.names, node))
}
