package wire

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/minio/highwayhash"
)

// CheckNodeID tells whether id can be the ID of a node: UTF-8 of 1 to MaxNodeID
// bytes, and not localhost, which stands for the own node wherever it is used.
func CheckNodeID(id string) error {
	switch {
	case id == "":
		return errors.New("node ID is empty")
	case len(id) > MaxNodeID:
		return fmt.Errorf("node ID %.256q... is longer than %d bytes", id, MaxNodeID)
	case strings.EqualFold(id, "localhost"):
		return fmt.Errorf("node ID %q is reserved", id)
	case !utf8.ValidString(id):
		return fmt.Errorf("node ID %.256q is not UTF-8", id)
	}
	return nil
}

// NodeHash is a node ID's address on the wire: HighwayHash-64 with an all-zero key.
func NodeHash(id string) uint64 {
	var key [highwayhash.Size]byte
	return highwayhash.Sum64([]byte(id), key[:])
}
