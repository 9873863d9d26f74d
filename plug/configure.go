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
	r.links.configured(c.Items, !a.told, r.has)
	a.told = true
	want := make(map[string]*Item, len(c.Items))
	var result wire.ConfigResult
	for _, ci := range c.Items {
		it, err := r.check(ci)
		switch {
		case err != "":
		case want[it.ID] != nil:
			err = "is configured twice"
		default:
			it.greet(ci.Greeting) // that of the running one, too: the core may be another
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

// has reports whether the plug runs an item.
func (r *runner) has(item string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.items[item] != nil
}

// check makes an item of its configuration, or says what is wrong with that.
func (r *runner) check(c wire.ConfigItem) (it *Item, problem string) {
	i := slices.IndexFunc(r.plug.Kinds, func(k wire.Kind) bool { return k.Kind == c.Kind })
	if i < 0 {
		return nil, "kind " + c.Kind + " is not one of this plug"
	}
	params, err := normalise(c.Params)
	if err != nil {
		return nil, err.Error()
	}
	if problem := coreLacksTLS(&r.plug.Kinds[i], params); problem != "" {
		return nil, problem
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

// coreLacksTLS says why an item cannot be that names a profile of TLS: a core that
// can speak it takes the parameter for itself, or puts what the profile says in
// its place, and without it the item would run in the open.
func coreLacksTLS(k *wire.Kind, params json.RawMessage) string {
	var given map[string]any
	if json.Unmarshal(params, &given) != nil {
		return "" // for whoever decodes them to tell
	}
	for _, p := range k.Params {
		name := given[p.Name]
		if _, told := name.(map[string]any); p.PlugTLS != "" && told {
			continue
		}
		if p.Profile() && name != nil && name != "" {
			return "parameter " + p.Name + ": this core is too old to speak TLS"
		}
	}
	return ""
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
	it.relays, it.cut = context.WithCancel(it.carry)
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
