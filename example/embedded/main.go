// Command embedded shows whole nodes in one Go program, remote work included, without
// any program of ours beside it: here submits a unit of work, there runs it as a Go
// function, and here prints what it writes.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	backendtcp "github.com/project-receptor/receptor/backend-tcp"
	"github.com/project-receptor/receptor/netceptor/plughost"
	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/wire"
	"github.com/project-receptor/receptor/plug/workfunc"
	"github.com/project-receptor/receptor/workceptor/client"
)

// patience is far more than this takes on one machine.
const patience = 30 * time.Second

func main() {
	dir, err := os.MkdirTemp("", "embedded") // a program of your own keeps it: units outlive the process
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err = errors.Join(run(ctx, dir, os.Stdout), os.RemoveAll(dir))
		cancel()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "embedded:", err)
		os.Exit(1)
	}
}

// run starts two nodes and has one give work to the other.
func run(ctx context.Context, dir string, out io.Writer) (err error) {
	there, err := startNode("there", filepath.Join(dir, "there"), []*plug.Plug{backendtcp.New(), shouter(filepath.Join(dir, "shouter"))},
		plughost.Item{Kind: "tcp-listener", Params: map[string]any{"bindaddr": "127.0.0.1", "port": 0}, Label: "tcp-listener"},
		plughost.Item{Kind: "work-shout", Label: "work-shout"},
	)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, there.close()) }()
	addr, err := there.address(ctx)
	if err != nil {
		return err
	}
	here, err := startNode("here", filepath.Join(dir, "here"), []*plug.Plug{backendtcp.New()},
		plughost.Item{Kind: "tcp-peer", Params: map[string]any{"address": addr}, Label: "tcp-peer"},
	)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, here.close()) }()
	return shout(ctx, here.client, out)
}

// shout has a unit run by the other node, and prints what it writes.
func shout(ctx context.Context, c *client.Client, out io.Writer) error {
	unit, err := c.Submit(ctx, client.Job{
		Node: "there", Type: "shout", Payload: strings.NewReader("hello\nis anybody there?\n"),
		TTL: patience, // there may be no way yet
	})
	if err != nil {
		return err
	}
	var end client.Status
	for r, err := range c.Responses(ctx, unit.ID, client.From{}, &end) {
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\n", r.Line)
	}
	fmt.Fprintln(out, end.State, "on", end.Node)
	_, err = c.Release(ctx, unit.ID, false)
	return err
}

// shouter is a worker whose units write their payload in capitals. It notes in dir which
// units it has, so that none runs twice.
func shouter(dir string) *plug.Plug {
	return &plug.Plug{
		Program: "receptor-worker-shout",
		Kinds:   []wire.Kind{{Kind: "work-shout", Role: wire.RoleWorker}},
		Run: func(ctx context.Context, it *plug.Item) error {
			return workfunc.Serve(ctx, it, dir, plug.WorkType{Name: "shout"}, func(_ context.Context, u *workfunc.Unit) error {
				in := bufio.NewScanner(u.Stdin)
				for in.Scan() {
					if _, err := fmt.Fprintln(u, strings.ToUpper(in.Text())); err != nil {
						return err
					}
				}
				return in.Err()
			})
		},
	}
}
