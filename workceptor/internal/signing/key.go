package signing

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// minBits is what a key must have: less can be broken.
const minBits = 2048

// ParsePrivate reads an RSA key from PEM: "RSA PRIVATE KEY" or "PRIVATE KEY".
func ParsePrivate(b []byte) (*rsa.PrivateKey, error) {
	block, err := onlyBlock(b)
	if err != nil {
		return nil, err
	}
	var key any
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("expected an RSA private key, got %.40q", block.Type)
	}
	if err != nil {
		return nil, err
	}
	k, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("expected an RSA private key, got a %T", key)
	}
	return k, checkSize(&k.PublicKey)
}

// ParsePublic reads one from PEM: "PUBLIC KEY".
func ParsePublic(b []byte) (*rsa.PublicKey, error) {
	block, err := onlyBlock(b)
	if err != nil {
		return nil, err
	}
	if block.Type != "PUBLIC KEY" {
		return nil, fmt.Errorf("expected a public key, got %.40q", block.Type)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	k, ok := key.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("expected an RSA public key, got a %T", key)
	}
	return k, checkSize(k)
}

func checkSize(k *rsa.PublicKey) error {
	if bits := k.N.BitLen(); bits < minBits {
		return fmt.Errorf("the key has %d bits; %d are the least", bits, minBits)
	}
	return nil
}

func onlyBlock(b []byte) (*pem.Block, error) {
	block, rest := pem.Decode(b)
	if block == nil {
		return nil, errors.New("there is no PEM block in it")
	}
	if other, _ := pem.Decode(rest); other != nil {
		return nil, errors.New("there is more than one PEM block in it")
	}
	return block, nil
}
