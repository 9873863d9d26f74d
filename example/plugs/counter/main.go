// The counter program is a worker with a service of its own: its units count, and
// whoever dials the service on the mesh is told how far each is.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/plugcmd"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
	"github.com/project-receptor/receptor/plug/workfunc"
)

func main() {
	os.Exit(plugcmd.Main(&plug.Plug{
		Program: "receptor-worker-counter", Run: plug.With(run),
		Kinds: []wire.Kind{{Kind: "work-counter", Role: wire.RoleWorker, Help: "count, and tell on a service how far", Params: []wire.Param{
			{Name: "dir", Type: schema.TypePath, Key: true, Required: true, Bare: true, Help: "where it notes its units"},
			{Name: "service", Type: schema.TypeService, Default: "counter", Help: "the service"},
		}}},
		Roles: []string{wire.RoleStream}, // for the service
	}))
}

// board is how far the units are, by their IDs.
type board struct{ units sync.Map }

// run offers the type of work "count", and the service, until ctx is done or one fails.
func run(ctx context.Context, it *plug.Item, p struct{ Dir, Service string }) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b := new(board)
	served := make(chan error, 1)
	go func() {
		defer cancel()
		served <- it.Serve(ctx, plug.Service{Name: p.Service, Advertise: true, Tags: map[string]string{"type": "counter"}}, b.show)
	}()
	err := workfunc.Serve(ctx, it, p.Dir, plug.WorkType{Name: "count", Params: true}, b.count)
	cancel()
	return errors.Join(err, <-served)
}

// count counts to the number in the unit's payload, with pauses if it has that parameter.
func (b *board) count(ctx context.Context, u *workfunc.Unit) error {
	var to int
	if _, err := fmt.Fscan(u.Stdin, &to); err != nil {
		return fmt.Errorf("the payload is no number: %w", err)
	}
	var pause time.Duration
	if text := u.Params["pause"]; text != "" {
		var err error
		if pause, err = time.ParseDuration(text); err != nil {
			return err
		}
	}
	defer b.units.Delete(u.Unit)
	for n := 1; n <= to; n++ {
		if _, err := fmt.Fprintln(u, n); err != nil {
			return err
		}
		b.units.Store(u.Unit, fmt.Sprintf("%d of %d", n, to))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	return nil
}

// show returns a socket from which a stream reads how far the units are.
func (b *board) show(context.Context, plug.Target) (net.Conn, error) {
	theirs, ours, err := socket.Pair()
	if err != nil {
		return nil, err
	}
	text := ""
	b.units.Range(func(unit, far any) bool {
		text += fmt.Sprintf("%s: %s\n", unit, far)
		return true
	})
	go func() {
		_, _ = io.WriteString(ours, text) // who does not want it may go
		_ = ours.Close()
	}()
	return theirs, nil
}
