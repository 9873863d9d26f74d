package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/exp/apidiff"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
	modzip "golang.org/x/mod/zip"

	"github.com/project-receptor/receptor/tests/tools/workspace"
)

// candidate is a module that is to be released, at the top heading of its CHANGELOG.
type candidate struct {
	*workspace.Module
	last string // the newest version that is tagged and no pre-release, "" if there is none
	api  apidiff.Report
}

func (c *candidate) tag() string { return tagOf(c.Module, c.Version) }

func tagOf(m *workspace.Module, version string) string { return m.Dir + "/" + version }

// prepare prepares a release of the modules in dirs on one commit: it says what is
// against it, or writes the sums of siblings that go out with it into each go.sum,
// and says which tags to make. With dryRun it writes nothing.
func prepare(ctx context.Context, r *workspace.Repo, w io.Writer, dirs []string, dryRun bool) error {
	candidates, err := inOrder(r, dirs)
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	if err := cleanTree(ctx, r); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	for _, c := range candidates {
		if err := c.fits(ctx, r, candidates); err != nil {
			return fmt.Errorf("release %s: %w", c.Dir, err)
		}
	}
	written, err := writeSums(ctx, r, candidates, dryRun)
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	return report(ctx, r, w, candidates, written, dryRun)
}

// inOrder finds the modules, those first that others of them require.
func inOrder(r *workspace.Repo, dirs []string) ([]*candidate, error) {
	if len(dirs) == 0 {
		return nil, errors.New("name the modules to release: MODULE=dir, or MODULE=\"dir dir\"")
	}
	wanted := map[*workspace.Module]bool{}
	for _, dir := range dirs {
		m := r.ModuleIn(dir)
		if m == nil || !m.Released() {
			return nil, fmt.Errorf("%s is no module that is released", dir)
		}
		wanted[m] = true
	}
	var sorted []*candidate
	var visit func(m *workspace.Module)
	visit = func(m *workspace.Module) { // the graph has no cycles: go would refuse them
		if !wanted[m] {
			return
		}
		delete(wanted, m)
		for _, q := range r.Siblings(m) {
			visit(r.Module(q.Mod.Path))
		}
		sorted = append(sorted, &candidate{Module: m})
	}
	for _, m := range r.Modules {
		visit(m)
	}
	return sorted, nil
}

// cleanTree fails if anything is not committed: what is tagged is a commit.
func cleanTree(ctx context.Context, r *workspace.Repo) error {
	out, err := output(ctx, r.Dir, nil, "git", "status", "--porcelain")
	if err != nil || out == "" {
		return err
	}
	lines := strings.Split(out, "\n")
	more := ""
	if len(lines) > 1 {
		more = fmt.Sprintf(" and %d more", len(lines)-1)
	}
	return fmt.Errorf("the tree is not clean: %s%s", strings.TrimSpace(lines[0][2:]), more)
}

// fits tells what is against releasing c beside the others.
func (c *candidate) fits(ctx context.Context, r *workspace.Repo, others []*candidate) error {
	tags, err := output(ctx, r.Dir, nil, "git", "tag", "--list", c.Dir+"/v*")
	if err != nil {
		return err
	}
	for _, tag := range strings.Fields(tags) {
		v := strings.TrimPrefix(tag, c.Dir+"/")
		if semver.IsValid(v) && semver.Prerelease(v) == "" && semver.Compare(v, c.last) > 0 {
			c.last = v
		}
	}
	if slices.Contains(strings.Fields(tags), c.tag()) {
		return fmt.Errorf("%s is released: there is a tag %s; CHANGELOG.md needs a new top heading", c.Version, c.tag())
	}
	if err := hasEntries(r.File(c.Dir, "CHANGELOG.md")); err != nil {
		return err
	}
	for _, q := range r.Siblings(c.Module) {
		s := r.Module(q.Mod.Path)
		if slices.ContainsFunc(others, func(o *candidate) bool { return o.Module == s && o.Version == q.Mod.Version }) {
			continue
		}
		tag := tagOf(s, q.Mod.Version)
		if out, err := output(ctx, r.Dir, nil, "git", "tag", "--list", tag); err != nil {
			return err
		} else if out == "" {
			return fmt.Errorf("it requires %s %s, which is neither released nor in this release", s.Dir, q.Mod.Version)
		}
	}
	if c.last == "" {
		return nil
	}
	if c.api, err = apiChanges(ctx, r, c.Module, tagOf(c.Module, c.last)); err != nil {
		return err
	}
	return follows(c.last, c.Version, c.api)
}

// hasEntries fails if nothing is listed below the top heading of a CHANGELOG.
func hasEntries(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	heading := ""
	for s := bufio.NewScanner(f); s.Scan(); {
		switch line := s.Text(); {
		case strings.HasPrefix(line, "## ") && heading != "":
			return fmt.Errorf("CHANGELOG.md has no entries under %q", heading)
		case strings.HasPrefix(line, "## "):
			heading = line
		case strings.HasPrefix(line, "- ") && heading != "":
			return nil
		}
	}
	return fmt.Errorf("CHANGELOG.md has no entries under %q", heading)
}

