package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/project-receptor/receptor/tests/tools/workspace"
)

// programs builds every program as it is packaged: at the version of its module,
// from a module proxy of this tree, static, without the paths of this machine and
// without symbols. They go to <out>/<os>-<arch>/.
func programs(ctx context.Context, r *workspace.Repo, out string, platforms []string) error {
	if out == "" {
		return errors.New("programs: -out is missing")
	}
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	c, err := newRelease(ctx, r, filepath.Join(out, "work"))
	if err != nil {
		return err
	}
	if err := c.fillProxy(ctx); err != nil {
		return fmt.Errorf("make module proxy: %w", err)
	}
	for _, platform := range platforms {
		goos, goarch, ok := strings.Cut(platform, "/")
		if !ok {
			return fmt.Errorf("platform %q: expected <os>/<arch>", platform)
		}
		dir := filepath.Join(out, goos+"-"+goarch)
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for _, m := range r.Modules {
			if !m.Released() || m.Dir == "example" {
				continue
			}
			if err := c.install(ctx, m, goos, goarch, dir); err != nil {
				return fmt.Errorf("%s@%s for %s: %w", m.Dir, m.Version, platform, err)
			}
		}
	}
	return os.RemoveAll(c.dir)
}

// install builds the programs of a module for a system and puts them into dir.
func (c *release) install(ctx context.Context, m *workspace.Module, goos, goarch, dir string) error {
	under := filepath.Join(m.Dir, "cmd")
	if m.Dir == "cmd" {
		under = m.Dir
	}
	commands, err := filepath.Glob(c.repo.File(under, "*", "main.go"))
	if err != nil || len(commands) == 0 {
		return err
	}
	// go install refuses GOBIN for other systems; where it puts programs then
	// depends on the system.
	gopath := filepath.Join(c.dir, "gopath-"+goos+"-"+goarch)
	env := slices.Concat(c.env, []string{"GOBIN=", "GOPATH=" + gopath, "CGO_ENABLED=0", "GOOS=" + goos, "GOARCH=" + goarch})
	args := []string{"install", "-trimpath", "-ldflags=-s -w"}
	for _, main := range commands {
		dir, err := filepath.Rel(c.repo.File(m.Dir), filepath.Dir(main))
		if err != nil {
			return err
		}
		args = append(args, m.Path+"/"+filepath.ToSlash(dir)+"@"+m.Version)
	}
	if _, err := output(ctx, c.dir, env, "go", args...); err != nil {
		return err
	}
	for _, main := range commands {
		name := filepath.Base(filepath.Dir(main))
		built := filepath.Join(gopath, "bin", goos+"_"+goarch, name)
		if _, err := os.Stat(built); errors.Is(err, os.ErrNotExist) {
			built = filepath.Join(gopath, "bin", name)
		}
		if err := os.Rename(built, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
