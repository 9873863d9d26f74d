//go:build unix && !aix

package adopted

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Kept is a socket that is held for its owner, so that what is bound to it stays
// bound. Nothing is ever read, written or accepted here, and the poller does not
// know of it: connections that arrive do not wake us.
type Kept struct{ fd int }

// Keep holds a duplicate of f, which has to be a listening stream socket or a
// datagram socket that is bound. It closes f in any case.
func Keep(f *os.File) (_ *Kept, err error) {
	defer func() { err = errors.Join(err, f.Close()) }()
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("keep a descriptor: %w", err)
	}
	var k *Kept
	var wrong error
	err = raw.Control(func(fd uintptr) {
		if wrong = checkKept(int(fd)); wrong == nil {
			k, wrong = duplicate(int(fd))
		}
	})
	if err := errors.Join(err, wrong); err != nil {
		return nil, fmt.Errorf("keep a descriptor: %w", err)
	}
	return k, nil
}

func duplicate(fd int) (*Kept, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	d, err := syscall.Dup(fd)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	syscall.CloseOnExec(d)
	return &Kept{fd: d}, nil
}

func checkKept(fd int) error {
	kind, err := socketOption(fd, syscall.SO_TYPE)
	if err != nil {
		return err
	}
	local, err := syscall.Getsockname(fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	if _, ok := familyOf(local); !ok {
		return errors.New("it is a socket of another family")
	}
	switch kind {
	case syscall.SOCK_STREAM:
		listening, err := socketOption(fd, syscall.SO_ACCEPTCONN)
		if err == nil && listening == 0 {
			err = errors.New("it does not listen")
		}
		return err
	case syscall.SOCK_DGRAM:
		if !isBound(local) {
			return errors.New("it is not bound")
		}
		return nil
	default:
		return errors.New("it is neither a stream nor a datagram socket")
	}
}

// isBound tells whether a datagram socket with that name receives anything.
func isBound(a syscall.Sockaddr) bool {
	switch a := a.(type) {
	case *syscall.SockaddrInet4:
		return a.Port != 0
	case *syscall.SockaddrInet6:
		return a.Port != 0
	case *syscall.SockaddrUnix:
		return a.Name != ""
	default:
		return false
	}
}

// File returns another duplicate, which is the caller's.
func (k *Kept) File() (*os.File, error) {
	d, err := duplicate(k.fd)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(d.fd), "kept socket"), nil
}

// Close gives up the socket. It is called once.
func (k *Kept) Close() error { return os.NewSyscallError("close", syscall.Close(k.fd)) }
