package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"github.com/project-receptor/receptor/tests/tools/workspace"
)

// tidy brings every module's requirements and sums up to date. go mod tidy
// cannot do it in a workspace with unpublished siblings, so it works on a copy
// of go.mod that has replaces for them, which are taken out again.
func tidy(ctx context.Context, r *workspace.Repo, check bool) error {
	tmp, err := os.MkdirTemp("", "tidy")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	var stale []string
	for _, m := range r.Modules {
		mod, sum, err := tidied(ctx, r, m, tmp)
		if err != nil {
			return fmt.Errorf("tidy %s: %w", m.Dir, err)
		}
		for name, data := range map[string][]byte{"go.mod": mod, "go.sum": sum} {
			file := r.File(m.Dir, name)
			old, err := os.ReadFile(file)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			if bytes.Equal(old, data) {
				continue
			}
			stale = append(stale, m.Dir+"/"+name)
			if check {
				continue
			}
			if err := os.WriteFile(file, data, 0o644); err != nil {
				return err
			}
		}
	}
	if check && len(stale) > 0 {
		return fmt.Errorf("not tidy: %v; run make tidy", stale)
	}
	for _, f := range stale {
		fmt.Println("tidied", f)
	}
	return nil
}

// tidied returns what go.mod and go.sum of m should hold.
func tidied(ctx context.Context, r *workspace.Repo, m *workspace.Module, tmp string) (mod, sum []byte, err error) {
	file, err := modfile.Parse("go.mod", modfile.Format(m.Mod.Syntax), nil)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range r.Modules {
		if s == m {
			continue
		}
		if err := file.AddReplace(s.Path, "", r.File(s.Dir), ""); err != nil {
			return nil, nil, err
		}
	}
	name := filepath.Join(tmp, "tidy.mod")
	if err := os.WriteFile(name, modfile.Format(file.Syntax), 0o644); err != nil {
		return nil, nil, err
	}
	sums := filepath.Join(tmp, "tidy.sum")
	old, err := os.ReadFile(r.File(m.Dir, "go.sum"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, err
	}
	if err := os.WriteFile(sums, old, 0o644); err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(ctx, "go", "mod", "tidy", "-modfile="+name)
	cmd.Dir = r.File(m.Dir)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("go mod tidy: %w\n%s", err, out)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, nil, err
	}
	if file, err = modfile.Parse("go.mod", data, nil); err != nil {
		return nil, nil, err
	}
	for _, s := range r.Modules {
		if err := file.DropReplace(s.Path, ""); err != nil {
			return nil, nil, err
		}
	}
	if err := setSiblingVersions(r, m, file); err != nil {
		return nil, nil, err
	}
	file.Cleanup()
	if mod, err = file.Format(); err != nil {
		return nil, nil, err
	}
	if sum, err = os.ReadFile(sums); err != nil {
		return nil, nil, err
	}
	return mod, keepSiblingSums(r, m, old, sum), nil
}

// keepSiblingSums puts the lines of siblings, which a release has written into the
// old go.sum, back into the new one: tidy knows no sums of what it saw replaced.
// Those of versions above the one required are of no use any more.
func keepSiblingSums(r *workspace.Repo, m *workspace.Module, old, tidied []byte) []byte {
	required := map[string]string{}
	for _, q := range r.Siblings(m) {
		required[q.Mod.Path] = q.Mod.Version
	}
	lines := map[module.Version]string{} // the version may be followed by /go.mod
	add := func(sums []byte, wanted func(module.Version) bool) {
		for line := range strings.Lines(string(sums)) {
			if f := strings.Fields(line); len(f) == 3 && wanted(module.Version{Path: f[0], Version: f[1]}) {
				lines[module.Version{Path: f[0], Version: f[1]}] = line
			}
		}
	}
	add(tidied, func(module.Version) bool { return true })
	add(old, func(v module.Version) bool {
		version, _, _ := strings.Cut(v.Version, "/")
		return required[v.Path] != "" && semver.Compare(version, required[v.Path]) <= 0
	})
	versions := slices.Collect(maps.Keys(lines))
	module.Sort(versions) // as the go command does
	var sums strings.Builder
	for _, v := range versions {
		sums.WriteString(lines[v])
	}
	return []byte(sums.String())
}

// setSiblingVersions gives siblings that tidy has just found, and knows only by
// their replace, their candidate version.
func setSiblingVersions(r *workspace.Repo, m *workspace.Module, file *modfile.File) error {
	const replaced = "v0.0.0-00010101000000-000000000000"
	for _, q := range file.Require {
		s := r.Module(q.Mod.Path)
		if s == nil || q.Mod.Version != replaced {
			continue
		}
		if m.Released() && !s.Released() {
			return fmt.Errorf("%s is never released and cannot be required", s.Path)
		}
		if err := file.AddRequire(s.Path, s.Version); err != nil {
			return err
		}
	}
	return nil
}

// whoNeeds prints the modules that require the module in dir, directly or not.
func whoNeeds(r *workspace.Repo, w io.Writer, dir string) error {
	m := r.ModuleIn(dir)
	if m == nil {
		return fmt.Errorf("who-needs: no module in %q", dir)
	}
	need := map[string]bool{m.Path: true}
	for grew := true; grew; {
		grew = false
		for _, m := range r.Modules {
			for _, q := range r.Siblings(m) {
				if need[q.Mod.Path] && !need[m.Path] && m.Released() {
					need[m.Path], grew = true, true
					if _, err := fmt.Fprintln(w, m.Dir); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}
