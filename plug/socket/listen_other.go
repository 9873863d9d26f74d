//go:build !unix

package socket

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
)

// isSocket: Windows shows a socket as an irregular file.
func isSocket(i fs.FileInfo) bool { return i.Mode()&(os.ModeSocket|os.ModeIrregular) != 0 }

func isRefused(err error) bool {
	return err != nil && strings.Contains(err.Error(), "actively refused")
}

func isFull(error) bool { return false }

// listen leaves rights alone: those of the directory, which is the user's own,
// are what counts here.
func listen(path string, _ Options) (*net.UnixListener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	return l, nil
}

func makeParent(dir string, _ int) error { return os.MkdirAll(dir, 0o700) }

func checkOwner(dir string) error {
	_, err := os.Stat(dir)
	return err
}

func dirOwner(string) (uint32, error) { return 0, errors.ErrUnsupported }
