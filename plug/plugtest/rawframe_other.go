//go:build !unix

package plugtest

import (
	"errors"
	"net"
	"os"
)

// CanPass says whether descriptors can be passed on this system.
const CanPass = false

func receive(c net.Conn, b []byte) (int, []*os.File, error) {
	n, err := c.Read(b)
	return n, nil, err
}

// Listens says whether f is a socket that listens.
func Listens(*os.File) bool { return false }

func duplicateFile(*os.File) (*os.File, error) {
	return nil, errors.New("descriptors cannot be duplicated on this system")
}

func send(net.Conn, []byte, []*os.File) (int, error) {
	return 0, errors.New("descriptors cannot be passed on this system")
}
