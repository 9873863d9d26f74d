// Command packages makes packages of programs that modules programs has built.
//
//	packages -nfpm PROGRAM -programs DIR [-out DIR] [-arch amd64,arm64] [-format deb,rpm] [-release N] [NAME ...]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/project-receptor/receptor/tests/tools/packages"
	"github.com/project-receptor/receptor/tests/tools/workspace"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "packages:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	repo, err := workspace.Open(".")
	if err != nil {
		return err
	}
	b := &packages.Builder{Repo: repo}
	flag.StringVar(&b.NFPM, "nfpm", repo.File(".tools", "nfpm"), "the program nfpm")
	flag.StringVar(&b.Programs, "programs", repo.File(".packages", "programs"), "what modules programs has built")
	flag.StringVar(&b.Out, "out", repo.File(".packages"), "folder for the packages")
	flag.StringVar(&b.Release, "release", "1", "release of the packages")
	arch := flag.String("arch", runtime.GOARCH, "architectures, with commas between them")
	format := flag.String("format", "deb", "formats, with commas between them")
	flag.Parse()
	date := exec.CommandContext(ctx, "git", "log", "-1", "--format=%ct")
	date.Dir = repo.Dir
	out, err := date.Output()
	if err != nil {
		return fmt.Errorf("date of the last commit: %w", err)
	}
	b.Date = strings.TrimSpace(string(out))
	if err := os.MkdirAll(b.Out, 0o755); err != nil {
		return err
	}
	if b.Work, err = os.MkdirTemp("", "packages"); err != nil {
		return err
	}
	defer os.RemoveAll(b.Work)
	chosen := packages.In(repo)
	if names := flag.Args(); len(names) > 0 {
		chosen = slices.DeleteFunc(chosen, func(p packages.Package) bool { return !slices.Contains(names, p.Name) })
		if len(chosen) != len(names) {
			return fmt.Errorf("not all of %v are packages", names)
		}
	}
	for _, p := range chosen {
		for a := range strings.SplitSeq(*arch, ",") {
			for f := range strings.SplitSeq(*format, ",") {
				file, err := b.Build(ctx, &p, a, f)
				if err != nil {
					return fmt.Errorf("%s for %s: %w", p.Name, a, err)
				}
				info, err := os.Stat(file)
				if err != nil {
					return err
				}
				fmt.Printf("%8.1f kB  %s\n", float64(info.Size())/1000, filepath.Base(file))
			}
		}
	}
	return nil
}
