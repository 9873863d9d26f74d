package signing

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

var (
	key, _   = rsa.GenerateKey(rand.Reader, 2048)
	other, _ = rsa.GenerateKey(rand.Reader, 2048)
	t0       = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

func TestLegacy(t *testing.T) {
	t.Parallel()
	good, err := Legacy(key, "beta", t0, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	token := func(m jwt.SigningMethod, k any, c jwt.MapClaims) string {
		s, err := jwt.NewWithClaims(m, c).SignedString(k)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	exp := t0.Add(time.Minute).Unix()
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, token, node string
		at                time.Duration
		want              string // empty: it is good
	}{
		{"a good one", good, "beta", 59 * time.Second, ""},
		{"a clock that is a minute ahead", good, "beta", 2*time.Minute - time.Second, ""},
		{"too late", good, "beta", 2*time.Minute + time.Second, "token is expired: it was good until 2026-11-22T12:01:00Z by the clock of who has signed it, by the clock here it is 2026-11-22T12:02:01Z"},
		{"from the future", token(jwt.SigningMethodRS512, key, jwt.MapClaims{"aud": "beta", "exp": exp, "iat": t0.Unix()}), "beta", -time.Hour, "it was made at 2026-11-22T12:00:00Z by the clock of who has signed it, by the clock here it is 2026-11-22T11:00:00Z"},
		{"for another node", good, "gamma", 0, "token audience did not match node ID"},
		{"audience as text", token(jwt.SigningMethodRS512, key, jwt.MapClaims{"aud": "beta", "exp": exp}), "beta", 0, ""},
		{"another key", token(jwt.SigningMethodRS512, other, jwt.MapClaims{"aud": "beta", "exp": exp}), "beta", 0, "verification error"},
		{"another algorithm", token(jwt.SigningMethodRS256, key, jwt.MapClaims{"aud": "beta", "exp": exp}), "beta", 0, "signing method RS256 is invalid"},
		{"PSS", token(jwt.SigningMethodPS512, key, jwt.MapClaims{"aud": "beta", "exp": exp}), "beta", 0, "signing method PS512 is invalid"},
		{"the public key as a secret", token(jwt.SigningMethodHS512, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), jwt.MapClaims{"aud": "beta", "exp": exp}), "beta", 0, "signing method HS512 is invalid"},
		{"none", token(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, jwt.MapClaims{"aud": "beta", "exp": exp}), "beta", 0, "signing method none is invalid"},
		{"without an end", token(jwt.SigningMethodRS512, key, jwt.MapClaims{"aud": "beta"}), "beta", 0, "exp claim is required"},
		{"nothing", "", "beta", 0, "token contains an invalid number of segments"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := VerifyLegacy(&key.PublicKey, test.node, test.token, t0.Add(test.at))
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// A signature is for one request, once.
func TestRequest(t *testing.T) {
	t.Parallel()
	now := time.Duration(0)
	nonces := NewNonces(func() time.Duration { return now })
	r := Request{Command: "submit", Type: "echo", Params: map[string]string{"a": "b"}, Payload: "00ff", Submission: "s"}
	sign := func(nonce string) string {
		token, err := Sign(key, "beta", nonce, r)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	verify := func(token string, r Request) error { return Verify(&key.PublicKey, "beta", token, r, nonces) }

	good := sign(nonces.New())
	for name, change := range map[string]func(*Request){
		"command": func(r *Request) { r.Command = "cancel" }, "unit": func(r *Request) { r.Unit = "x" },
		"type": func(r *Request) { r.Type = "sh" }, "payload": func(r *Request) { r.Payload = "00fe" },
		"parameter":     func(r *Request) { r.Params = map[string]string{"a": "c"} },
		"one parameter": func(r *Request) { r.Params = map[string]string{"a": "b", "c": ""} },
		"submission":    func(r *Request) { r.Submission = "t" }, "merged": func(r *Request) { r.Merged = true },
		"force": func(r *Request) { r.Force = true }, "watch": func(r *Request) { r.Submissions = "s" },
	} {
		altered := r
		change(&altered)
		if err := verify(good, altered); !errors.Is(err, ErrRequest) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	if err := Verify(&key.PublicKey, "gamma", good, r, nonces); !errors.Is(err, ErrAudience) {
		t.Errorf("another node: %v", err)
	}
	if err := Verify(&other.PublicKey, "beta", good, r, nonces); err == nil {
		t.Error("another key")
	}
	if err := verify(good, r); err != nil {
		t.Errorf("a good one: %v", err)
	}
	if err := verify(good, r); !errors.Is(err, ErrNonce) {
		t.Errorf("again: %v", err)
	}
	late := sign(nonces.New())
	now += nonceLife + 1
	if err := verify(late, r); !errors.Is(err, ErrNonce) {
		t.Errorf("too late: %v", err)
	}
	foreign := NewNonces(func() time.Duration { return now }).New()
	for _, nonce := range []string{"", "x", foreign} {
		if err := verify(sign(nonce), r); !errors.Is(err, ErrNonce) {
			t.Errorf("nonce %q of somebody else: %v", nonce, err)
		}
	}
	if err := verify(sign(nonces.New()), r); err != nil || len(nonces.used) != 1 {
		t.Errorf("%v, %d nonces are remembered", err, len(nonces.used))
	}
	// Neither passes for the other.
	legacy, err := Legacy(key, "beta", t0, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(legacy, r); err == nil {
		t.Error("a legacy token is taken for one of ours")
	}
	if err := VerifyLegacy(&key.PublicKey, "beta", sign(nonces.New()), t0); err == nil {
		t.Error("one of ours is taken for a legacy token")
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pkix, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	block := func(typ string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}) }
	pkcs1 := block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))
	for name, b := range map[string][]byte{"PKCS#1": pkcs1, "PKCS#8": block("PRIVATE KEY", pkcs8)} {
		if k, err := ParsePrivate(b); err != nil || !k.Equal(key) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if k, err := ParsePublic(block("PUBLIC KEY", pkix)); err != nil || !k.Equal(&key.PublicKey) {
		t.Errorf("public: %v", err)
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "two": append(pkcs1, pkcs1...), "a public key": block("PUBLIC KEY", pkix), "noise": block("PRIVATE KEY", []byte("x")),
		"a short key": block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small)),
	} {
		if _, err := ParsePrivate(b); err == nil {
			t.Errorf("%s is taken for a private key", name)
		}
	}
	if _, err := ParsePublic(pkcs1); err == nil {
		t.Error("a private key is taken for a public one")
	}
}
