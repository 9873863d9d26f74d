//go:build unix

package plugtest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// CanPass says whether descriptors can be passed on this system.
const CanPass = true

// receiveRoom is how many descriptors one read has room for.
const receiveRoom = 16

// receive reads once, with the descriptors that come along.
func receive(c net.Conn, b []byte) (int, []*os.File, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		n, err := c.Read(b)
		return n, nil, err
	}
	room := make([]byte, syscall.CmsgSpace(receiveRoom*4))
	n, used, _, _, err := u.ReadMsgUnix(b, room)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.EOF
		}
		return 0, nil, err
	}
	messages, err := syscall.ParseSocketControlMessage(room[:used])
	if err != nil {
		return n, nil, err
	}
	var files []*os.File
	for i := range messages {
		fds, err := syscall.ParseUnixRights(&messages[i])
		if err != nil {
			continue // of another kind
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "descriptor"))
		}
	}
	return n, files, nil
}

// send writes once, with descriptors.
func send(c net.Conn, b []byte, files []*os.File) (n int, err error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("%T cannot pass descriptors", c)
	}
	var sent error
	err = numbers(files, nil, func(fds []int) { n, _, sent = u.WriteMsgUnix(b, syscall.UnixRights(fds...), nil) })
	return n, errors.Join(err, sent)
}

// duplicateFile duplicates a descriptor, which stays as it is.
func duplicateFile(f *os.File) (d *os.File, err error) {
	failed := numbers([]*os.File{f}, nil, func(fds []int) {
		syscall.ForkLock.RLock() // no child gets it between the two calls
		defer syscall.ForkLock.RUnlock()
		var n int
		if n, err = syscall.Dup(fds[0]); err == nil {
			syscall.CloseOnExec(n)
			d = os.NewFile(uintptr(n), f.Name())
		}
	})
	return d, errors.Join(failed, err)
}

// Listens says whether f is a socket that listens.
func Listens(f *os.File) (listens bool) {
	err := numbers([]*os.File{f}, nil, func(fds []int) {
		n, err := syscall.GetsockoptInt(fds[0], syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
		listens = err == nil && n != 0
	})
	return err == nil && listens
}

// numbers calls do with the numbers of files. File.Fd is not for this: it makes
// a socket that others use blocking.
func numbers(files []*os.File, fds []int, do func([]int)) error {
	if len(files) == 0 {
		do(fds)
		return nil
	}
	raw, err := files[0].SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = numbers(files[1:], append(fds, int(fd)), do) })
	return errors.Join(err, inner)
}
