package signing

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// algorithm is the only one. Legacy verifiers take others, too; their signers use this.
var algorithm = jwt.SigningMethodRS512

// clockSkew is how far the clock of a legacy signer may be off: as far as clocks are
// that are kept by somebody. Farther off, its tokens fail, and the text has both clocks.
const clockSkew = time.Minute

// Errors of tokens; the texts are those of legacy nodes.
var (
	ErrAudience = errors.New("token audience did not match node ID")
	ErrRequest  = errors.New("the signature is of another request")
)

// Legacy is a token for any request to a node, until lifetime has passed.
func Legacy(key *rsa.PrivateKey, node string, now time.Time, lifetime time.Duration) (string, error) {
	return sign(key, jwt.RegisteredClaims{Audience: jwt.ClaimStrings{node}, ExpiresAt: jwt.NewNumericDate(now.Add(lifetime))})
}

// VerifyLegacy checks such a token. One without an end would be good for ever, and is
// not taken.
func VerifyLegacy(key *rsa.PublicKey, node, token string, now time.Time) error {
	var c jwt.RegisteredClaims
	p := jwt.NewParser(jwt.WithValidMethods([]string{algorithm.Alg()}), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(clockSkew),
		jwt.WithTimeFunc(func() time.Time { return now }))
	if _, err := p.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return key, nil }); err != nil {
		if errors.Is(err, jwt.ErrTokenExpired) {
			return fmt.Errorf("%w: it was good until %s by the clock of who has signed it, by the clock here it is %s", err, clock(c.ExpiresAt.Time), clock(now))
		}
		if errors.Is(err, jwt.ErrTokenUsedBeforeIssued) {
			return fmt.Errorf("%w: it was made at %s by the clock of who has signed it, by the clock here it is %s", err, clock(c.IssuedAt.Time), clock(now))
		}
		return err
	}
	if !slices.Contains(c.Audience, node) {
		return ErrAudience
	}
	return nil
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Request is what a signature of ours covers.
type Request struct {
	Command string            `json:"command"`
	Unit    string            `json:"unit,omitempty"`
	Type    string            `json:"type,omitempty"`
	Params  map[string]string `json:"params,omitempty"`
	Payload string            `json:"payload,omitempty"` // SHA-256, hexadecimal

	Submission string `json:"submission,omitempty"`
	Merged     bool   `json:"merged,omitempty"`

	Force       bool   `json:"force,omitempty"`       // release
	Submissions string `json:"submissions,omitempty"` // watch
}

// claims are what is in a token of ours.
type claims struct {
	Audience jwt.ClaimStrings `json:"aud"`
	Nonce    string           `json:"nonce"`
	Request  string           `json:"request"` // digest of the nonce and the request
	jwt.RegisteredClaims
}

// digest covers a request. The nonce in it keeps parameters from being guessed.
func (r Request) digest(nonce string) string {
	b, _ := json.Marshal(struct { // keys of maps are sorted, and this never fails
		Nonce string `json:"nonce"`
		Request
	}{nonce, r})
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Sign signs a request to a node, which has given out the nonce.
func Sign(key *rsa.PrivateKey, node, nonce string, r Request) (string, error) {
	return sign(key, claims{Audience: jwt.ClaimStrings{node}, Nonce: nonce, Request: r.digest(nonce)})
}

// Verify checks that a token is of a request, and takes back its nonce.
func Verify(key *rsa.PublicKey, node, token string, r Request, nonces *Nonces) error {
	var c claims
	p := jwt.NewParser(jwt.WithValidMethods([]string{algorithm.Alg()}), jwt.WithoutClaimsValidation()) // no clocks
	if _, err := p.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return key, nil }); err != nil {
		return err
	}
	switch {
	case !slices.Contains(c.Audience, node):
		return ErrAudience
	case subtle.ConstantTimeCompare([]byte(c.Request), []byte(r.digest(c.Nonce))) != 1:
		return ErrRequest
	}
	return nonces.Take(c.Nonce)
}

func sign(key *rsa.PrivateKey, c jwt.Claims) (string, error) {
	token, err := jwt.NewWithClaims(algorithm, c).SignedString(key)
	if err != nil {
		return "", fmt.Errorf("sign work: %w", err)
	}
	return token, nil
}
