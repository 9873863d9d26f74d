package ctl

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal opens a new terminal, and what is on its other end.
func openTerminal(t *testing.T) (keyboard, terminal *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = keyboard.Close() })
	var number int
	err = withFD(keyboard, func(fd int) {
		if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	return keyboard, terminal
}

// In raw mode every key goes through as it is; afterwards all is as it was.
func TestRawMode(t *testing.T) {
	t.Parallel()
	keyboard, terminal := openTerminal(t)
	if !isTerminal(terminal) {
		t.Fatal("not a terminal")
	}
	before, err := termios(terminal)
	if err != nil {
		t.Fatal(err)
	}
	restore, err := makeRaw(terminal)
	if err != nil {
		t.Fatal(err)
	}
	const keys = "\x03\x04\r"
	if _, err := keyboard.WriteString(keys); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(keys))
	for n := 0; n < len(b); {
		m, err := terminal.Read(b[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += m
	}
	if string(b) != keys {
		t.Errorf("read %q, want %q", b, keys)
	}
	if err := restore(); err != nil {
		t.Fatal(err)
	}
	after, err := termios(terminal)
	if err != nil {
		t.Fatal(err)
	}
	if *after != *before {
		t.Errorf("terminal was %+v, is %+v", *before, *after)
	}
}

// A bar is shown where somebody sees it, and where it is not in the way.
func TestProgressOnTerminal(t *testing.T) {
	t.Parallel()
	_, terminal := openTerminal(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, tc := range []struct {
		stderr *os.File
		json   bool
		want   bool
	}{{terminal, false, true}, {terminal, true, false}, {file, false, false}} {
		a := &app{Env: Env{Stderr: tc.stderr, Stdout: file}, json: tc.json}
		if p := a.progress(isFile(a.Stdout)); (p != nil) != tc.want {
			t.Errorf("%+v: %v", tc, p)
		}
	}
	if a := (&app{Env: Env{Stderr: terminal, Stdout: terminal}}); a.progress(isFile(a.Stdout)) != nil {
		t.Error("a bar in the middle of what is printed")
	}
}
