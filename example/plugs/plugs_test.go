// Package plugs tests the example plugs as their authors would.
package plugs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// build builds a program of a package into dir.
func build(t *testing.T, dir, pkg string) string {
	t.Helper()
	program := filepath.Join(dir, filepath.Base(pkg))
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, pkg).CombinedOutput()
	if err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return program
}

// The numbers test the SDK, not the author.
func TestExamplesAreSmall(t *testing.T) {
	t.Parallel()
	for name, most := range map[string]int{"tcpbackend": 80, "goworker": 40} {
		text, err := os.ReadFile(filepath.Join(name, "main.go"))
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(text, []byte("\n")); n > most {
			t.Errorf("%s/main.go has %d lines: a complete plug of its role fits in %d", name, n, most)
		}
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short is given")
	}
	dir := t.TempDir()
	plugcheck := build(t, dir, "github.com/project-receptor/receptor/plug/cmd/receptor-plugcheck")
	golang := func(pkg string) func(*testing.T) string {
		return func(t *testing.T) string { return build(t, dir, pkg) }
	}
	python := func(program string) func(*testing.T) string {
		return func(t *testing.T) string {
			if _, err := exec.LookPath("python3"); err != nil {
				t.Skipf("Python 3 is not installed: %v", err)
			}
			return filepath.Join("python", program)
		}
	}
	counts := []string{
		"worker", "--quick", "3", "--quick-output", `1\n2\n3\n`, "--fails", "no number",
		"--long", "1000", "--long-output", `1\n`, "--long-unit-param", "pause=3600s",
	}
	for name, tc := range map[string]struct {
		program func(*testing.T) string
		check   []string
		skips   []string // units of goworker neither fail nor take long
	}{
		"tcpbackend": {golang("./tcpbackend"), []string{"link"}, nil},
		"pytcp":      {python("receptor-backend-pytcp"), []string{"link"}, nil},
		"goworker":   {golang("./goworker"), []string{"worker", "--quick", "quick", "--quick-output", `QUICK\n`}, []string{"worker/exit-code", "worker/stop"}},
		"counter":    {golang("./counter"), counts, nil},
		"pycount":    {python("receptor-worker-pycount"), counts, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, err := filepath.Abs(tc.program(t))
			if err != nil {
				t.Fatal(err)
			}
			args := append(tc.check, "--parallel", "8", "--timeout", "3m", "--verbose", "--exec", path)
			out, err := exec.CommandContext(t.Context(), plugcheck, args...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var skipped []string
			for line := range strings.Lines(string(out)) {
				if id, ok := strings.CutPrefix(line, "skip "); ok {
					skipped = append(skipped, strings.Fields(id)[0])
				}
			}
			slices.Sort(skipped)
			if !slices.Equal(skipped, tc.skips) {
				t.Errorf("checks were skipped:\n%s", out)
			}
		})
	}
}
