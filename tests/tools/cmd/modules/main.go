// Command modules keeps the module files of the repository right.
//
//	modules tidy          rewrite requirements and sums of every module
//	modules tidy -check   say what tidy would change, and fail if anything
//	modules release-check build, test and install every module as users get it
//	modules release DIR.. prepare a release of modules: see docs/modules.md
//	modules release -dry-run DIR..  say what that would do
//	modules programs      build every program at its version, for packages
//	modules who-needs DIR list the modules to release again after a fix in DIR
//	modules tested-together         write which versions the system tests run together
//	modules tested-together -check  fail if that list is out of date
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"

	"github.com/project-receptor/receptor/tests/tools/workspace"
)

const commands = "tidy, release-check, release, programs, who-needs or tested-together"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "modules:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	repo, err := workspace.Open(".")
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return fmt.Errorf("expected %s", commands)
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	check := flags.Bool("check", false, "tidy, tested-together: change nothing, fail if something would change")
	dryRun := flags.Bool("dry-run", false, "release: write nothing")
	out := flags.String("out", "", "programs: folder that is emptied, and gets the programs in <os>-<arch>/")
	platforms := flags.String("platforms", "linux/"+runtime.GOARCH, "programs: for which systems, with commas between them")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "tidy":
		return tidy(ctx, repo, *check)
	case "release-check":
		return releaseCheck(ctx, repo)
	case "release":
		return prepare(ctx, repo, os.Stdout, flags.Args(), *dryRun)
	case "programs":
		return programs(ctx, repo, *out, strings.Split(*platforms, ","))
	case "who-needs":
		return whoNeeds(repo, os.Stdout, flags.Arg(0))
	case "tested-together":
		return testedTogether(ctx, repo, *check)
	default:
		return fmt.Errorf("unknown command %q: expected %s", args[0], commands)
	}
}
