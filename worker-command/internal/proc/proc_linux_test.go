package proc

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/worker-command/internal/unit"
)

const line = "7 (a) S (b) R 3 7 7 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 4242 999 1 184 0"

func TestParseStat(t *testing.T) {
	t.Parallel()
	// A process may call itself what looks like the rest of the line.
	if s, err := parseStat([]byte(line)); err != nil || s != (status{parent: 3, start: 4242}) {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := parseStat([]byte(strings.Replace(line, ") R", ") Z", 1))); err != nil || !s.zombie {
		t.Errorf("a zombie: %+v, %v", s, err)
	}
	for i := range strings.Index(line, " 4242") {
		if s, err := parseStat([]byte(line[:i])); err == nil {
			t.Errorf("%q: %+v", line[:i], s)
		}
	}
}

func sleeper(t *testing.T, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.Env = append(cmd.Environ(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func TestSignal(t *testing.T) {
	t.Parallel()
	cmd := sleeper(t)
	p, err := Find(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	other := p
	other.Start++
	if was, err := Signal(other, unix.SIGKILL); was || err != nil {
		t.Errorf("another one with that number: %v, %v", was, err)
	}
	if was, err := Signal(p, unix.SIGTERM); !was || err != nil {
		t.Errorf("the one: %v, %v", was, err)
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: terminated" {
		t.Errorf("it ended with %v", err)
	}
	if was, err := Signal(p, unix.SIGKILL); was || err != nil {
		t.Errorf("gone: %v, %v", was, err)
	}
	if _, err := Find(p.PID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("gone: %v", err)
	}
}

func TestKillMarked(t *testing.T) {
	t.Parallel()
	const mark = "RECEPTOR_TEST_MARK=b07a4ef2"
	marked, near := sleeper(t, mark), sleeper(t, mark+"3", "X"+mark)
	if n, err := KillMarked(mark); n != 1 || err != nil {
		t.Errorf("killed %d, %v", n, err)
	}
	if err := marked.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("it ended with %v", err)
	}
	p, err := Find(near.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := stat(p.PID); err != nil || s.zombie {
		t.Errorf("one that is marked otherwise: %+v, %v", s, err)
	}
	if was, err := Signal(unit.Process{PID: os.Getpid(), Start: 1}, unix.SIGKILL); was || err != nil {
		t.Errorf("%v, %v", was, err)
	}
}
