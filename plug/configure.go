package plug

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/project-receptor/receptor/plug/wire"
)

// configure checks a configuration, has it applied if nothing is wrong with it,
// and answers. What did not change is not touched.
func (r *runner) configure(a *attachment, c wire.Config) wire.ConfigResult {
	r.apply.Lock()
	defer r.apply.Unlock()
	if c.Revision < a.revision { // overtaken by a newer one
		return wire.ConfigResult{}
	}
	want := make(map[string]*Item, len(c.Items))
	var result wire.ConfigResult
	for _, ci := range c.Items {
		it, err := r.check(ci)
		switch {
		case err != "":
		case want[it.ID] != nil:
			err = "is configured twice"
		default:
			want[it.ID] = it
			continue
		}
		result.Errors = append(result.Errors, wire.ItemError{Item: ci.Item, Msg: err})
	}
	var fresh []*Item
	if len(result.Errors) == 0 {
		a.revision = c.Revision
		fresh = r.replace(want)
	}
	// Whoever waits for this core may go on: those who were to go have gone.
	r.setCore(nil, a)
	for _, it := range fresh {
		go it.run() // closes it.done, which replace or close waits for
	}
	r.statusChanged()
	return result
}

// check makes an item of its configuration, or says what is wrong with that.
func (r *runner) check(c wire.ConfigItem) (it *Item, problem string) {
	if !slices.ContainsFunc(r.plug.Kinds, func(k wire.Kind) bool { return k.Kind == c.Kind }) {
		return nil, "kind " + c.Kind + " is not one of this plug"
	}
	params, err := normalise(c.Params)
	if err != nil {
		return nil, err.Error()
	}
	r.mu.Lock()
	running := r.items[c.Item]
	r.mu.Unlock()
	if running != nil && running.same(c, params) {
		return running, ""
	}
	it = r.newItem(c, params)
	if r.plug.Check != nil {
		if err := r.plug.Check(it); err != nil {
			return nil, err.Error()
		}
	}
	return it, ""
}

func (r *runner) newItem(c wire.ConfigItem, params json.RawMessage) *Item {
	it := &Item{
		ID:     c.Item,
		Kind:   c.Kind,
		Log:    r.log.With("item", c.Item),
		params: params,
		runner: r,
		dials:  make(chan struct{}, wire.MaxOpensPerItem),
		done:   make(chan struct{}),
		status: wire.ItemStatus{Item: c.Item, State: wire.StateWaiting},
	}
	it.carry, it.stop = context.WithCancel(context.Background())
	it.accept, it.drain = context.WithCancel(it.carry)
	return it
}

// replace makes want the items, stops those that are not in it and waits for
// them, as the new ones may need their ports. It returns those to be started.
func (r *runner) replace(want map[string]*Item) (fresh []*Item) {
	r.mu.Lock()
	if r.closing {
		r.mu.Unlock()
		return nil
	}
	before := r.items
	r.items = want
	r.mu.Unlock()
	var gone []*Item
	for id, it := range before {
		if want[id] != it {
			it.stop()
			gone = append(gone, it)
		}
	}
	for _, it := range gone {
		<-it.done
	}
	for id, it := range want {
		if before[id] != it {
			fresh = append(fresh, it)
		}
	}
	return fresh
}
