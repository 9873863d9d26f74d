// Package lab runs the built programs as a user would, for tests, the demo and
// the benchmarks: processes with their logs, nodes with their own runtime and
// state directories, and small applications at the ends.
//
// Everything that a Lab starts it ends, by its own pid.
package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Programs is a directory of built programs.
type Programs struct{ Dir string }

// Path is the file of a program.
func (p Programs) Path(name string) string { return filepath.Join(p.Dir, name) }

// Build builds every program of this repository into dir, and the model of an
// existing node.
func Build(ctx context.Context, dir string, race bool) (Programs, error) {
	root, err := Repository()
	if err != nil {
		return Programs{}, err
	}
	var flags []string
	if race {
		flags = append(flags, "-race")
	}
	return BuildAt(ctx, root, dir, flags...)
}

// BuildAt is Build of a repository somewhere else.
func BuildAt(ctx context.Context, root, dir string, flags ...string) (Programs, error) {
	list := exec.CommandContext(ctx, "go", "list", "-f", `{{if eq .Name "main"}}{{.ImportPath}}{{end}}`, "work")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		return Programs{}, fmt.Errorf("list programs: %w", err)
	}
	args := append([]string{"build", "-o", dir + string(filepath.Separator)}, flags...)
	for _, pkg := range strings.Fields(string(out)) {
		if !strings.Contains(pkg, "/tests/") || strings.Contains(pkg, "/tests/legacy/") {
			args = append(args, pkg)
		}
	}
	build := exec.CommandContext(ctx, "go", args...)
	build.Dir = root
	if !slices.Contains(flags, "-race") { // which needs cgo
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // as they are shipped
	}
	if out, err := build.CombinedOutput(); err != nil {
		return Programs{}, fmt.Errorf("build programs: %w\n%s", err, out)
	}
	return Programs{Dir: dir}, nil
}

// Mix makes dir a directory of the programs of p, but for those named, which are
// from's. They are links, so all have to be on one file system.
func (p Programs) Mix(dir string, from Programs, names ...string) (Programs, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Programs{}, err
	}
	entries, err := os.ReadDir(p.Dir)
	if err != nil {
		return Programs{}, err
	}
	for _, e := range entries {
		source := p
		if slices.Contains(names, e.Name()) {
			source = from
		}
		if e.Type().IsRegular() {
			err = errors.Join(err, os.Link(source.Path(e.Name()), filepath.Join(dir, e.Name())))
		}
	}
	return Programs{Dir: dir}, err
}

// Repository is the directory of go.work, here or above.
func Repository() (string, error) {
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
