//go:build !unix

package socket

import (
	"errors"
	"fmt"
	"os"
)

// lock is a file that cannot be removed while its holder has it open.
type lock struct{ f *os.File }

// acquire takes the lock or fails with ErrLocked; it does not wait.
func acquire(path string) (*lock, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, ErrLocked
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, ErrLocked
	}
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	return &lock{f}, nil
}

// Close lets go, then removes the file.
func (l *lock) Close() error { return errors.Join(l.f.Close(), os.Remove(l.f.Name())) }
