package netceptor

import (
	"crypto/rand"
	"encoding/binary"
	"time"
)

// NextEpoch is the epoch for a node that starts now and whose greatest epoch so
// far was last (0: unknown): Unix seconds shifted left 24 bits plus random bits,
// or last+1 where that is greater.
func NextEpoch(now time.Time, last uint64) uint64 {
	var random [8]byte
	rand.Read(random[:])
	low := binary.BigEndian.Uint64(random[:]) & (1<<24 - 1)
	return max(uint64(now.Unix())<<24|low, last+1)
}
