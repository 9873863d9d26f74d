//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package ctl

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/plug/terminal"
)

// endSignals end the program; while the terminal is raw it is restored first.
var endSignals = []os.Signal{os.Interrupt, unix.SIGTERM, unix.SIGHUP}

// hasRawMode tells whether makeRaw works.
const hasRawMode = true

// resizeSignals tell that a window has another size.
var resizeSignals = []os.Signal{unix.SIGWINCH}

// windowSize is the size of the window of the terminal f; zero: not known.
func windowSize(f *os.File) (s terminal.Size) {
	_ = withFD(f, func(fd int) {
		if w, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ); err == nil {
			s = terminal.Size{Columns: w.Col, Rows: w.Row, Width: w.Xpixel, Height: w.Ypixel}
		}
	})
	return s
}

// isTerminal tells whether f is a terminal.
func isTerminal(f *os.File) bool {
	_, err := termios(f)
	return err == nil
}

// makeRaw puts the terminal f into raw mode: no echo, no lines, no translation, no
// signal keys. restore puts it back.
func makeRaw(f *os.File) (restore func() error, err error) {
	before, err := termios(f)
	if err != nil {
		return nil, fmt.Errorf("ask for the terminal's mode: %w", err)
	}
	raw := *before
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := setTermios(f, &raw); err != nil {
		return nil, fmt.Errorf("make the terminal raw: %w", err)
	}
	return func() error {
		if err := setTermios(f, before); err != nil {
			return fmt.Errorf("restore the terminal: %w", err)
		}
		return nil
	}, nil
}

func termios(f *os.File) (t *unix.Termios, err error) {
	cerr := withFD(f, func(fd int) { t, err = unix.IoctlGetTermios(fd, getTermiosRequest) })
	if cerr != nil {
		return nil, cerr
	}
	return t, err
}

func setTermios(f *os.File, t *unix.Termios) (err error) {
	cerr := withFD(f, func(fd int) { err = unix.IoctlSetTermios(fd, setTermiosRequest, t) })
	if cerr != nil {
		return cerr
	}
	return err
}

func withFD(f *os.File, do func(fd int)) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return c.Control(func(fd uintptr) { do(int(fd)) })
}
