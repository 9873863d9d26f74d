package core

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/cmd/internal/buildinfo"
)

// Main is the program receptor-core: it runs a core with that command line
// until a signal ends it, and returns the exit status.
func Main(args []string) int {
	harden()
	a, err := ParseArgs(args)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 2
	case a.Help != "":
		fmt.Print(a.Help)
		return 0
	case a.Config.Version:
		fmt.Print(buildinfo.Line("receptor-core"))
		return 0
	case a.Check:
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	return run(ctx, a)
}

// run runs a core until ctx is done; 2 means that starting again would not help.
func run(ctx context.Context, a *Args) int {
	log := hclog.New(&hclog.LoggerOptions{Name: "receptor-core", Level: a.Config.LogLevel, JSONFormat: a.LogJSON, Output: os.Stderr})
	c, err := New(ctx, Options{Config: a.Config, Items: a.Items, Digest: a.Digest, Logger: log, Version: buildinfo.Version(), Ready: a.Ready})
	if ctx.Err() != nil {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if err := c.Run(ctx); err != nil {
		log.Error("ended", "error", err)
		return 1
	}
	return 0
}
