package plug

import (
	"context"
	"fmt"
)

// RunFunc makes one item so: see Plug.Run.
type RunFunc func(context.Context, *Item) error

// ByKind is the Run of a plug of several kinds: runs has one for each.
func ByKind(runs map[string]RunFunc) RunFunc {
	return func(ctx context.Context, it *Item) error {
		run := runs[it.Kind]
		if run == nil {
			return fmt.Errorf("this plug does not say how to run items of kind %s", it.Kind)
		}
		return run(ctx, it)
	}
}

// With is a Run that takes the item's parameters, which Item.Decode puts into a P.
func With[P any](run func(context.Context, *Item, P) error) RunFunc {
	return func(ctx context.Context, it *Item) error {
		var p P
		if err := it.Decode(&p); err != nil {
			return err
		}
		return run(ctx, it, p)
	}
}
