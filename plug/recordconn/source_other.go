//go:build !unix

package recordconn

const canReadRaw = false

// tryRead is never called here.
func (s *source) tryRead(uintptr) bool { return true }
