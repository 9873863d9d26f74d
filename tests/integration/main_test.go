// Package integration tests the built programs from outside, as their users run
// them: whole nodes with their plugs, real sockets, kills and restarts.
package integration

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// programs are built once for all tests, with the race detector.
var programs lab.Programs

// plain builds the programs once more, without it, for tests of size and of other
// versions' programs, which have none either.
var plain = sync.OnceValues(func() (lab.Programs, error) {
	return lab.Build(context.Background(), filepath.Join(programs.Dir, "plain"), false)
})

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if testing.Short() {
		fmt.Println("integration tests are skipped: -short is given")
		return 0
	}
	dir, err := os.MkdirTemp("", "receptor-programs")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	// Other users run these programs in the test of nodes started by hand.
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if programs, err = lab.Build(context.Background(), dir, true); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// patience is ten times what the slowest step of a test is expected to take on
// two busy cores with the race detector.
const patience = 2 * time.Minute

// newLab makes a lab that the test ends, and that prints every program's output
// if the test has failed.
func newLab(t *testing.T) (*lab.Lab, context.Context) {
	t.Helper()
	return newLabOf(t, programs)
}

// newLabOf is newLab with other programs.
func newLabOf(t *testing.T, p lab.Programs) (*lab.Lab, context.Context) {
	t.Helper()
	return newLabFor(t, p, patience)
}

// newLabFor is newLabOf for a test that may take so long.
func newLabFor(t *testing.T, p lab.Programs, most time.Duration) (*lab.Lab, context.Context) {
	t.Helper()
	l, err := lab.New(p)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), most)
	t.Cleanup(func() {
		cancel()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		for _, p := range l.Processes() {
			if t.Failed() {
				t.Logf("--- %s (pid %d)\n%s", p.Name, p.PID(), p.Output())
			}
			checkRaces(t, p)
		}
	})
	return l, ctx
}

func freePort(t *testing.T) int {
	t.Helper()
	p, err := lab.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
