// Package lab runs the built programs as a user would, for tests, the demo and
// the benchmarks: processes with their logs, nodes with their own runtime and
// state directories, and small applications at the ends.
//
// Everything that a Lab starts it ends, by its own pid.
package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Programs is a directory of built programs.
type Programs struct{ Dir string }

// Path is the file of a program.
func (p Programs) Path(name string) string { return filepath.Join(p.Dir, name) }

// Build builds every program of the repository into dir.
func Build(ctx context.Context, dir string, race bool) (Programs, error) {
	root, err := repository()
	if err != nil {
		return Programs{}, err
	}
	list := exec.CommandContext(ctx, "go", "list", "-f", `{{if eq .Name "main"}}{{.ImportPath}}{{end}}`, "work")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		return Programs{}, fmt.Errorf("list programs: %w", err)
	}
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	if race {
		args = append(args, "-race")
	}
	for _, pkg := range strings.Fields(string(out)) {
		if !strings.Contains(pkg, "/tests/") {
			args = append(args, pkg)
		}
	}
	build := exec.CommandContext(ctx, "go", args...)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return Programs{}, fmt.Errorf("build programs: %w\n%s", err, out)
	}
	return Programs{Dir: dir}, nil
}

// repository is the directory of go.work, here or above.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no go.work here or above")
		}
	}
}
