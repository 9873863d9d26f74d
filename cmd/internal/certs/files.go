package certs

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// The types of PEM blocks that we write.
const (
	pemKey         = "RSA PRIVATE KEY"
	pemCertificate = "CERTIFICATE"
	pemRequest     = "CERTIFICATE REQUEST"
)

// maxFile bounds a file that is read: a PEM block of a key of maxBits has 13 KB.
const maxFile = 1 << 20

// readPEM reads the first PEM block of a file that is of one of these types.
func readPEM(path string, types ...string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // nothing was written
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, fmt.Errorf("%s: expected a PEM block %s, found none", path, types[0])
		}
		for _, t := range types {
			if block.Type == t {
				return block.Bytes, nil
			}
		}
	}
}

// readKey reads a private key, in the form that we write or as PKCS #8.
func readKey(path string) (crypto.Signer, error) {
	der, err := readPEM(path, pemKey, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: read the private key: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: a key of type %T cannot sign", path, key)
	}
	return signer, nil
}

func readRequest(path string) (*x509.CertificateRequest, error) {
	der, err := readPEM(path, pemRequest, "NEW CERTIFICATE REQUEST")
	if err != nil {
		return nil, err
	}
	req, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("%s: read the request: %w", path, err)
	}
	if err := req.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%s: the request is not signed by its own key: %w", path, err)
	}
	return req, nil
}

func readAuthority(path string) (*x509.Certificate, error) {
	der, err := readPEM(path, pemCertificate)
	if err != nil {
		return nil, err
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%s: read the certificate: %w", path, err)
	}
	if !ca.IsCA {
		return nil, fmt.Errorf("%s: the certificate is not that of an authority", path)
	}
	return ca, nil
}

// file is one to be written: a PEM block.
type file struct {
	path, typ string
	der       []byte
}

// write writes all files, readable by their owner alone. Each is written beside
// its place and moved there once all are on disk: a file that was there is
// replaced as a whole or not at all.
func write(files ...file) (err error) {
	var moves [][2]string
	defer func() {
		for _, m := range moves {
			if rerr := os.Remove(m[0]); !errors.Is(rerr, os.ErrNotExist) {
				err = errors.Join(err, rerr)
			}
		}
	}()
	for _, f := range files {
		path, err := target(f.path)
		if err != nil {
			return err
		}
		text := pem.EncodeToMemory(&pem.Block{Type: f.typ, Bytes: f.der})
		temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
		if err != nil {
			return err
		}
		moves = append(moves, [2]string{temp.Name(), path})
		_, werr := io.Copy(temp, bytes.NewReader(text))
		if err := errors.Join(werr, temp.Sync(), temp.Close()); err != nil {
			return fmt.Errorf("write %s: %w", f.path, err)
		}
	}
	for _, m := range moves {
		if err := os.Rename(m[0], m[1]); err != nil {
			return err
		}
	}
	return nil
}

// target is where a file really is, with links resolved. What is there must be a
// file: a device would be replaced, too.
func target(path string) (string, error) {
	place, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) {
		return path, nil
	}
	if err != nil {
		return "", err
	}
	info, err := os.Stat(place)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is there already and is no file", path)
	}
	return place, nil
}
