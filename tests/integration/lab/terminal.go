package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// Terminal is a program on a terminal, as somebody has it before them: keys go in, and what it
// draws is on a screen.
type Terminal struct {
	cmd      *exec.Cmd
	keys     *os.File // where keys come from
	tty      *os.File // the program's side, kept to look at its mode
	before   unix.Termios
	done     chan struct{}
	finished sync.WaitGroup

	mu     sync.Mutex
	screen Screen
	all    []byte // that was ever shown
}

// StartOnTerminal starts a program on a terminal of that size.
func StartOnTerminal(cmd *exec.Cmd, columns, rows int) (*Terminal, error) {
	keys, tty, err := pty.Open()
	if err != nil {
		return nil, err
	}
	t := &Terminal{cmd: cmd, keys: keys, tty: tty, done: make(chan struct{})}
	if err := t.Resize(columns, rows); err != nil {
		return nil, err
	}
	if t.before, err = t.mode(); err != nil {
		return nil, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	t.finished.Go(func() {
		buf := make([]byte, 4096)
		for { // until the terminal is closed
			n, err := keys.Read(buf)
			if err != nil {
				return
			}
			t.mu.Lock()
			t.screen.Write(buf[:n])
			t.all = append(t.all, buf[:n]...)
			t.mu.Unlock()
		}
	})
	go func() {
		_ = cmd.Wait() // what a test expects of the end, it asks of the exit status
		close(t.done)
	}()
	return t, nil
}

// Close kills the program, if it still runs, and closes the terminal.
func (t *Terminal) Close() {
	_ = t.cmd.Process.Kill()
	<-t.done
	_ = t.tty.Close()
	t.finished.Wait() // nobody has the other side
	_ = t.keys.Close()
}

// PID is the program's process ID.
func (t *Terminal) PID() int { return t.cmd.Process.Pid }

// Type types keys.
func (t *Terminal) Type(keys string) error {
	_, err := t.keys.WriteString(keys)
	return err
}

// Resize gives the terminal another size, and tells the program.
func (t *Terminal) Resize(columns, rows int) error {
	t.mu.Lock()
	t.screen.Resize(columns, rows)
	t.mu.Unlock()
	return pty.Setsize(t.keys, &pty.Winsize{Cols: uint16(columns), Rows: uint16(rows)})
}

// Lines are those of the screen, without spaces at their ends.
func (t *Terminal) Lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.screen.Lines()
}

// Shown is all that was ever shown.
func (t *Terminal) Shown() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.all)
}

// WaitShown waits until the terminal has shown text, whatever is on the screen now.
func (t *Terminal) WaitShown(ctx context.Context, text string) error {
	return t.wait(ctx, fmt.Sprintf("%q", text), func() bool { return strings.Contains(t.Shown(), text) })
}

// WaitScreen waits until the lines of the screen are as they should be.
func (t *Terminal) WaitScreen(ctx context.Context, what string, ok func(lines []string) bool) error {
	return t.wait(ctx, what, func() bool { return ok(t.Lines()) })
}

func (t *Terminal) wait(ctx context.Context, what string, ok func() bool) error {
	for !ok() {
		if err := Pause(ctx, PollEvery/5); err != nil {
			return fmt.Errorf("%s is not to be seen: %w; the screen:\n%s\nall that was shown: %q", what, err, strings.Join(t.Lines(), "\n"), t.Shown())
		}
	}
	return nil
}

// ExitCode waits for the program's end and returns its exit status.
func (t *Terminal) ExitCode(ctx context.Context) (int, error) {
	select {
	case <-t.done:
		return t.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%s still runs: %w; all that was shown: %q", t.cmd.Path, ctx.Err(), t.Shown())
	}
}

// Restored tells whether the terminal's mode is what it was at first.
func (t *Terminal) Restored() (bool, error) {
	now, err := t.mode()
	return now == t.before, err
}

func (t *Terminal) mode() (unix.Termios, error) {
	m, err := unix.IoctlGetTermios(int(t.tty.Fd()), unix.TCGETS)
	if err != nil {
		return unix.Termios{}, err
	}
	return *m, nil
}
