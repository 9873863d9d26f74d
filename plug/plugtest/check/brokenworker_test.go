package check_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/wire"
)

// spoiled is a worker some of whose methods are others.
type spoiled struct {
	plug.Worker
	start   func(context.Context, plug.StartUnit) (wire.Unit, error)
	stop    func(ctx context.Context, unit string, grace time.Duration) error
	release func(ctx context.Context, unit string) error
	recover func(context.Context, []wire.KnownUnit) ([]wire.Unit, error)
}

func (s *spoiled) Start(ctx context.Context, u plug.StartUnit) (wire.Unit, error) {
	if s.start == nil {
		return s.Worker.Start(ctx, u)
	}
	return s.start(ctx, u)
}

func (s *spoiled) Stop(ctx context.Context, unit string, grace time.Duration) error {
	if s.stop == nil {
		return s.Worker.Stop(ctx, unit, grace)
	}
	return s.stop(ctx, unit, grace)
}

func (s *spoiled) Release(ctx context.Context, unit string) error {
	if s.release == nil {
		return s.Worker.Release(ctx, unit)
	}
	return s.release(ctx, unit)
}

func (s *spoiled) Recover(ctx context.Context, units []wire.KnownUnit) ([]wire.Unit, error) {
	if s.recover == nil {
		return s.Worker.Recover(ctx, units)
	}
	return s.recover(ctx, units)
}

// spoil is a saboteur before a worker that spoil makes of a good one. Where it does
// not say which, the checks of the group worker are run.
func spoil(how func(w plug.Worker) *spoiled) *saboteur {
	return &saboteur{only: "worker", program: goodWorker(func(w plug.Worker) plug.Worker {
		s := how(w)
		s.Worker = w
		return s
	})}
}

// eachUnit changes the units of UNIT.
func eachUnit(how func(u map[string]any)) func(*frame, func(frame)) bool {
	return change(wire.TypeUnit, 0, func(b map[string]any) {
		units, _ := b["units"].([]any)
		for _, u := range units {
			how(u.(map[string]any))
		}
	})
}

// swallow keeps a request that which accepts from the plug, and answers {} to it.
func swallow(t wire.Type, which func(body map[string]any) bool) func(*frame, func(frame)) bool {
	return func(f *frame, answer func(frame)) bool {
		if f.Type != t || f.Flags != 0 || !which(f.body) {
			return true
		}
		answer(frame{Header: wire.Header{Type: t, Flags: wire.FlagResponse, ID: f.ID}, body: map[string]any{}})
		return false
	}
}

