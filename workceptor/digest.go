package workceptor

import (
	"crypto/sha256"
	"hash"
	"sync"

	"github.com/project-receptor/receptor/workceptor/internal/store"
)

// digest goes through what a running unit has written to a stream while somebody reads
// it anyway: what is left of it for the end of the unit is little.
type digest struct {
	mu   sync.Mutex
	hash hash.Hash // nil: nobody has read its beginning
	at   int64     // so much has gone through it
}

// add puts what was read from that place on into the digest if it is what comes next. Of
// several readers at a time one does so, and the others do not wait.
func (d *digest) add(at int64, b []byte) {
	if !d.mu.TryLock() {
		return
	}
	defer d.mu.Unlock()
	if at != d.at {
		return
	}
	if d.hash == nil {
		d.hash = sha256.New()
	}
	d.hash.Write(b) // never fails
	d.at += int64(len(b))
}

// measure ends the digest of a stream, with what has not gone through it.
func (d *digest) measure(s *store.Store, id string, stream Stream) (Output, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return s.Measure(id, string(stream), d.hash, d.at)
}
