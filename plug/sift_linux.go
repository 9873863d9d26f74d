package plug

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

const (
	// siftEvery is the pause between two looks at the backlog of a listener that is
	// pressed: most of what comes meanwhile has spoken by then, and is told apart
	// without waking anybody for each. The backlog has room for much more.
	siftEvery = 5 * time.Millisecond

	// siftMax bounds what is taken out of it at a look.
	siftMax = 512
)

// sieve is a listener that keeps back what is no link, as far as that can be told at
// once: such a connection costs three system calls and no goroutine.
type sieve struct {
	net.Listener
	tcp    *net.TCPListener // the same
	door   *door
	passed []net.Conn // to be accepted
	looked time.Time
}

// sift makes a sieve of a listener, if it is one of TCP.
func (d *door) sift(l net.Listener) net.Listener {
	inner := l
	if k, ok := l.(*keptListener); ok {
		inner = k.Listener
	}
	if tcp, ok := inner.(*net.TCPListener); ok {
		return &sieve{Listener: l, tcp: tcp, door: d}
	}
	return l
}

// Accept implements net.Listener. What it returns may have to wait at the door.
func (s *sieve) Accept() (net.Conn, error) {
	for len(s.passed) == 0 {
		if !s.door.pressed(0) {
			return s.Listener.Accept()
		}
		time.Sleep(siftEvery - time.Since(s.looked))
		n, err := s.look()
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return s.Listener.Accept()
		}
		s.looked = time.Now()
	}
	c := s.passed[0]
	s.passed = s.passed[1:]
	return c, nil
}

// look takes what is in the backlog, and returns how many that were.
func (s *sieve) look() (n int, err error) {
	raw, err := s.tcp.SyscallConn()
	if err != nil {
		return 0, err
	}
	head := heads.Get().(*[headSize]byte)
	defer heads.Put(head)
	var failed error
	noLinks := 0
	err = raw.Control(func(listener uintptr) {
		for n < siftMax {
			fd, _, err := syscall.Accept4(int(listener), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
			switch {
			case errors.Is(err, syscall.EAGAIN):
				return
			case errors.Is(err, syscall.EINTR), errors.Is(err, syscall.ECONNABORTED):
				continue
			case err != nil:
				failed = os.NewSyscallError("accept4", err)
				return
			}
			n++
			if !s.take(fd, head[:]) {
				noLinks++
			}
		}
	})
	if noLinks > 0 {
		s.door.count(countNoHello, uint64(noLinks)) //nolint:gosec // it counts up from 0
		s.door.pressed(noLinks)
	}
	return n, errors.Join(err, failed)
}

// take looks at one connection. It returns false if that is no link.
func (s *sieve) take(fd int, head []byte) bool {
	if v, ended := judge(fd, head, s.door.opening); v == NoLink || ended {
		_ = syscall.Close(fd)
		return false
	}
	f := os.NewFile(uintptr(fd), "")
	c, err := net.FileConn(f)
	_ = f.Close()   // c has a duplicate
	if err == nil { // it has not ended meanwhile
		s.passed = append(s.passed, c)
	}
	return true
}

// Close implements net.Listener.
func (s *sieve) Close() error {
	for _, c := range s.passed {
		_ = c.Close()
	}
	return s.Listener.Close()
}
