//go:build unix && !aix

package adopted

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Conn is an adopted socket. It satisfies net.Conn; reading and writing are
// independent, and each safe for concurrent use.
type Conn struct {
	file *os.File // known to the poller; its Read and Write are not used: they rely on O_NONBLOCK
	raw  syscall.RawConn

	in  receiver
	out sender

	closed   atomic.Bool
	ended    atomic.Bool // the other side's end was read
	finished atomic.Bool // ours was sent
	armed    atomic.Bool // anything but a clean end is a reset
}

// New adopts the socket f, if it is one of the families that are allowed. It
// owns f from here on, and closes it with an error.
func New(f *os.File, allow ...Family) (*Conn, error) {
	ready, err := check(f, allow)
	if err != nil {
		return nil, fmt.Errorf("adopt a descriptor: %w", errors.Join(err, f.Close()))
	}
	if !ready {
		if f, err = setUp(f); err != nil {
			return nil, fmt.Errorf("adopt a descriptor: %w", err)
		}
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("adopt a descriptor: %w", errors.Join(err, f.Close()))
	}
	c := &Conn{file: f, raw: raw}
	c.in.try, c.out.try = c.in.receive, c.out.send
	return c, nil
}

// check tells whether f is a socket that we can carry bytes over, and whether it
// is set up as the sockets of Go are, which those of most plugs are.
func check(f *os.File, allow []Family) (ready bool, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return false, err
	}
	err = control(raw, func(fd int) (err error) {
		ready, err = checkSocket(fd, allow)
		return err
	})
	// The poller does not know a file that came in blocking mode.
	return ready && f.SetDeadline(time.Time{}) == nil, err
}

// setUp returns f as the standard library sets up a socket: without blocking, and
// TCP with keepalive and without delay. It closes f, of which this is a duplicate.
func setUp(f *os.File) (_ *os.File, err error) {
	defer func() { err = errors.Join(err, f.Close()) }()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	sock, ok := c.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, fmt.Errorf("it became a %T", c)
	}
	return sock.File()
}

// control calls do with the descriptor of raw.
func control(raw syscall.RawConn, do func(fd int) error) error {
	var failed error
	err := raw.Control(func(fd uintptr) { failed = do(int(fd)) })
	return errors.Join(err, failed)
}

func checkSocket(fd int, allow []Family) (ready bool, err error) {
	kind, err := socketOption(fd, syscall.SO_TYPE)
	if err != nil {
		return false, err
	}
	if kind != syscall.SOCK_STREAM {
		return false, errors.New("it is no stream socket")
	}
	listening, err := socketOption(fd, syscall.SO_ACCEPTCONN)
	if err != nil {
		return false, err
	}
	if listening != 0 {
		return false, errors.New("it is a listening socket")
	}
	local, err := syscall.Getsockname(fd)
	if err != nil {
		return false, os.NewSyscallError("getsockname", err)
	}
	family, ok := familyOf(local)
	if !ok || !slices.Contains(allow, family) {
		return false, fmt.Errorf("it is a socket of another family than %v", allow)
	}
	_, err = syscall.Getpeername(fd)
	if errors.Is(err, syscall.ENOTCONN) {
		return false, ErrNotConnected
	}
	if err != nil || family != Internet {
		return true, os.NewSyscallError("getpeername", err)
	}
	keepAlive, err := socketOption(fd, syscall.SO_KEEPALIVE)
	return keepAlive != 0, err
}

// socketOption reads an option of what may be no socket.
func socketOption(fd, option int) (int, error) {
	n, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, option)
	if errors.Is(err, syscall.ENOTSOCK) {
		return 0, errors.New("it is no socket")
	}
	return n, os.NewSyscallError("getsockopt", err)
}

func familyOf(a syscall.Sockaddr) (Family, bool) {
	switch a.(type) {
	case *syscall.SockaddrInet4, *syscall.SockaddrInet6:
		return Internet, true
	case *syscall.SockaddrUnix:
		return Unix, true
	default:
		return 0, false
	}
}

// Read implements net.Conn. io.EOF is a clean end.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	c.in.p = p
	n, err := c.receive()
	c.in.p = nil
	return n, err
}

// WriteTo implements io.WriterTo: it writes to w what arrives, until the other
// side's end.
func (c *Conn) WriteTo(w io.Writer) (total int64, err error) {
	for {
		n, err := c.Pass(w)
		total += int64(n)
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// Pass waits until there is something to read, and writes to w at once what of
// it fits in a buffer. It returns how much that was; io.EOF is a clean end.
func (c *Conn) Pass(w io.Writer) (int, error) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	n, err := c.receive()
	buf := c.in.pooled
	c.in.pooled = nil
	if buf == nil {
		return 0, err
	}
	defer buffers.Put(buf)
	return w.Write(buf[:n])
}

// receive waits until there is something to read, and reads it: into in.p, or
// where that is nil into in.pooled. in.mu is held.
func (c *Conn) receive() (int, error) {
	c.in.n, c.in.err = 0, nil
	if err := c.raw.Read(c.in.try); err != nil {
		return 0, c.unlessClosed(err)
	}
	if c.in.n == 0 && c.in.err == nil {
		c.ended.Store(true)
		return 0, io.EOF
	}
	return c.in.n, c.in.err
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.p, c.out.n, c.out.err = p, 0, nil
	err := c.raw.Write(c.out.try)
	c.out.p = nil
	if err != nil {
		return c.out.n, c.unlessClosed(err)
	}
	return c.out.n, c.out.err
}

// CloseWrite ends the writing direction: what was written arrives, and then an
// end of file.
func (c *Conn) CloseWrite() error {
	err := control(c.raw, func(fd int) error { return os.NewSyscallError("shutdown", syscall.Shutdown(fd, syscall.SHUT_WR)) })
	if err != nil {
		return c.unlessClosed(err)
	}
	c.finished.Store(true)
	return nil
}

// ArmReset makes a reset of every end of the socket but a clean one: a Close
// before both directions have ended, the death of this process, a lost machine.
// An application cannot take a part for the whole then. Unix sockets know no
// reset.
func (c *Conn) ArmReset() error {
	c.armed.Store(true)
	return c.linger(0)
}

// DisarmReset makes Close an ordinary end again.
func (c *Conn) DisarmReset() error {
	c.armed.Store(false)
	return c.linger(-1)
}

// linger sets SO_LINGER: 0 makes a reset of the next close, -1 an ordinary end.
func (c *Conn) linger(seconds int32) error {
	l := syscall.Linger{Linger: max(0, seconds)}
	if seconds >= 0 {
		l.Onoff = 1
	}
	return control(c.raw, func(fd int) error {
		return os.NewSyscallError("setsockopt", syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &l))
	})
}

