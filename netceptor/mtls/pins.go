package mtls

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// pins are the fingerprints of certificates that may be at the other end: SHA-256
// or SHA-512 of the DER. No pins: any.
type pins [][]byte

func parsePins(texts []string) (pins, error) {
	var all pins
	for _, text := range texts {
		b, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
		switch {
		case err != nil:
			return nil, fmt.Errorf("expected a fingerprint in hexadecimal, got %.140q", text)
		case len(b) != sha256.Size && len(b) != sha512.Size:
			return nil, fmt.Errorf("expected a fingerprint of 32 bytes (SHA-256) or 64 (SHA-512), got %d: %.140q", len(b), text)
		}
		all = append(all, b)
	}
	return all, nil
}

// check tells whether the certificate of a connection, if there is one, fits.
func (p pins) check(s tls.ConnectionState) error {
	if len(p) == 0 || len(s.PeerCertificates) == 0 {
		return nil
	}
	der := s.PeerCertificates[0].Raw
	short, long := sha256.Sum256(der), sha512.Sum512(der)
	if slices.ContainsFunc(p, func(pin []byte) bool { return bytes.Equal(pin, short[:]) || bytes.Equal(pin, long[:]) }) {
		return nil
	}
	return errors.New("the certificate has none of the pinned fingerprints: its SHA-256 is " + hex.EncodeToString(short[:]))
}
