// The goworker program is a complete worker: its units write their payload in capitals.
package main

import (
	"bufio"
	"context"
	"errors"
	"os"
	"strings"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/plugcmd"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
	"github.com/project-receptor/receptor/plug/workfunc"
)

func main() {
	dir := wire.Param{Name: "dir", Type: schema.TypePath, Key: true, Required: true, Bare: true, Help: "where it notes its units"}
	os.Exit(plugcmd.Main(&plug.Plug{Program: "receptor-worker-capitals", Run: plug.With(run), Kinds: []wire.Kind{
		{Kind: "work-capitals", Role: wire.RoleWorker, Help: "have lines written in capitals", Params: []wire.Param{dir}},
	}}))
}

// run offers the type of work "capitals" until ctx is done.
func run(ctx context.Context, it *plug.Item, p struct{ Dir string }) error {
	return workfunc.Serve(ctx, it, p.Dir, plug.WorkType{Name: "capitals"}, func(ctx context.Context, u *workfunc.Unit) error {
		in := bufio.NewScanner(u.Stdin)
		for in.Scan() && ctx.Err() == nil { // done: somebody wants the unit's end
			if _, err := u.Write([]byte(strings.ToUpper(in.Text()) + "\n")); err != nil {
				return err
			}
		}
		return errors.Join(in.Err(), ctx.Err())
	})
}
