package signing

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"sync"
	"time"
)

// nonceLife is how long a nonce may be on its way: over a slow link to the signer and
// back, with the payload not yet sent.
const nonceLife = time.Minute

// nonceLen is what a nonce has in bytes:
//
//	until  8  big-endian nanoseconds since its verifier was made
//	random 16
//	mac    16 of both, by a key of the verifier
const (
	nonceLen    = 8 + nonceRandom + nonceMAC
	nonceRandom = 16
	nonceMAC    = 16
)

// ErrNonce says that a nonce was not given out here, or too long ago, or was used.
var ErrNonce = errors.New("the signature is not for now: its nonce is unknown, too old or used")

// Nonces gives out nonces and takes each back once. Those that are given out take no
// memory, those that were used do until they are too old: only who can sign uses one.
type Nonces struct {
	key  [32]byte
	now  func() time.Duration // monotonic
	mu   sync.Mutex
	used map[string]time.Duration // until when
}

// NewNonces returns a source of nonces. now is a monotonic clock.
func NewNonces(now func() time.Duration) *Nonces {
	n := &Nonces{now: now, used: make(map[string]time.Duration)}
	_, _ = rand.Read(n.key[:]) // never fails
	return n
}

// New gives out a nonce.
func (n *Nonces) New() string {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, nonceLen), uint64(n.now()+nonceLife))
	b = b[:8+nonceRandom]
	_, _ = rand.Read(b[8:]) // never fails
	return base64.RawURLEncoding.EncodeToString(append(b, n.mac(b)...))
}

func (n *Nonces) mac(b []byte) []byte {
	h := hmac.New(sha256.New, n.key[:])
	h.Write(b)
	return h.Sum(nil)[:nonceMAC]
}

// Take takes one back.
func (n *Nonces) Take(nonce string) error {
	b, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(b) != nonceLen || !hmac.Equal(b[8+nonceRandom:], n.mac(b[:8+nonceRandom])) {
		return ErrNonce
	}
	until, now := time.Duration(binary.BigEndian.Uint64(b)), n.now()
	n.mu.Lock()
	defer n.mu.Unlock()
	for old, end := range n.used {
		if end < now {
			delete(n.used, old)
		}
	}
	if _, again := n.used[nonce]; again || until < now {
		return ErrNonce
	}
	n.used[nonce] = until
	return nil
}