var brokenWorkers = []brokenPlug{
	{
		"offers for another item", wire.RoleWorker,
		&saboteur{only: "worker", toCore: change(wire.TypeWorkType, 0, set("item", "another"))},
		[]string{"worker/offer"},
	},
	{
		"another size than was written", wire.RoleWorker,
		&saboteur{only: "worker", toCore: eachUnit(func(u map[string]any) { u["out_bytes"] = 4711 })},
		[]string{"worker/start"},
	},
	{
		"no stderr in stdout", wire.RoleWorker,
		&saboteur{only: "worker", toPlug: change(wire.TypeStart, 0, set("merged", false))},
		[]string{"worker/merged"},
	},
	{
		"runs a unit again", wire.RoleWorker,
		spoil(func(w plug.Worker) *spoiled {
			return &spoiled{start: func(ctx context.Context, s plug.StartUnit) (wire.Unit, error) {
				if err := w.Release(ctx, s.Unit); err != nil {
					return wire.Unit{}, err
				}
				return w.Start(ctx, s)
			}}
		}),
		[]string{"worker/plug-restart", "worker/start-again"},
	},
	{
		"another exit code", wire.RoleWorker,
		&saboteur{only: "worker", toCore: eachUnit(func(u map[string]any) {
			if e, ok := u["exit"].(map[string]any); ok && e["code"] == 3. {
				e["code"] = 4
			}
		})},
		[]string{"worker/exit-code"},
	},
	{
		"takes units of any type", wire.RoleWorker,
		&saboteur{only: "worker", toPlug: change(wire.TypeStart, 0, set("type", "good"))},
		[]string{"worker/files-closed", "worker/unknown-type"},
	},
	{
		"runs what came without descriptors", wire.RoleWorker,
		&saboteur{only: "worker", toPlug: func(f *frame, _ func(frame)) bool {
			if f.Type == wire.TypeStart && f.FDs == 0 && f.body["type"] == "good" {
				for range 3 {
					null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
					if err != nil {
						return false
					}
					f.files = append(f.files, null)
				}
				f.FDs = 3
			}
			return true
		}},
		[]string{"worker/without-descriptors"},
	},
	{
		"keeps a unit's files", wire.RoleWorker,
		spoil(func(w plug.Worker) *spoiled {
			var mu sync.Mutex
			var kept []*os.File // closed with the last reference to it
			return &spoiled{start: func(ctx context.Context, s plug.StartUnit) (wire.Unit, error) {
				f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", s.Stdout.Fd()), os.O_WRONLY, 0)
				if err != nil {
					return wire.Unit{}, err
				}
				mu.Lock()
				kept = append(kept, f)
				mu.Unlock()
				return w.Start(ctx, s)
			}}
		}),
		[]string{"worker/files-closed"},
	},
	{
		"does not stop", wire.RoleWorker,
		spoil(func(plug.Worker) *spoiled {
			return &spoiled{stop: func(context.Context, string, time.Duration) error { return nil }}
		}),
		[]string{"worker/stop"},
	},
	{
		"is at a loss where there is nothing to stop", wire.RoleWorker,
		spoil(func(w plug.Worker) *spoiled {
			return &spoiled{stop: func(ctx context.Context, unit string, grace time.Duration) error {
				told, err := w.Recover(ctx, []wire.KnownUnit{{Unit: unit}})
				if err == nil && len(told) == 0 {
					err = wire.NewError(wire.CodeNotFound, "no such unit")
				}
				if err != nil {
					return err
				}
				return w.Stop(ctx, unit, grace)
			}}
		}),
		[]string{"worker/unknown-unit"},
	},
	{
		"does not forget", wire.RoleWorker,
		spoil(func(plug.Worker) *spoiled {
			return &spoiled{release: func(context.Context, string) error { return nil }}
		}),
		[]string{"worker/release"},
	},
	{
		"knows no unit", wire.RoleWorker,
		spoil(func(plug.Worker) *spoiled {
			return &spoiled{recover: func(context.Context, []wire.KnownUnit) ([]wire.Unit, error) { return nil, nil }}
		}),
		[]string{"worker/core-restart", "worker/plug-restart", "worker/recover"},
	},
	{
		"knows units that there are not", wire.RoleWorker,
		spoil(func(w plug.Worker) *spoiled {
			return &spoiled{recover: func(ctx context.Context, units []wire.KnownUnit) ([]wire.Unit, error) {
				told, err := w.Recover(ctx, units)
				known := make(map[string]bool)
				for _, u := range told {
					known[u.Unit] = true
				}
				for _, k := range units {
					if !known[k.Unit] {
						told = append(told, wire.Unit{Unit: k.Unit, State: wire.UnitLost})
					}
				}
				return told, err
			}}
		}),
		[]string{"worker/recover", "worker/release", "worker/without-descriptors"},
	},
	{
		"tells each core less than all", wire.RoleWorker,
		tellsOnce(),
		[]string{"worker/core-restart"},
	},
	{
		"takes units of an item that is gone", wire.RoleWorker,
		&saboteur{only: "worker", toPlug: swallow(wire.TypeConfig, func(b map[string]any) bool {
			items, _ := b["items"].([]any)
			return len(items) == 0
		})},
		[]string{"worker/item-gone"},
	},
	{
		"takes units after DRAIN", wire.RoleWorker,
		&saboteur{only: "worker", toPlug: swallow(wire.TypeDrain, func(map[string]any) bool { return true })},
		[]string{"worker/drain"},
	},
	{
		"does not say why there is no work", wire.RoleWorker,
		&saboteur{only: "worker", toCore: change(wire.TypeStatus, 0, func(b map[string]any) { item(b)["err"] = "" })},
		[]string{"worker/not-granted"},
	},
	{
		"offers what was denied again at once", wire.RoleWorker,
		&saboteur{only: "authorisation/*", program: offersAtOnce()},
		[]string{"authorisation/offer-back-off"},
	},
}

// tellsOnce keeps it from the core if a unit is told to be what it was told to be before.
func tellsOnce() *saboteur {
	var mu sync.Mutex
	told := make(map[any]any)
	return &saboteur{only: "worker/core-restart", toCore: change(wire.TypeUnit, 0, func(b map[string]any) {
		mu.Lock()
		defer mu.Unlock()
		news := []any{}
		units, _ := b["units"].([]any)
		for _, u := range units {
			u := u.(map[string]any)
			if told[u["unit"]] != u["state"] {
				told[u["unit"]] = u["state"]
				news = append(news, u)
			}
		}
		b["units"] = news
	})}
}

// offersAtOnce is a worker that does not pause.
func offersAtOnce() *plug.Plug {
	p := goodWorker(nil)
	p.Run = func(ctx context.Context, it *plug.Item) error {
		for ctx.Err() == nil {
			_ = it.Work(ctx, plug.WorkType{Name: "good"}, new(spoiled)) // it is refused, and asked again
		}
		return nil
	}
	return p
}
