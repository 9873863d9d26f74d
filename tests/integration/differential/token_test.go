package differential

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/legacy"
	"github.com/project-receptor/receptor/workceptor"
)

// now is the time of both nodes when they look at tokens.
var now = time.Unix(1_800_000_000, 0)

// newTokens is the signatures of requests for work. A token is given as its header, its
// claims and what follows the signature, each in a line; in one line, as it is.
func newTokens(t testing.TB) format {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	list := newWork(t, workceptor.Config{VerifyingKey: &key.PublicKey, Now: func() time.Time { return now }}).Command()
	return format{
		read: func(b []byte) reading {
			token := signed(key, b)
			if token == "" {
				return reading{} // none is given
			}
			quoted, err := json.Marshal(token)
			if err != nil {
				panic(err) // strings have a form
			}
			_, err = list.Plain(context.Background(), session{}, nil, map[string]json.RawMessage{"subcommand": json.RawMessage(`"list"`), "signature": quoted})
			return reading{oursErr: err, modelErr: legacy.VerifyToken(&key.PublicKey, nodeID, token, now)}
		},
		deliberate: tokenDifferences,
	}
}

func signed(key *rsa.PrivateKey, b []byte) string {
	parts := bytes.SplitN(b, []byte("\n"), 3)
	if len(parts) < 3 {
		return string(b)
	}
	token := base64.RawURLEncoding.EncodeToString(parts[0]) + "." + base64.RawURLEncoding.EncodeToString(parts[1])
	sum := sha512.Sum512([]byte(token))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA512, sum[:])
	if err != nil {
		panic(err) // the key is large enough
	}
	return token + "." + base64.RawURLEncoding.EncodeToString(signature) + string(parts[2])
}

const header = `{"alg":"RS512","typ":"JWT"}` + "\n"

var tokenDifferences = []difference{
	{
		"no end", "a token without one could be used for ever",
		header + `{"aud":["node"]}` + "\n",
		stricter("exp claim is required"),
	},
	{
		"an end that has just passed", "clocks differ: ours allow for a minute",
		header + `{"aud":["node"],"exp":1799999970}` + "\n",
		func(_ []byte, r reading) bool {
			return r.oursErr == nil && strings.Contains(r.modelErr.Error(), "token is expired")
		},
	},
	{
		"an audience that is text", "the model knows the form that existing nodes write, which read both",
		header + `{"aud":"node","exp":1800000300}` + "\n",
		func(_ []byte, r reading) bool {
			return r.oursErr == nil && strings.Contains(r.modelErr.Error(), "string into Go struct field .Aud")
		},
	},
	{
		"a time before which it is not good", "the model does not look at what existing nodes never write; they refuse it, too",
		header + `{"aud":["node"],"exp":1800000300,"nbf":1800000200,"iat":0}` + "\n",
		stricter("not valid yet"),
	},
	{
		"a time in the future at which it was made", "as before",
		header + `{"aud":["node"],"exp":1800000300,"iat":1800000200}` + "\n",
		stricter("used before issued"),
	},
}

// stricter is for what ours do not take for this reason, and the model does.
func stricter(reason string) func([]byte, reading) bool {
	return func(_ []byte, r reading) bool {
		return r.modelErr == nil && strings.Contains(r.oursErr.Error(), reason)
	}
}

func FuzzToken(f *testing.F) {
	var seeds [][]byte
	for _, s := range []string{
		header + `{"aud":["node"],"exp":1800000300}` + "\n", header + `{"aud":["other"],"exp":1800000300}` + "\n",
		header + `{"aud":["other","node"],"exp":1800000300.5}` + "\n", header + `{"aud":["node"],"exp":1700000000}` + "\n",
		header + `{"aud":[],"exp":1800000300}` + "\n", header + `{"exp":1800000300}` + "\n", header + "{}\n", header + "null\n",
		header + `{"aud":["node"],"exp":1800000300}` + "\nx", header + `{"aud":["node"],"exp":1800000300}` + "\n.", header + `{"aud":["node"],"exp":1800000300}` + "\n\r",
		`{"alg":"RS256"}` + "\n" + `{"aud":["node"],"exp":1800000300}` + "\n", `{"alg":"none"}` + "\n" + `{"aud":["node"],"exp":1800000300}` + "\n",
		`{"Alg":"RS512"}` + "\n" + `{"aud":["node"],"exp":1800000300}` + "\n", header + `{"Aud":["node"],"Exp":1800000300}` + "\n",
		`{"ALG":"RS512","alg":"none"}` + "\n" + `{"aud":["node"],"exp":1800000300}` + "\n", header + `{"aud":["node"],"exp":1800000000}` + "\n",
		"", "a.b", "a.b.c", "..", "e30.e30.e30", "eyJhbGciOiJub25lIn0.e30.",
	} {
		seeds = append(seeds, []byte(s))
	}
	newTokens(f).fuzz(f, seeds...)
}
