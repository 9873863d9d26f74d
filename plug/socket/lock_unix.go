//go:build unix

package socket

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lock is a file whose lock ends with the process that holds it.
type lock struct{ f *os.File }

// acquire takes the lock or fails with ErrLocked; it does not wait.
func acquire(path string) (*lock, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open lock: %w", err)
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrLocked
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		// Whoever held it before us may have removed the file that we opened: then
		// the lock of the file that is there now is the one that counts.
		ours, err := f.Stat()
		if err == nil {
			if there, e := os.Lstat(path); e == nil && os.SameFile(ours, there) {
				return &lock{f}, nil
			}
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("look at lock: %w", err)
		}
	}
}

// Close removes the file, then lets go.
func (l *lock) Close() error { return errors.Join(os.Remove(l.f.Name()), l.f.Close()) }
