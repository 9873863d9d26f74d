// Command controller has many units of work run by several nodes, and prints what they
// write while they write it. It is made to be copied: main.go is the command line,
// controller.go the work, screen.go what is seen of it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/project-receptor/receptor/workceptor/client"
)

// Exit codes.
const (
	exitFailed      = 1 // a unit has not succeeded
	exitUsage       = 2
	exitInterrupted = 130
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout io.Writer, stderr *os.File) int {
	o, socket, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return exitUsage // it was said why
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // so the next one ends the program at once

	c := newController(&client.Client{Dial: client.DialUnix(socket)}, o, newScreen(stdout, stderr, o.units))
	failures := c.run(ctx)
	switch {
	case ctx.Err() != nil:
		return exitInterrupted
	case len(failures) > 0:
		return exitFailed
	}
	return 0
}

// parse reads the command line.
func parse(args []string, stderr io.Writer) (o options, socket string, err error) {
	f := flag.NewFlagSet("controller", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&socket, "socket", os.Getenv("RECEPTORCTL_SOCKET"), "control socket of the local `node`; else RECEPTORCTL_SOCKET")
	f.Func("node", "`node` that is to run units, may be repeated; without one, the local node", func(s string) error {
		o.nodes = append(o.nodes, s)
		return nil
	})
	f.StringVar(&o.typ, "type", "", "`type` of work")
	f.StringVar(&o.params, "params", "", "parameters of each unit")
	f.IntVar(&o.units, "units", 1000, "`number` of units; each reads its own on standard input")
	f.IntVar(&o.parallel, "parallel", 8, "`number` of units in flight on each node")
	if err := f.Parse(args); err != nil {
		return o, "", err
	}
	switch {
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	case socket == "":
		err = errors.New("--socket is missing")
	case o.typ == "":
		err = errors.New("--type is missing")
	case o.units < 1 || o.parallel < 1:
		err = errors.New("--units and --parallel are at least 1")
	}
	if err != nil {
		fmt.Fprintln(stderr, "controller:", err)
	}
	if len(o.nodes) == 0 {
		o.nodes = []string{""}
	}
	return o, socket, err
}
