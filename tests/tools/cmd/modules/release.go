package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
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
	if err := c.fillProxy(ctx); err != nil {
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
	env  []string                     // of the go command, to take modules from the proxy
	sums map[*workspace.Module]string // files that are candidates' go.sum in place of the tree's
}

func newRelease(ctx context.Context, r *workspace.Repo, dir string) (*release, error) {
	c := &release{repo: r, dir: dir, sums: map[*workspace.Module]string{}}
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
// and every other version of a sibling that is named anywhere, from its tag.
func (c *release) fillProxy(ctx context.Context) error {
	for _, m := range c.repo.Modules {
		if !m.Released() {
			continue
		}
		if err := c.publish(ctx, m, m.Version); err != nil {
			return err
		}
		if err := c.publishSiblings(ctx, m.Dir, m.Mod); err != nil {
			return err
		}
	}
	return nil
}

// publishSiblings publishes what a go.mod requires of this repository.
func (c *release) publishSiblings(ctx context.Context, of string, mod *modfile.File) error {
	for _, q := range mod.Require {
		if s := c.repo.Module(q.Mod.Path); s != nil {
			if err := c.publish(ctx, s, q.Mod.Version); err != nil {
				return fmt.Errorf("%s requires %s: %w", of, q.Mod, err)
			}
		}
	}
	return nil
}

// publish puts a version of a module into the proxy, unless it is there: the candidate
// from the tree, any other from its tag, with what that requires.
func (c *release) publish(ctx context.Context, m *workspace.Module, version string) error {
	dir := filepath.Join(c.dir, "proxy", filepath.FromSlash(m.Path), "@v")
	zip := filepath.Join(dir, version+".zip")
	if _, err := os.Stat(zip); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	mod, err := c.writeVersion(ctx, zip, m, version)
	if err != nil {
		return err
	}
	if _, err := modzip.CheckZip(module.Version{Path: m.Path, Version: version}, zip); err != nil {
		return err
	}
	info, err := json.Marshal(map[string]any{"Version": version, "Time": time.Unix(0, 0).UTC()})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, version+".info"), info, 0o644); err != nil {
		return err
	}
	list, err := os.OpenFile(filepath.Join(dir, "list"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(list, version)
	if err := errors.Join(err, list.Close(), os.WriteFile(filepath.Join(dir, version+".mod"), mod, 0o644)); err != nil {
		return err
	}
	if version == m.Version {
		return nil
	}
	parsed, err := modfile.Parse("go.mod", mod, nil)
	if err != nil {
		return err
	}
	return c.publishSiblings(ctx, tagOf(m, version), parsed)
}

// writeVersion writes the module zip of a version and returns its go.mod. A candidate
// that is tagged already has to be what was tagged.
func (c *release) writeVersion(ctx context.Context, zip string, m *workspace.Module, version string) (mod []byte, err error) {
	tag := tagOf(m, version)
	tagged, err := output(ctx, c.repo.Dir, nil, "git", "tag", "--list", tag)
	if err != nil {
		return nil, err
	}
	if version == m.Version {
		if err := c.writeCandidate(ctx, zip, m); err != nil {
			return nil, err
		}
		if tagged != "" {
			if err := c.sameAsTag(zip, m); err != nil {
				return nil, err
			}
		}
		return os.ReadFile(c.repo.File(m.Dir, "go.mod"))
	}
	if tagged == "" {
		return nil, fmt.Errorf("there is no tag %s, and the candidate is %s", tag, m.Version)
	}
	if err := c.writeTag(zip, m, version); err != nil {
		return nil, err
	}
	text, err := output(ctx, c.repo.Dir, nil, "git", "show", tag+":"+m.Dir+"/go.mod")
	return []byte(text + "\n"), err
}

// sameAsTag compares the zip of a candidate with that of its tag.
func (c *release) sameAsTag(zip string, m *workspace.Module) error {
	then := filepath.Join(c.dir, "tagged.zip")
	if err := c.writeTag(then, m, m.Version); err != nil {
		return err
	}
	var sums [2]string
	for i, name := range []string{zip, then} {
		var err error
		if sums[i], err = dirhash.HashZip(name, dirhash.Hash1); err != nil {
			return err
		}
	}
	if sums[0] != sums[1] {
		return fmt.Errorf("%s has changed since its tag %s: CHANGELOG.md needs a new top heading", m.Dir, tagOf(m, m.Version))
	}
	return nil
}

func (c *release) writeTag(name string, m *workspace.Module, version string) error {
	return writeFile(name, func(w io.Writer) error {
		return modzip.CreateFromVCS(w, module.Version{Path: m.Path, Version: version}, c.repo.Dir, tagOf(m, version), m.Dir)
	})
}

// writeCandidate writes the module zip of a candidate.
func (c *release) writeCandidate(ctx context.Context, name string, m *workspace.Module) error {
	return writeFile(name, func(w io.Writer) error {
		return c.zipTree(ctx, w, module.Version{Path: m.Path, Version: m.Version}, m)
	})
}

func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// zipTree writes the module as it is in the tree: the files that git tracks or
// would track, so that nothing built by accident is shipped.
func (c *release) zipTree(ctx context.Context, w io.Writer, mv module.Version, m *workspace.Module) error {
	out, err := output(ctx, c.repo.File(m.Dir), nil, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", ".")
	if err != nil {
		return err
	}
	var files []modzip.File
	if sum := c.sums[m]; sum != "" {
		files = append(files, treeFile{name: "go.sum", path: sum})
	}
	for name := range strings.SplitSeq(out, "\x00") {
		if name == "" || name == "go.sum" && c.sums[m] != "" {
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
		if err := c.checkCommand(ctx, m, pkg); err != nil {
			return err
		}
	}
	return nil
}

// checkCommand installs a command at its version, as a static program, and asks it what it is.
func (c *release) checkCommand(ctx context.Context, m *workspace.Module, pkg string) error {
	if _, err := output(ctx, c.dir, append(c.env, "CGO_ENABLED=0"), "go", "install", pkg+"@"+m.Version); err != nil {
		return err
	}
	if !strings.Contains(pkg, "/cmd/") {
		return nil // an example: a program to read, without options
	}
	name := path.Base(pkg)
	program := filepath.Join(c.dir, "bin", name)
	said, err := output(ctx, c.dir, nil, program, "--version")
	if err != nil {
		return err
	}
	if want := fmt.Sprintf("%s %s (%s)", name, m.Version, m.Path); said != want {
		return fmt.Errorf("%s --version says %q, expected %q", name, said, want)
	}
	file, err := os.Stat(program)
	if err != nil {
		return err
	}
	fmt.Printf("installed %s, %.1f MB\n", said, float64(file.Size())/1e6)
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
