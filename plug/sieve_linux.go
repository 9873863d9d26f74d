package plug

import (
	"container/list"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
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

// sieve is a listener with a door. While it is pressed its connections are bare
// descriptors: one that is no link costs three or four system calls, and nothing else.
type sieve struct {
	net.Listener
	tcp     *net.TCPListener // the same
	opening Opening
	count   func(name string, n uint64)

	mu       sync.Mutex
	closed   bool
	press    press
	looked   time.Time
	poll     int                     // epoll, in which all visitors are; -1: none yet
	visitors map[int32]*visitor      // by descriptor
	mute     *list.List              // of those that have not said enough, the oldest first
	places   map[int32]*list.Element // in mute
	queue    queue                   // the others
	passed   []net.Conn              // to be accepted
	events   []syscall.EpollEvent
	head     [headSize]byte
}

// guard gives a listener a door, if it is one of TCP.
func guard(l net.Listener, opening Opening, count func(name string, n uint64)) net.Listener {
	inner := l
	if k, ok := l.(*keptListener); ok {
		inner = k.Listener
	}
	tcp, ok := inner.(*net.TCPListener)
	if !ok {
		return l
	}
	return &sieve{
		Listener: l, tcp: tcp, opening: opening, count: count,
		poll: -1, visitors: map[int32]*visitor{}, mute: list.New(), places: map[int32]*list.Element{}, events: make([]syscall.EpollEvent, siftMax),
	}
}

// Accept implements net.Listener.
func (s *sieve) Accept() (net.Conn, error) {
	for {
		c, pause, err := s.next()
		if c != nil || err != nil {
			return c, err
		}
		if pause == 0 {
			return s.Listener.Accept()
		}
		time.Sleep(pause)
	}
}

// next returns one that has passed. Else it says how long to wait for the next look;
// 0: the listener is at its ease, and the next to come may pass.
func (s *sieve) next() (net.Conn, time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch pause := siftEvery - time.Since(s.looked); {
	case s.closed:
		return nil, 0, net.ErrClosed
	case len(s.passed) > 0:
	case !s.press.pressed(0) && len(s.visitors) == 0:
		s.press.pressed(1)
		s.press.mayPass()
		return nil, 0, nil
	case pause > 0:
		return nil, pause, nil
	default:
		s.looked = time.Now()
		if err := s.look(); err != nil {
			return nil, 0, err
		}
		if len(s.passed) == 0 {
			return nil, siftEvery, nil
		}
	}
	c := s.passed[0]
	s.passed = s.passed[1:]
	return c, 0, nil
}

// look takes in who waits in the backlog, listens to those who were here, and lets
// pass whose turn it is. Callers hold mu.
func (s *sieve) look() error {
	err := errors.Join(s.takeIn(), s.listen())
	for e := s.mute.Front(); e != nil && time.Since(e.Value.(*visitor).since) > muteTime; e = s.mute.Front() {
		s.turnAway(e.Value.(*visitor), countMute)
	}
	for s.queue.size > 0 && s.press.mayPass() {
		s.letPass(s.queue.next())
	}
	return err
}

// takeIn empties the backlog.
func (s *sieve) takeIn() error {
	raw, err := s.tcp.SyscallConn()
	if err != nil {
		return err
	}
	came := 0
	var failed error
	err = raw.Control(func(listener uintptr) {
		for came < siftMax {
			fd, from, err := syscall.Accept4(int(listener), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
			switch {
			case errors.Is(err, syscall.EAGAIN):
				return
			case errors.Is(err, syscall.EINTR), errors.Is(err, syscall.ECONNABORTED):
				continue
			case err != nil:
				failed = os.NewSyscallError("accept4", err)
				return
			}
			came++
			if failed = s.welcome(fd, from); failed != nil {
				return
			}
		}
	})
	s.press.pressed(came)
	return errors.Join(err, failed)
}

// welcome looks at a connection that has come.
func (s *sieve) welcome(fd int, from syscall.Sockaddr) error {
	verdict, ended := s.judge(fd)
	if verdict == NoLink || ended {
		s.count(countNoHello, 1)
		_ = syscall.Close(fd) // nothing was written to it
		return nil
	}
	if s.poll < 0 {
		var err error
		if s.poll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
			_ = syscall.Close(fd)
			return os.NewSyscallError("epoll_create1", err)
		}
	}
	const edge = 1 << 31                                                                         // EPOLLET, which has the wrong type
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | edge, Fd: int32(fd)} //nolint:gosec // a descriptor
	if err := syscall.EpollCtl(s.poll, syscall.EPOLL_CTL_ADD, fd, &ev); err != nil {
		_ = syscall.Close(fd)
		return os.NewSyscallError("epoll_ctl", err)
	}
	v := &visitor{fd: fd, source: sourceOf(addressOf(from)), since: time.Now()}
	s.visitors[ev.Fd] = v
	if verdict == MayBeLink {
		s.enqueue(v)
		return nil
	}
	if s.mute.Len() == maxMute {
		s.turnAway(s.mute.Front().Value.(*visitor), countMute)
	}
	s.places[ev.Fd] = s.mute.PushBack(v)
	return nil
}

