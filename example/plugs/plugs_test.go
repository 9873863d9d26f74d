// Package plugs tests the example plugs as their authors would.
package plugs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
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

// The number tests the SDK, not the author.
func TestBackendIsSmall(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("tcpbackend/main.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte("\n")); n > 80 {
		t.Errorf("tcpbackend/main.go has %d lines: a complete backend fits in 80", n)
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short is given")
	}
	dir := t.TempDir()
	plugcheck := build(t, dir, "github.com/project-receptor/receptor/plug/cmd/receptor-plugcheck")
	for name, program := range map[string]func(*testing.T) string{
		"tcpbackend": func(t *testing.T) string { return build(t, dir, "./tcpbackend") },
		"python": func(t *testing.T) string {
			if _, err := exec.LookPath("python3"); err != nil {
				t.Skipf("Python 3 is not installed: %v", err)
			}
			return filepath.Join("python", "receptor-backend-pytcp")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, err := filepath.Abs(program(t))
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), plugcheck, "link", "--parallel", "8", "--verbose", "--exec", path).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if bytes.Contains(out, []byte("skip ")) {
				t.Errorf("a check was skipped:\n%s", out)
			}
		})
	}
}
