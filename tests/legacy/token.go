package legacy

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// tokenLife is how long a token is good for if nothing else is said.
const tokenLife = 5 * time.Minute

// Token signs for a node, for whatever is asked of it until the time is over.
func Token(key *rsa.PrivateKey, node string, until time.Time) (string, error) {
	claims, err := json.Marshal(struct {
		Audience []string `json:"aud"`
		Expiry   int64    `json:"exp"`
	}{[]string{node}, until.Unix()})
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS512","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	sum := sha512.Sum512([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA512, sum[:])
	if err != nil {
		return "", err
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// verifyToken checks a token as existing nodes do, of the one algorithm that they sign
// with.
func verifyToken(key *rsa.PublicKey, node, token string, now time.Time) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return errors.New("token contains an invalid number of segments")
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		if decoded[i], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			return err
		}
	}
	var header map[string]any // whose keys, other than those of claims, are just as they are
	var claims struct {
		Aud []string
		Exp float64
	}
	if err := errors.Join(json.Unmarshal(decoded[0], &header), json.Unmarshal(decoded[1], &claims)); err != nil {
		return err
	}
	if header["alg"] != "RS512" {
		return fmt.Errorf("the algorithm is %q", header["alg"])
	}
	sum := sha512.Sum512([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA512, sum[:], decoded[2]); err != nil {
		return err
	}
	if late := float64(now.UnixMicro())/1e6 - claims.Exp; claims.Exp != 0 && late > 0 {
		return fmt.Errorf("token is expired by %.1fs", late)
	}
	if !slices.Contains(claims.Aud, node) {
		return errors.New("token audience did not match node ID")
	}
	return nil
}

// sign puts a token into a command to a node, if the unit wants that.
func (w *Work) sign(r *RemoteUnit, keys map[string]any) error {
	if !r.SignWork {
		return nil
	}
	if w.SigningKey == nil {
		return refusal{"cannot sign work: signing key is empty"}
	}
	token, err := Token(w.SigningKey, r.RemoteNode, time.Now().Add(tokenLife))
	keys["signature"] = token
	return err
}

// authorize tells whether a client may have what wants a token, or does not.
func (w *Work) authorize(s *ControlSession, wanted bool, token string) error {
	switch {
	case !wanted && token != "":
		return errors.New("work type did not expect a signature")
	case !wanted || s.Local:
		return nil
	case token == "":
		return errors.New("could not verify signature: signature is empty")
	case w.VerifyingKey == nil:
		return errors.New("could not verify signature: verifying key not specified")
	}
	if err := verifyToken(w.VerifyingKey, s.Node.config.ID, token, time.Now()); err != nil {
		return fmt.Errorf("could not verify signature: %w", err)
	}
	return nil
}

// authorizeUnit is authorize for a command about a unit.
func (w *Work) authorizeUnit(s *ControlSession, q workRequest) error {
	u, err := w.get(q.unit)
	if err != nil {
		return err
	}
	w.mu.Lock()
	wanted := u.remote != nil && u.remote.SignWork || u.remote == nil && w.Verify[u.status.WorkType]
	w.mu.Unlock()
	return w.authorize(s, wanted, q.signature)
}
