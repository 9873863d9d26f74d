package legacy

import (
	"crypto/rand"
	"strings"

	"github.com/minio/highwayhash"
)

// Hash is a node's address on the wire: HighwayHash-64 with a key of zeros.
func Hash(id string) uint64 {
	var key [highwayhash.Size]byte
	return highwayhash.Sum64([]byte(id), key[:])
}

// names finds the name behind a hash. The first entry wins, and none is removed.
type names map[uint64]string

// learn enters a name and returns its hash.
func (n names) learn(name string) uint64 {
	h := Hash(name)
	if _, ok := n[h]; !ok {
		n[h] = name
	}
	return h
}

// randomName makes an UpdateID or the name of a service that nobody was given.
func randomName() string {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	b := make([]byte, 8)
	for i := 0; i < len(b); {
		var r [1]byte
		rand.Read(r[:]) // never fails
		if int(r[0]) < len(letters)*4 {
			b[i] = letters[int(r[0])%len(letters)]
			i++
		}
	}
	return string(b)
}

// isLocalhost tells whether a name stands for the own node.
func isLocalhost(id string) bool { return strings.EqualFold(id, "localhost") }
