// Package skew builds the earlier versions of this repository that have to work
// with this one.
package skew

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

//go:embed commits
var commits string

// Version is an earlier state of this repository.
type Version struct{ Commit string }

// Short is the version as people write it.
func (v Version) Short() string { return v.Commit[:7] }

// Versions are those that commits lists, the newest first.
func Versions() (versions []Version, err error) {
	for line := range strings.Lines(commits) {
		line, _, _ = strings.Cut(line, "#")
		switch f := strings.Fields(line); {
		case len(f) == 0:
		case len(f) != 1 || len(f[0]) != 40:
			return nil, fmt.Errorf("skew/commits: %q: expected a whole commit ID", line)
		default:
			versions = append(versions, Version{f[0]})
		}
	}
	return versions, nil
}

// ErrAbsent is the error of a version that a shallow clone lacks.
var ErrAbsent = errors.New("is not in this repository, which may be a shallow clone")

// Build builds the version's programs below dir, from a worktree that it removes. Each of
// also gets that worktree before.
func (v Version) Build(ctx context.Context, dir string, also ...func(tree string, p lab.Programs) error) (p lab.Programs, err error) {
	root, err := lab.Repository()
	if err != nil {
		return p, err
	}
	if err := git(ctx, root, "cat-file", "-e", v.Commit+"^{commit}"); err != nil {
		return p, fmt.Errorf("%s of skew/commits %w: %w", v.Short(), ErrAbsent, err)
	}
	tree := filepath.Join(dir, "tree")
	if err := git(ctx, root, "worktree", "add", "--detach", tree, v.Commit); err != nil {
		return p, err
	}
	defer func() {
		err = errors.Join(err, git(context.WithoutCancel(ctx), root, "worktree", "remove", "--force", tree))
	}()
	// Without the tree's path in them, packages come from the cache of builds the next time.
	p, err = lab.BuildAt(ctx, tree, filepath.Join(dir, "programs"), "-buildvcs=false", "-trimpath")
	for _, do := range also {
		if err == nil {
			err = do(tree, p)
		}
	}
	return p, err
}

func git(ctx context.Context, root string, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w: %s", args[0], err, bytes.TrimSpace(out))
	}
	return nil
}
