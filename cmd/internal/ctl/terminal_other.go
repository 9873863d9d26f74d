//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package ctl

import (
	"errors"
	"os"
)

// endSignals end the program.
var endSignals = []os.Signal{os.Interrupt}

// isTerminal tells whether f is a terminal, as far as its kind of file says so.
func isTerminal(f *os.File) bool {
	i, err := f.Stat()
	return err == nil && i.Mode()&os.ModeCharDevice != 0
}

// makeRaw puts the terminal f into raw mode, where that is known to be done.
func makeRaw(*os.File) (restore func() error, err error) {
	return nil, errors.New("raw mode is not supported on this system")
}