// listen looks at those who have said more, or have gone.
func (s *sieve) listen() error {
	for s.poll >= 0 && len(s.visitors) > 0 {
		n, err := syscall.EpollWait(s.poll, s.events, 0)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("epoll_wait", err)
		}
		for _, ev := range s.events[:n] {
			v := s.visitors[ev.Fd]
			if v == nil {
				continue // it had to give way to one before it
			}
			gone := ev.Events&(syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0
			switch verdict, ended := s.judge(v.fd); {
			case verdict == NoLink:
				s.turnAway(v, countNoHello)
			case gone || ended:
				s.turnAway(v, countMute)
			case verdict == MayBeLink && s.places[ev.Fd] != nil:
				s.unmute(v)
				s.enqueue(v)
			}
		}
		if n < len(s.events) {
			return nil
		}
	}
	return nil
}

// judge shows opening what has come of a connection. ended: there will be no more.
func (s *sieve) judge(fd int) (v Verdict, ended bool) {
	n, _, err := syscall.Recvfrom(fd, s.head[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	for errors.Is(err, syscall.EINTR) {
		n, _, err = syscall.Recvfrom(fd, s.head[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	}
	if n <= 0 {
		return TooShort, !errors.Is(err, syscall.EAGAIN)
	}
	if v = s.opening(s.head[:n]); v == TooShort && n == headSize {
		v = MayBeLink
	}
	return v, false
}

func (s *sieve) enqueue(v *visitor) {
	if out := s.queue.add(v); out != nil {
		s.turnAway(out, countCrowdedOut)
	}
}

// turnAway closes a connection, and counts it.
func (s *sieve) turnAway(v *visitor, counter string) {
	s.count(counter, 1)
	s.forget(v)
	_ = syscall.Close(v.fd) // nothing was written to it
}

// letPass makes a connection of what was a descriptor, to be accepted.
func (s *sieve) letPass(v *visitor) {
	s.forget(v)
	_ = syscall.EpollCtl(s.poll, syscall.EPOLL_CTL_DEL, v.fd, nil) // it is there; the duplicate would be, too
	f := os.NewFile(uintptr(v.fd), "")                             //nolint:gosec // a descriptor
	c, err := net.FileConn(f)
	_ = f.Close()   // c has a duplicate
	if err == nil { // it has not ended meanwhile
		s.passed = append(s.passed, c)
	}
}

// forget takes one out of everything but the epoll.
func (s *sieve) forget(v *visitor) {
	s.unmute(v)
	s.queue.remove(v)
	delete(s.visitors, int32(v.fd)) //nolint:gosec // a descriptor
}

func (s *sieve) unmute(v *visitor) {
	fd := int32(v.fd) //nolint:gosec // a descriptor
	if e := s.places[fd]; e != nil {
		s.mute.Remove(e)
		delete(s.places, fd)
	}
}

// Close implements net.Listener.
func (s *sieve) Close() error {
	err := s.Listener.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, v := range s.visitors {
		_ = syscall.Close(v.fd)
	}
	for _, c := range s.passed {
		_ = c.Close()
	}
	if s.poll >= 0 {
		_ = syscall.Close(s.poll)
	}
	s.visitors, s.passed, s.poll = nil, nil, -1
	return err
}

// addressOf is that of a TCP socket's other end.
func addressOf(a syscall.Sockaddr) netip.Addr {
	switch a := a.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrFrom4(a.Addr)
	case *syscall.SockaddrInet6:
		return netip.AddrFrom16(a.Addr)
	}
	return netip.Addr{}
}
