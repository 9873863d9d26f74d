package check_test

import (
	"context"
	"io"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/plugtest/check"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
	"github.com/project-receptor/receptor/plug/workfunc"
)

// units are what the good worker is given.
var units = check.Work{
	Quick: check.Unit{Payload: "quick", Output: "I was quick\n"},
	Fails: check.Unit{Payload: "fail", Code: 3},
	Long:  check.Unit{Payload: "long", Output: "I take long\n"},
}

// goodWorker is a worker as simple as it can be. spoil, if it is not nil, makes a bad
// one of it.
func goodWorker(spoil func(plug.Worker) plug.Worker) *plug.Plug {
	dir := wire.Param{Name: "dir", Type: schema.TypePath, Key: true, Required: true}
	return &plug.Plug{
		Program: "receptor-good-worker",
		Kinds:   []wire.Kind{{Kind: "good-work", Role: wire.RoleWorker, Params: []wire.Param{dir}}},
		Run: func(ctx context.Context, it *plug.Item) error {
			var p struct{ Dir string }
			if err := it.Decode(&p); err != nil {
				return err
			}
			w, err := workfunc.Open(p.Dir, it.Report, work)
			if err != nil {
				return err
			}
			defer func() { _ = w.Close() }()
			if spoil != nil {
				return it.Work(ctx, plug.WorkType{Name: "good"}, spoil(w))
			}
			return it.Work(ctx, plug.WorkType{Name: "good"}, w)
		},
	}
}

func work(ctx context.Context, u *workfunc.Unit) error {
	payload, err := io.ReadAll(u.Stdin)
	if err != nil {
		return err
	}
	switch string(payload) {
	case "fail":
		return workfunc.Exit(3)
	case "long":
		if _, err := io.WriteString(u, "I take long\n"); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	default:
		_, err := io.WriteString(u, "I was quick\n")
		return err
	}
}
