package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/project-receptor/receptor/workceptor/client"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"--socket is missing":        {"--type", "x", "--socket", ""},
		"--type is missing":          {"--socket", "x"},
		`unexpected argument "more"`: {"--socket", "x", "--type", "x", "more"},
		"are at least 1":             {"--socket", "x", "--type", "x", "--parallel", "0"},
		"Usage of controller":        {"--hlep"},
	} {
		stderr := file(t)
		if code := run(args, io.Discard, stderr); code != exitUsage {
			t.Errorf("%q: exit status %d", args, code)
		}
		if got := read(t, stderr); !strings.Contains(got, want) {
			t.Errorf("%q: got %q, want %q", args, got, want)
		}
	}
}

// On a terminal responses come above the bar, which is taken away for them; elsewhere
// there is no bar among them.
func TestScreen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, testScreen) // no time passes
}

func testScreen(t *testing.T) {
	for terminal, want := range map[bool]string{
		true: "[..............................] 0/4 units, 2 running" + "\r\x1b[K" + "[..............................] 0/4 units, 2 running" +
			"\r\x1b[K" + "[#######.......................] 1/4 units, 0 running, 1 failed, 0s left" + "\r\x1b[K" + "unit 2: bad\ncontroller: 0 of 4 units succeeded, 1 failed, in 0s\n",
		false: "0/4 units, 2 running\n" + "1/4 units, 0 running, 1 failed, 0s left\n" + "unit 2: bad\ncontroller: 0 of 4 units succeeded, 1 failed, in 0s\n",
	} {
		var stdout bytes.Buffer
		stderr := file(t)
		s := newScreen(&stdout, stderr, 4)
		s.terminal = terminal
		s.begun()
		s.begun()
		s.print(stderr, "")
		s.response(client.Response{Stream: client.Stdout, Line: []byte("a line")}, "w1", 2)
		s.ended(false)
		s.putBack()
		s.print(stderr, "")
		s.summary([]string{"unit 2: bad"})
		if got := read(t, stderr); got != want {
			t.Errorf("terminal %v: got\n%q want\n%q", terminal, got, want)
		}
		if stdout.String() != "w1 2: a line\n" {
			t.Errorf("stdout: %q", stdout.String())
		}
	}
}

func file(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func read(t *testing.T, f *os.File) string {
	t.Helper()
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
