//go:build !unix

package session

import (
	"errors"
	"net"
	"os"
)

// passing returns nil: this system passes no descriptors.
func passing(net.Conn) *net.UnixConn { return nil }

func rightsRoom() []byte { return nil }

func receive(*net.UnixConn, []byte, []byte) (n int, files []*os.File, cut bool, err error) {
	return 0, nil, false, errors.ErrUnsupported
}

func send(*net.UnixConn, []byte, []Descriptor) (int, error) { return 0, errors.ErrUnsupported }

func tooManyRefs(error) bool { return false }

func newProbe() (*os.File, error) { return nil, errors.ErrUnsupported }

func isProbe(*os.File) bool { return false }
