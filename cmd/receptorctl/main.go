// Command receptorctl is the operator's client: it talks to a running node over
// its control socket.
package main

import (
	"context"
	"os"
	"os/signal"

	"github.com/project-receptor/receptor/cmd/internal/buildinfo"
	"github.com/project-receptor/receptor/cmd/internal/ctl"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second one ends the process at once
	os.Exit(ctl.Run(ctx, ctl.Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, Version: buildinfo.Version(), Module: buildinfo.Module(),
	}, os.Args[1:]))
}
