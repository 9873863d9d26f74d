// Package workspace reads the layout of this repository: which modules there
// are, at which candidate version, and what they require of each other. The
// rules kept as tests and the module tool are built on it.
package workspace

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

// Root is the module path that all our modules share as a prefix.
const Root = "github.com/project-receptor/receptor"

// Unreleased is the version of modules that are never tagged. Others of that
// sort may require them by it.
const Unreleased = "v0.0.0"

// Module is one module of the workspace.
type Module struct {
	Dir     string // relative to the repository, with slashes: "backend-tcp"
	Path    string // module path
	Version string // candidate: the top heading of its CHANGELOG, or Unreleased
	Mod     *modfile.File
}

// Released tells whether the module is ever tagged. Those under tests/ are not.
func (m *Module) Released() bool { return !strings.HasPrefix(m.Dir, "tests/") }

// Repo is the repository.
type Repo struct {
	Dir     string // absolute
	Work    *modfile.WorkFile
	Modules []*Module // in the order of go.work
}

// Open finds the repository that contains dir and reads it.
func Open(dir string) (*Repo, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return nil, errors.New("no go.work here or above")
		}
		dir = parent
	}
	data, err := os.ReadFile(filepath.Join(dir, "go.work"))
	if err != nil {
		return nil, err
	}
	work, err := modfile.ParseWork("go.work", data, nil)
	if err != nil {
		return nil, err
	}
	r := &Repo{Dir: dir, Work: work}
	for _, u := range work.Use {
		m, err := r.readModule(filepath.ToSlash(filepath.Clean(u.Path)))
		if err != nil {
			return nil, fmt.Errorf("module %s: %w", u.Path, err)
		}
		r.Modules = append(r.Modules, m)
	}
	return r, nil
}

func (r *Repo) readModule(dir string) (*Module, error) {
	name := r.File(dir, "go.mod")
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	mod, err := modfile.Parse(name, data, nil)
	if err != nil {
		return nil, err
	}
	m := &Module{Dir: dir, Path: mod.Module.Mod.Path, Mod: mod}
	if !m.Released() {
		m.Version = Unreleased
		return m, nil
	}
	m.Version, err = candidateOf(r.File(dir, "CHANGELOG.md"))
	return m, err
}

// File joins elements to a path below the repository.
func (r *Repo) File(elem ...string) string {
	return filepath.Join(append([]string{r.Dir}, elem...)...)
}

// Module returns the module with that path, or nil.
func (r *Repo) Module(path string) *Module {
	for _, m := range r.Modules {
		if m.Path == path {
			return m
		}
	}
	return nil
}

// ModuleIn returns the module in that directory of the repository, or nil.
func (r *Repo) ModuleIn(dir string) *Module {
	for _, m := range r.Modules {
		if m.Dir == filepath.ToSlash(filepath.Clean(dir)) {
			return m
		}
	}
	return nil
}

// Siblings are the requirements of m that are modules of this repository.
func (r *Repo) Siblings(m *Module) []*modfile.Require {
	var s []*modfile.Require
	for _, q := range m.Mod.Require {
		if r.Module(q.Mod.Path) != nil {
			s = append(s, q)
		}
	}
	return s
}

// candidateOf is the version in a CHANGELOG.
func candidateOf(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return ChangelogVersion(name, f)
}

// ChangelogVersion returns the version in the first "## vX.Y.Z" heading.
func ChangelogVersion(name string, text io.Reader) (string, error) {
	for s := bufio.NewScanner(text); s.Scan(); {
		rest, ok := strings.CutPrefix(s.Text(), "## ")
		if !ok {
			continue
		}
		v, _, _ := strings.Cut(rest, " ")
		if !semver.IsValid(v) {
			return "", fmt.Errorf("%s: top heading %q is no version vX.Y.Z", name, s.Text())
		}
		return v, nil
	}
	return "", fmt.Errorf("%s: no heading \"## vX.Y.Z\"", name)
}
