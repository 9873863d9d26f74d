package commandservice

import (
	"errors"
	"fmt"
	"os"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/plug/terminal"
)

// tty is the side of a terminal where keys come from and the screen is. Reading fails when nobody
// has the other side any more; closing it hangs that up.
type tty struct{ *os.File }

// openTTY opens a new terminal, of the default size. Its other side is the command's, and
// belongs to its user.
func openTTY(as *account) (*tty, *os.File, error) {
	keys, command, err := pty.Open()
	if err != nil {
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	// The library leaves a file that blocks, and whose reader closing it would not wake.
	fd, err := unix.FcntlInt(keys.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err = errors.Join(err, keys.Close()); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open a terminal: %w", err), command.Close())
	}
	err = unix.SetNonblock(fd, true)               // before it becomes a file, which looks at that
	t := &tty{os.NewFile(uintptr(fd), "terminal")} //nolint:gosec // a descriptor
	if err == nil {
		err = t.resize(terminal.DefaultSize)
	}
	if err == nil && as.User != nil {
		err = errors.Join(command.Chown(int(as.UID), -1), command.Chmod(0o620)) // as login does
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open a terminal: %w", err), t.Close(), command.Close())
	}
	return t, command, nil
}

// resize sets the size of the window; what is 0 is as by default.
func (t *tty) resize(s terminal.Size) error {
	if s.Columns == 0 {
		s.Columns = terminal.DefaultSize.Columns
	}
	if s.Rows == 0 {
		s.Rows = terminal.DefaultSize.Rows
	}
	return t.control(func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: s.Rows, Col: s.Columns, Xpixel: s.Width, Ypixel: s.Height})
	})
}

// endOfFile is the key that is the end of what is typed, at the beginning of a line.
func (t *tty) endOfFile() byte {
	key := byte('D' - '@')
	_ = t.control(func(fd int) error {
		mode, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err == nil {
			key = mode.Cc[unix.VEOF]
		}
		return err
	})
	return key
}

func (t *tty) control(f func(fd int) error) (err error) {
	c, err := t.SyscallConn()
	if err != nil {
		return err
	}
	if cerr := c.Control(func(fd uintptr) { err = f(int(fd)) }); cerr != nil { //nolint:gosec // a descriptor
		return cerr
	}
	return err
}
