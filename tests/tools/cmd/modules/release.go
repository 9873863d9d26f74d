package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/module"
	modzip "golang.org/x/mod/zip"

	"github.com/project-receptor/receptor/tests/tools/workspace"
)

// releaseCheck proves that each module works as users get it: without the
// workspace, from a module proxy that holds the candidates of this tree and the
// siblings that they name. Each module is built and tested in a copy, and each
// command installed at its version and asked for it.
func releaseCheck(ctx context.Context, r *workspace.Repo) error {
	c, err := newRelease(ctx, r, r.File(".release"))
	if err != nil {
		return err
	}
	if err := c.fillProxy(); err != nil {
		return fmt.Errorf("make module proxy: %w", err)
	}
	for _, m := range r.Modules {
		if !m.Released() {
			continue
		}
		start := time.Now()
		if err := c.check(ctx, m); err != nil {
			return fmt.Errorf("%s@%s: %w", m.Dir, m.Version, err)
		}
		fmt.Printf("release-check %s@%s ok (%.0f s)\n", m.Dir, m.Version, time.Since(start).Seconds())
	}
	return nil
}

// release is a folder with a module proxy of the candidates, and what is made from it.
type release struct {
	repo *workspace.Repo
	dir  string
	env  []string // of the go command, to take modules from the proxy
}

func newRelease(ctx context.Context, r *workspace.Repo, dir string) (*release, error) {
	c := &release{repo: r, dir: dir}
	if err := c.clean(); err != nil {
		return nil, err
	}
	cache, err := output(ctx, r.Dir, nil, "go", "env", "GOMODCACHE")
	if err != nil {
		return nil, err
	}
	proxies, err := output(ctx, r.Dir, nil, "go", "env", "GOPROXY")
	if err != nil {
		return nil, err
	}
	// A path of its own for every run: what go remembers of a module in a module
	// cache it takes for unchanged as long as the path is the same.
	modcache, err := os.MkdirTemp(c.dir, "modcache")
	if err != nil {
		return nil, err
	}
	c.env = []string{
		"GOWORK=off",
		"GOFLAGS=-mod=mod -modcacherw",
		"GOMODCACHE=" + modcache,
		"GOBIN=" + filepath.Join(c.dir, "bin"),
		"GONOSUMDB=" + workspace.Root,
		"GOPROXY=file://" + filepath.Join(c.dir, "proxy") + ",file://" + filepath.Join(cache, "cache", "download") + "," + proxies,
	}
	return c, nil
}

// clean empties the work folder: a candidate rebuilt under the same version
// would otherwise come from the cache, with its old content.
func (c *release) clean() error {
	if err := os.RemoveAll(c.dir); err != nil {
		return err
	}
	return os.MkdirAll(filepath.Join(c.dir, "proxy"), 0o755)
}

// fillProxy puts into the proxy the candidate of every module, from the tree,
// and every other version of a sibling that a go.mod names, from its tag.
func (c *release) fillProxy() error {
	for _, m := range c.repo.Modules {
		if m.Released() {
			if err := c.publish(m, m.Version); err != nil {
				return err
			}
		}
		for _, q := range c.repo.Siblings(m) {
			s := c.repo.Module(q.Mod.Path)
			if q.Mod.Version == s.Version {
				continue
			}
			if err := c.publish(s, q.Mod.Version); err != nil {
				return fmt.Errorf("%s requires %s: %w", m.Dir, q.Mod, err)
			}
		}
	}
	return nil
}

