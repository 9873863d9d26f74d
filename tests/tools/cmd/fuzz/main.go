// Command fuzz runs every fuzz target of the repository for a while, one after the
// other, and prints a line for each.
//
//	fuzz [-time 1m] [-run PATTERN]
//
// PATTERN is a regular expression over names such as
// netceptor/internal/wire.FuzzData. An input that fails a target is kept below its
// package, in testdata/fuzz: give it a name that says what it is, and it is a seed
// that every go test runs from then on.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/project-receptor/receptor/tests/tools/workspace"
)

func main() {
	each := flag.Duration("time", time.Minute, "how long each target is run")
	pattern := flag.String("run", "", "regular expression of the targets to run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *each, *pattern); err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, each time.Duration, pattern string) error {
	wanted, err := regexp.Compile(pattern)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	repo, err := workspace.Open(".")
	if err != nil {
		return err
	}
	targets, err := find(repo)
	if err != nil {
		return err
	}
	targets = slices.DeleteFunc(targets, func(t target) bool { return !wanted.MatchString(t.String()) })
	if len(targets) == 0 {
		return fmt.Errorf("no target matches %q", pattern)
	}
	var failed []string
	for _, t := range targets {
		if err := t.run(ctx, each); err != nil {
			failed = append(failed, t.String())
		}
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted in %s", t)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("%d of %d targets failed: %s", len(failed), len(targets), strings.Join(failed, ", "))
	}
	return nil
}

// target is a function of a package.
type target struct {
	dir  string // of the package
	path string // the same, from the root of the repository
	name string
}

func (t target) String() string { return t.path + "." + t.name }

var declaration = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(\w+ \*testing\.F\)`)

// find reads the tests of every module.
func find(repo *workspace.Repo) ([]target, error) {
	var targets []target
	for _, m := range repo.Modules {
		err := filepath.WalkDir(repo.File(m.Dir), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			dir := filepath.Dir(path)
			rel, err := filepath.Rel(repo.Dir, dir)
			if err != nil {
				return err
			}
			for _, found := range declaration.FindAllSubmatch(source, -1) {
				targets = append(targets, target{dir, filepath.ToSlash(rel), string(found[1])})
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read the tests of %s: %w", m.Dir, err)
		}
	}
	slices.SortFunc(targets, func(a, b target) int { return strings.Compare(a.String(), b.String()) })
	return slices.CompactFunc(targets, func(a, b target) bool { return a == b }), nil
}

// progress is what go test says now and then, at last with the totals.
var progress = regexp.MustCompile(`execs: (\d+) .*\(total: (\d+)\)`)

// run runs the target and prints its line; if it has failed, all that go test said.
func (t target) run(ctx context.Context, each time.Duration) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", each.String(), ".")
	cmd.Dir = t.dir
	start := time.Now()
	out, err := cmd.CombinedOutput()
	verdict := "ok"
	if err != nil {
		verdict = "FAILED"
	}
	execs, inputs := "0", "0"
	if all := progress.FindAllSubmatch(out, -1); len(all) > 0 {
		execs, inputs = string(all[len(all)-1][1]), string(all[len(all)-1][2])
	}
	fmt.Printf("%-6s %-55s %12s runs  %5s inputs  %4.0f s\n", verdict, t, execs, inputs, time.Since(start).Seconds())
	if err != nil {
		fmt.Printf("%s\n", out)
	}
	return err
}
