//go:build unix

package session

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// passing returns conn as one that can carry descriptors, or nil.
func passing(conn net.Conn) *net.UnixConn {
	u, _ := conn.(*net.UnixConn)
	return u
}

// rightsRoom is the room for the descriptors of one recvmsg.
func rightsRoom() []byte { return make([]byte, syscall.CmsgSpace(roomForFDs*4)) }

// receive reads once from u, with the descriptors that come with the bytes, all
// of them close-on-exec. If some were lost, cut is true and there are none.
func receive(u *net.UnixConn, b, room []byte) (n int, files []*os.File, cut bool, err error) {
	n, used, flags, _, err := u.ReadMsgUnix(b, room)
	switch {
	case errors.Is(err, io.EOF):
		return 0, nil, false, io.EOF // readers compare it
	case err != nil:
		return 0, nil, false, err // n may be -1
	}
	if used > 0 {
		files, cut = parseRights(room[:used])
	}
	if cut = cut || flags&syscall.MSG_CTRUNC != 0; cut {
		closeFiles(files)
		files = nil
	}
	return n, files, cut, nil
}

// parseRights takes the descriptors out of control messages.
func parseRights(b []byte) (files []*os.File, cut bool) {
	messages, err := syscall.ParseSocketControlMessage(b)
	if err != nil {
		return nil, true
	}
	for i := range messages {
		fds, err := syscall.ParseUnixRights(&messages[i])
		if err != nil {
			continue // of another kind
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received descriptor"))
		}
	}
	return files, false
}

// send writes once to u, with descriptors on the first byte. errNotSent means
// that one of them is closed.
func send(u *net.UnixConn, b []byte, what []Descriptor) (n int, err error) {
	if withFDs(what, nil, func(fds []int) {
		n, _, err = u.WriteMsgUnix(b, syscall.UnixRights(fds...), nil)
	}) != nil {
		return 0, errNotSent
	}
	return max(n, 0), err
}

// withFDs calls do with the numbers of what is open, which stay what they are as
// long as it runs. File.Fd is not for this: it makes a socket that others use
// blocking.
func withFDs(what []Descriptor, fds []int, do func(fds []int)) error {
	if len(what) == 0 {
		do(fds)
		return nil
	}
	raw, err := what[0].SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = withFDs(what[1:], append(fds, int(fd)), do) })
	return errors.Join(err, inner)
}

// tooManyRefs reports whether a send failed because too many descriptors of
// this user are on their way already, which passes.
func tooManyRefs(err error) bool { return errors.Is(err, syscall.ETOOMANYREFS) }

// newProbe makes what HELLO is sent with: a fresh TCP socket.
func newProbe() (*os.File, error) {
	syscall.ForkLock.RLock() // no child gets it between the two calls
	defer syscall.ForkLock.RUnlock()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		fd, err = syscall.Socket(syscall.AF_INET6, syscall.SOCK_STREAM, 0)
	}
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "probe"), nil
}

// isProbe reports whether f is what HELLO is sent with.
func isProbe(f *os.File) bool {
	is := false
	err := withFDs([]Descriptor{f}, nil, func(fds []int) {
		kind, err := syscall.GetsockoptInt(fds[0], syscall.SOL_SOCKET, syscall.SO_TYPE)
		is = err == nil && kind == syscall.SOCK_STREAM
	})
	return err == nil && is
}
