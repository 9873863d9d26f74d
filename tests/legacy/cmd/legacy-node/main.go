// Command legacy-node is a node as the existing Receptor programs are, for tests
// (package legacy). It writes what happens on its links to a file on request,
// and says who it is when it is up. Called a duplicate, it ends with status 0, as
// existing nodes do.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/project-receptor/receptor/tests/legacy"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "legacy-node:", err)
		}
		os.Exit(2)
	}
}

// run runs a node until ctx is done or somebody calls it a duplicate.
func run(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if o.trace != "" {
		script := legacy.NewTranscript()
		o.config.Trace = script.Trace
		defer func() { err = errors.Join(err, write(script, o.trace)) }()
	}
	work := legacy.NewWork(o.types)
	defer work.Close()
	o.config.Control, o.config.WorkCommands = map[string]legacy.Command{"work": work.Command}, work.Commands()
	n, err := legacy.Start(o.config)
	if err != nil {
		return err
	}
	defer n.Close()
	if err := o.build(n); err != nil {
		return err
	}
	var reports sync.WaitGroup
	defer reports.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.report > 0 {
		reports.Go(func() { report(ctx, o.report) })
	}
	fmt.Printf("legacy-node %s is up\n", n.ID())
	select {
	case <-ctx.Done():
	case <-n.Done():
		fmt.Printf("legacy-node %s ends: %v\n", n.ID(), n.Err())
	}
	return nil
}

// report says what cannot be seen from outside, for long runs.
func report(ctx context.Context, every time.Duration) {
	for tick := time.NewTicker(every); ; {
		fmt.Printf("goroutines %d\n", runtime.NumGoroutine())
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return
		}
	}
}

// write puts a transcript into a file.
func write(script io.WriterTo, name string) error {
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("write the transcript: %w", err)
	}
	_, err = script.WriteTo(f)
	return errors.Join(err, f.Close())
}