// Close closes the socket. That is a reset if it is armed, unless both
// directions have ended in order: by CloseWrite here, and io.EOF from reading.
// It is idempotent, does not block, and unblocks Read and Write.
func (c *Conn) Close() error {
	if c.armed.Load() && (!c.ended.Load() || !c.finished.Load()) {
		return c.Reset()
	}
	return c.shut(-1)
}

// Reset aborts both directions and closes the socket, as Close does. The other
// side sees it once the last duplicate is closed: a giver that keeps its own
// delays that, and nothing else.
func (c *Conn) Reset() error { return c.shut(0) }

func (c *Conn) shut(seconds int32) error {
	if c.closed.Swap(true) {
		return nil
	}
	_ = c.linger(seconds) // fails on what has never been a socket
	return c.file.Close()
}

// unlessClosed is the error of the poller, which names a closed socket otherwise.
func (c *Conn) unlessClosed(err error) error {
	if c.closed.Load() {
		return net.ErrClosed
	}
	return err
}

// Wait blocks until the connection has been aborted, and says by what:
// net.ErrClosed if it was closed here. After the other side's end it is how to
// learn of an abort without writing. A Unix socket does not tell of one.
func (c *Conn) Wait() error {
	var aborted error
	err := c.raw.Read(func(fd uintptr) bool {
		code, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
		switch {
		case err != nil:
			aborted = os.NewSyscallError("getsockopt", err)
		case code != 0:
			aborted = os.NewSyscallError("read", syscall.Errno(code))
		}
		return aborted != nil
	})
	if err != nil {
		return c.unlessClosed(err)
	}
	return aborted
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.addr(syscall.Getsockname) }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.addr(syscall.Getpeername) }

// addr asks for an address; nil: it has none any more.
func (c *Conn) addr(get func(fd int) (syscall.Sockaddr, error)) net.Addr {
	var a syscall.Sockaddr
	if err := control(c.raw, func(fd int) (err error) { a, err = get(fd); return err }); err != nil {
		return nil
	}
	switch a := a.(type) {
	case *syscall.SockaddrInet4:
		return &net.TCPAddr{IP: a.Addr[:], Port: a.Port}
	case *syscall.SockaddrInet6:
		return &net.TCPAddr{IP: a.Addr[:], Port: a.Port}
	case *syscall.SockaddrUnix:
		return &net.UnixAddr{Name: a.Name, Net: "unix"}
	default:
		return nil
	}
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error { return c.file.SetDeadline(t) }

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.file.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.file.SetWriteDeadline(t) }

// receiver is one attempt at reading. It is called by the runtime's poller, so
// what goes in and comes out are fields.
type receiver struct {
	mu  sync.Mutex // held from the attempt to the use of what it got
	try func(fd uintptr) bool

	p      []byte  // where to read to; nil: to pooled
	pooled *buffer // in which there are n bytes
	n      int
	err    error
}

// receive reads what is there; false: nothing, call again when there is.
func (r *receiver) receive(fd uintptr) bool {
	p := r.p
	var buf *buffer
	if p == nil {
		buf = buffers.Get().(*buffer)
		p = buf[:]
	}
	n, err := recv(int(fd), p)
	if buf != nil && n > 0 {
		r.pooled, buf = buf, nil
	}
	if buf != nil {
		buffers.Put(buf)
	}
	if errors.Is(err, syscall.EAGAIN) {
		return false
	}
	r.n, r.err = max(0, n), os.NewSyscallError("recv", err)
	return true
}

// sender is one Write in progress.
type sender struct {
	mu  sync.Mutex
	try func(fd uintptr) bool

	p   []byte
	n   int // written of p
	err error
}

// send writes what fits; false: call again when there is room.
func (s *sender) send(fd uintptr) bool {
	for s.n < len(s.p) {
		n, err := send(int(fd), s.p[s.n:])
		s.n += max(0, n)
		if errors.Is(err, syscall.EAGAIN) {
			return false
		}
		if err != nil {
			s.err = os.NewSyscallError("send", err)
			return true
		}
	}
	return true
}

func recv(fd int, p []byte) (int, error) {
	for {
		n, _, err := syscall.Recvfrom(fd, p, syscall.MSG_DONTWAIT)
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}

func send(fd int, p []byte) (int, error) {
	for {
		n, err := syscall.SendmsgN(fd, p, nil, nil, sendFlags)
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}