func (c *release) publish(m *workspace.Module, version string) error {
	dir := filepath.Join(c.dir, "proxy", filepath.FromSlash(m.Path), "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	zipName := filepath.Join(dir, version+".zip")
	zip, err := os.Create(zipName)
	if err != nil {
		return err
	}
	mv := module.Version{Path: m.Path, Version: version}
	if version == m.Version {
		err = c.zipTree(zip, mv, m)
	} else {
		err = modzip.CreateFromVCS(zip, mv, c.repo.Dir, m.Dir+"/"+version, m.Dir)
	}
	if err = errors.Join(err, zip.Close()); err != nil {
		return err
	}
	if _, err := modzip.CheckZip(mv, zipName); err != nil {
		return err
	}
	info, err := json.Marshal(map[string]any{"Version": version, "Time": time.Unix(0, 0).UTC()})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, version+".info"), info, 0o644); err != nil {
		return err
	}
	mod, err := c.goMod(m, version)
	if err != nil {
		return err
	}
	list, err := os.OpenFile(filepath.Join(dir, "list"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(list, version)
	return errors.Join(err, list.Close(), os.WriteFile(filepath.Join(dir, version+".mod"), mod, 0o644))
}

// goMod returns go.mod of a version: the candidate's from the tree, else from its tag.
func (c *release) goMod(m *workspace.Module, version string) ([]byte, error) {
	if version == m.Version {
		return os.ReadFile(c.repo.File(m.Dir, "go.mod"))
	}
	out, err := output(context.Background(), c.repo.Dir, nil, "git", "show", m.Dir+"/"+version+":"+m.Dir+"/go.mod")
	return []byte(out + "\n"), err
}

// zipTree writes the module as it is in the tree: the files that git tracks or
// would track, so that nothing built by accident is shipped.
func (c *release) zipTree(w io.Writer, mv module.Version, m *workspace.Module) error {
	out, err := output(context.Background(), c.repo.File(m.Dir), nil, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", ".")
	if err != nil {
		return err
	}
	var files []modzip.File
	for name := range strings.SplitSeq(out, "\x00") {
		if name == "" {
			continue
		}
		path := c.repo.File(m.Dir, name)
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			continue // deleted in the tree, not yet in the index
		}
		files = append(files, treeFile{name: filepath.ToSlash(name), path: path})
	}
	return modzip.Create(w, mv, files)
}

// treeFile is a modzip.File of the tree.
type treeFile struct{ name, path string }

func (f treeFile) Path() string                 { return f.name }
func (f treeFile) Lstat() (os.FileInfo, error)  { return os.Lstat(f.path) }
func (f treeFile) Open() (io.ReadCloser, error) { return os.Open(f.path) }

// check builds and tests one module in a copy, then installs its commands.
func (c *release) check(ctx context.Context, m *workspace.Module) error {
	build := filepath.Join(c.dir, "build", filepath.FromSlash(m.Dir))
	zip := filepath.Join(c.dir, "proxy", filepath.FromSlash(m.Path), "@v", m.Version+".zip")
	if err := modzip.Unzip(build, module.Version{Path: m.Path, Version: m.Version}, zip); err != nil {
		return err
	}
	for _, args := range [][]string{{"build", "./..."}, {"test", "-short", "./..."}} {
		if _, err := output(ctx, build, c.env, "go", args...); err != nil {
			return err
		}
	}
	mains, err := output(ctx, build, c.env, "go", "list", "-f", `{{if eq .Name "main"}}{{.ImportPath}}{{end}}`, "./...")
	if err != nil {
		return err
	}
	for _, pkg := range strings.Fields(mains) {
		if _, err := output(ctx, c.dir, c.env, "go", "install", pkg+"@"+m.Version); err != nil {
			return err
		}
		if !strings.Contains(pkg, "/cmd/") {
			continue // an example: a program to read, without options
		}
		program := filepath.Join(c.dir, "bin", filepath.Base(pkg))
		version, err := output(ctx, c.dir, nil, program, "--version")
		if err != nil {
			return err
		}
		if !strings.Contains(version, m.Version) {
			return fmt.Errorf("%s --version says %q, expected %s in it", filepath.Base(pkg), strings.TrimSpace(version), m.Version)
		}
		fmt.Printf("installed %s\n", strings.TrimSpace(version))
	}
	return nil
}

// output runs a command and returns its standard output, trimmed of the last
// newline; the error carries what it wrote.
func output(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out, stderr.String())
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}
