package workceptor

import (
	"crypto/rsa"

	"github.com/project-receptor/receptor/workceptor/internal/signing"
)

// ParseSigningKey reads an RSA key of 2048 bits at least from PEM, one block, as
// existing nodes have it.
func ParseSigningKey(pem []byte) (*rsa.PrivateKey, error) { return signing.ParsePrivate(pem) }

// ParseVerifyingKey reads its public half, likewise.
func ParseVerifyingKey(pem []byte) (*rsa.PublicKey, error) { return signing.ParsePublic(pem) }
