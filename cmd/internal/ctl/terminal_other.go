//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package ctl

import (
	"errors"
	"os"

	"github.com/project-receptor/receptor/plug/terminal"
)

// endSignals end the program.
var endSignals = []os.Signal{os.Interrupt}

// hasRawMode tells whether makeRaw works.
const hasRawMode = false

// resizeSignals are those that tell that a window has another size: none.
var resizeSignals []os.Signal

// windowSize is the size of the window of the terminal f, which is not known here.
func windowSize(*os.File) terminal.Size { return terminal.Size{} }

// isTerminal tells whether f is a terminal, as far as its kind of file says so.
func isTerminal(f *os.File) bool {
	i, err := f.Stat()
	return err == nil && i.Mode()&os.ModeCharDevice != 0
}

// makeRaw puts the terminal f into raw mode, where that is known to be done.
func makeRaw(*os.File) (restore func() error, err error) {
	return nil, errors.New("raw mode is not supported on this system")
}