// follows tells whether a version may follow the last one: before v1 a break of the
// API raises the minor; from then on it raises the major, and an addition the minor.
func follows(last, version string, api apidiff.Report) error {
	n, err := numbers(last)
	if err != nil {
		return err
	}
	broken, added := "", ""
	for _, c := range api.Changes {
		if c.Compatible {
			added = c.Message
		} else if broken == "" {
			broken = c.Message
		}
	}
	next, why := [3]int{n[0], n[1], n[2] + 1}, ""
	switch {
	case broken != "" && n[0] > 0:
		next, why = [3]int{n[0] + 1, 0, 0}, ": its API breaks ("+broken+")"
	case broken != "":
		next, why = [3]int{0, n[1] + 1, 0}, ": its API breaks ("+broken+")"
	case added != "" && n[0] > 0:
		next, why = [3]int{n[0], n[1] + 1, 0}, ": its API has grown ("+added+")"
	}
	least := fmt.Sprintf("v%d.%d.%d", next[0], next[1], next[2])
	if semver.Compare(version, least) < 0 {
		return fmt.Errorf("%s cannot follow %s%s: the next is %s", version, last, why, least)
	}
	return nil
}

// numbers are those of a version that is no pre-release.
func numbers(version string) (n [3]int, err error) {
	f := strings.Split(strings.TrimPrefix(semver.Canonical(version), "v"), ".")
	for i := range n {
		if n[i], err = strconv.Atoi(f[i]); err != nil {
			return n, fmt.Errorf("version %s: %w", version, err)
		}
	}
	return n, nil
}

// writeSums brings go.sum of each candidate up to date, now that it is known what the
// siblings before it are, and returns the files that have changed.
func writeSums(ctx context.Context, r *workspace.Repo, candidates []*candidate, dryRun bool) (changed []string, err error) {
	tmp, err := os.MkdirTemp("", "release")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	p, err := newRelease(ctx, r, tmp)
	if err != nil {
		return nil, err
	}
	for _, c := range candidates {
		if err := p.publishSiblings(ctx, c.Dir, c.Mod); err != nil {
			return nil, err
		}
		sum, err := p.tidySum(ctx, c.Module)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Dir, err)
		}
		old, err := os.ReadFile(r.File(c.Dir, "go.sum"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		if !bytes.Equal(old, sum) {
			changed = append(changed, c.Dir+"/go.sum")
			p.sums[c.Module] = filepath.Join(tmp, "sums", filepath.FromSlash(c.Dir))
			if err := errors.Join(os.MkdirAll(filepath.Dir(p.sums[c.Module]), 0o755), os.WriteFile(p.sums[c.Module], sum, 0o644)); err != nil {
				return nil, err
			}
			if !dryRun {
				if err := os.WriteFile(r.File(c.Dir, "go.sum"), sum, 0o644); err != nil {
					return nil, err
				}
			}
		}
		if err := p.publish(ctx, c.Module, c.Version); err != nil {
			return nil, err
		}
	}
	return changed, nil
}

// tidySum is go.sum of a module as users have it: in a copy without the workspace,
// with its siblings from the proxy.
func (c *release) tidySum(ctx context.Context, m *workspace.Module) ([]byte, error) {
	dir := filepath.Join(c.dir, "build", filepath.FromSlash(m.Dir))
	mv := module.Version{Path: m.Path, Version: m.Version}
	zip := filepath.Join(c.dir, "tree.zip")
	if err := c.writeCandidate(ctx, zip, m); err != nil {
		return nil, err
	}
	if err := modzip.Unzip(dir, mv, zip); err != nil {
		return nil, err
	}
	if _, err := output(ctx, dir, c.env, "go", "mod", "tidy"); err != nil {
		return nil, err
	}
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return nil, err
	}
	if tree, err := os.ReadFile(c.repo.File(m.Dir, "go.mod")); err != nil {
		return nil, err
	} else if !bytes.Equal(mod, tree) {
		return nil, errors.New("go.mod is not tidy: run make tidy")
	}
	sum, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // it requires nothing
	}
	return sum, err
}

// report says what is released, and which commands CI makes the tags with.
func report(ctx context.Context, r *workspace.Repo, w io.Writer, candidates []*candidate, written []string, dryRun bool) error {
	commit, err := output(ctx, r.Dir, nil, "git", "rev-parse", "--short", "HEAD")
	if err != nil {
		return err
	}
	var b strings.Builder
	var tags []string
	for _, c := range candidates {
		tags = append(tags, c.tag())
		if c.last == "" {
			fmt.Fprintf(&b, "%s %s, its first release\n", c.Dir, c.Version)
			continue
		}
		fmt.Fprintf(&b, "%s %s, after %s\n", c.Dir, c.Version, c.last)
		for _, change := range c.api.Changes {
			kind := "breaks"
			if change.Compatible {
				kind = "grows"
			}
			fmt.Fprintf(&b, "  API %s: %s\n", kind, change.Message)
		}
	}
	if len(written) > 0 {
		commit = "COMMIT"
		verb := "wrote"
		if dryRun {
			verb = "would write"
		}
		fmt.Fprintf(&b, "%s sums of siblings into %s: COMMIT is the commit of that\n", verb, strings.Join(written, ", "))
	}
	b.WriteString("CI makes the tags, once make release-check and the tests have passed there:\n")
	for _, tag := range tags {
		fmt.Fprintf(&b, "  git tag -a -m %s %s %s\n", tag, tag, commit)
	}
	fmt.Fprintf(&b, "  git push origin %s\n", strings.Join(tags, " "))
	_, err = io.WriteString(w, b.String())
	return err
}
