package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/project-receptor/receptor/tests/tools/workspace"
)

const (
	togetherFile = "docs/tested-together.md"
	skewFile     = "tests/integration/skew/commits"
)

// testedTogether writes the list of module versions that the system tests run
// together, or checks that it is the one of this tree.
func testedTogether(ctx context.Context, r *workspace.Repo, check bool) error {
	want, err := together(ctx, r)
	if err != nil {
		return fmt.Errorf("tested-together: %w", err)
	}
	if !check {
		return os.WriteFile(r.File(togetherFile), []byte(want), 0o644)
	}
	have, err := os.ReadFile(r.File(togetherFile))
	if err != nil {
		return err
	}
	if !sameTable(string(have), want) {
		return fmt.Errorf("%s is not of this tree: run make tested-together", togetherFile)
	}
	return nil
}

// unknown stands for a version at a commit that a shallow clone lacks.
const unknown = "?"

// together is the list: a row for each module, a column for each tree.
func together(ctx context.Context, r *workspace.Repo) (string, error) {
	commits, err := skewCommits(r)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(`# Versions tested together

Written by ` + "`make tested-together`" + `, a test holds it current. The system tests of this repository have run the programs of each column together, whole; and the core of the first
column with the plugs of each other one, and the reverse (` + "`TestSkew`, `" + skewFile + "`" + `). It is a recipe for packagers, not a claim that nothing else works together: that is
a matter of the plug protocol, which core and plugs negotiate.

| module | this tree |`)
	for _, c := range commits {
		fmt.Fprintf(&b, " %s |", c[:7])
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(commits)) + "\n")
	for _, m := range r.Modules {
		if !m.Released() {
			continue
		}
		fmt.Fprintf(&b, "| %s | %s |", m.Dir, m.Version)
		for _, c := range commits {
			v, err := versionAt(ctx, r, m, c)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&b, " %s |", v)
		}
		b.WriteString("\n")
	}
	return b.String(), nil
}

// skewCommits reads the commits that this tree is tested with.
func skewCommits(r *workspace.Repo) (commits []string, err error) {
	data, err := os.ReadFile(r.File(skewFile))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		switch f := strings.Fields(line); {
		case len(f) == 0:
		case len(f) != 1 || len(f[0]) != 40:
			return nil, fmt.Errorf("%s: %q: expected a whole commit ID", skewFile, line)
		default:
			commits = append(commits, f[0])
		}
	}
	if len(commits) == 0 {
		return nil, errors.New(skewFile + " names no commit")
	}
	return commits, nil
}

// versionAt is the candidate of a module at a commit.
func versionAt(ctx context.Context, r *workspace.Repo, m *workspace.Module, commit string) (string, error) {
	if _, err := output(ctx, r.Dir, nil, "git", "cat-file", "-e", commit+"^{commit}"); err != nil {
		return unknown, ctx.Err()
	}
	name := m.Dir + "/CHANGELOG.md"
	there, err := output(ctx, r.Dir, nil, "git", "ls-tree", "--name-only", commit, "--", name)
	if err != nil {
		return "", err
	}
	if there == "" {
		return "none", nil
	}
	text, err := output(ctx, r.Dir, nil, "git", "show", commit+":"+name)
	if err != nil {
		return "", err
	}
	return workspace.ChangelogVersion(name, strings.NewReader(text))
}

// sameTable compares two lists, but for what a shallow clone does not know.
func sameTable(have, want string) bool {
	h, w := strings.Split(have, "|"), strings.Split(want, "|")
	if len(h) != len(w) {
		return false
	}
	for i := range h {
		if h[i] != w[i] && strings.TrimSpace(w[i]) != unknown {
			return false
		}
	}
	return true
}
