package socket

import (
	"errors"
	"net"
	"os"
	"sync"
)

// listener removes its socket and its lock when it is closed.
type listener struct {
	*net.UnixListener
	path string
	lock *lock
	once sync.Once
	err  error
}

// Close is idempotent.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.err = l.UnixListener.Close()
		if err := os.Remove(l.path); !errors.Is(err, os.ErrNotExist) {
			l.err = errors.Join(l.err, err)
		}
		l.err = errors.Join(l.err, l.lock.Close())
	})
	return l.err
}
