package plughost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

// Item is one configured object that is not the core's own: it waits for a plug
// that claims its kind.
type Item struct {
	Kind   string         // as the user wrote it
	Params map[string]any // as the user wrote them, of any source
	Label  string         // where it was written, for messages
}

// ItemStatus is the state of one item.
type ItemStatus struct {
	Item  string `json:"item"`
	Kind  string `json:"kind"`
	State string `json:"state"` // waiting, up, degraded, failed
	Addr  string `json:"addr,omitempty"`
	Err   string `json:"err,omitempty"` // why, or what it waits for
	Plug  string `json:"plug,omitempty"`

	Warning string `json:"warning,omitempty"` // what is open to others though it works
}

// item is one configured item and whom it belongs to now. All but raw is
// computed by Host.resolve and guarded by Host.mu.
type item struct {
	raw Item

	owner     *guest // who claims its kind; nil: nobody
	lastOwner string // the program that had it before
	kind      *wire.Kind
	id        string // kind and key parameters; without an owner what the user wrote
	mistake   string // why it is not sent
	params    json.RawMessage
	link      netceptor.LinkConfig // role link: the policy parameters
	tls       itemTLS
	work      workPolicy // role worker: the policy parameters
}

// SetItems replaces the configuration; plugs get what changed. It copies the
// items, but not what their parameters point to.
func (h *Host) SetItems(raw []Item) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.items
	h.items = make([]*item, len(raw))
	for i, r := range raw {
		r.Params = maps.Clone(r.Params)
		it := &item{raw: r}
		for _, o := range old {
			if strings.EqualFold(o.raw.Kind, r.Kind) {
				it.lastOwner = o.lastOwner
			}
		}
		h.items[i] = it
	}
	h.resolve()
}

// Items returns the states of all items, in the order of the configuration.
func (h *Host) Items() []ItemStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]ItemStatus, len(h.items))
	for i, it := range h.items {
		out[i] = it.status()
	}
	return out
}

// resolve gives every item to the plug that claims its kind, finds what is
// wrong with it, and tells the plugs whose set has changed. Callers hold mu.
func (h *Host) resolve() {
	first := make(map[string]*item)
	sets := make(map[*guest][]wire.ConfigItem)
	for _, it := range h.items {
		it.match(h)
		if it.owner == nil || it.mistake != "" {
			continue
		}
		if f := first[it.id]; f != nil {
			it.mistake = "same as " + f.name()
			continue
		}
		first[it.id] = it
		if r, ok := it.owner.refused[it.id]; !ok || r.params != string(it.params) {
			sets[it.owner] = append(sets[it.owner], wire.ConfigItem{Item: it.id, Kind: it.kind.Kind, Params: it.params})
		}
	}
	for _, g := range h.guests {
		if g.superseded {
			continue // it finishes what it has, and would drop it with its items
		}
		g.want(sets[g])
		g.reoffer()
		maps.DeleteFunc(g.refused, func(id string, _ refusal) bool { return first[id] == nil || first[id].owner != g })
	}
	h.endOrphans(first)
	h.notify()
}

// claims returns the plug that claims a kind, by that name or as an alias; nil:
// none does. Callers hold mu.
func (h *Host) claims(kind string) *guest {
	for _, g := range h.guests {
		if schema.Find(g.kinds, kind) != nil {
			return g
		}
	}
	return nil
}

// match finds the owner of the item and checks the item against its schema.
func (it *item) match(h *Host) {
	it.owner, it.kind, it.params, it.mistake, it.link, it.tls, it.work = nil, nil, nil, "", netceptor.LinkConfig{}, itemTLS{}, workPolicy{}
	it.id = it.raw.Label
	if it.id == "" {
		it.id = strings.ToLower(it.raw.Kind)
	}
	if it.owner = h.claims(it.raw.Kind); it.owner == nil {
		return
	}
	it.kind, it.lastOwner = schema.Find(it.owner.kinds, it.raw.Kind), it.owner.hello.Program
	values, errs := schema.Check(it.kind, it.raw.Kind, it.name(), it.raw.Params)
	if len(errs) > 0 {
		it.mistake = strings.ReplaceAll(errors.Join(errs...).Error(), "\n", "; ")
		return
	}
	it.id = schema.Identity(it.kind, values)
	it.link = takePolicy(it.kind, values)
	var err error
	if it.work, err = takeWorkPolicy(it.kind, values); err != nil {
		it.mistake = it.name() + ": " + err.Error()
		return
	}
	if it.tls, err = h.takeTLS(it.kind, values); err != nil {
		it.mistake = it.name() + ": " + err.Error()
		return
	}
	it.tls.appHost = hostOf(it.kind, values)
	it.link.TLSServer, it.link.TLSClient, it.link.TLSHost = it.tls.server, it.tls.client, hostOf(it.kind, values)
	if it.params, err = json.Marshal(values); err != nil {
		it.mistake = it.name() + ": " + err.Error()
	}
}

// name is what the user calls the item.
func (it *item) name() string {
	if it.raw.Label != "" {
		return it.raw.Label
	}
	return it.raw.Kind
}

// status computes the state from what is known now. Callers hold mu.
func (it *item) status() ItemStatus {
	s := ItemStatus{Item: it.id, Kind: strings.ToLower(it.raw.Kind), State: wire.StateWaiting}
	if it.owner == nil {
		s.Err = "waiting for a plug that claims " + s.Kind
		if it.lastOwner != "" {
			s.Err += ": " + it.lastOwner + " has gone"
		} else if program := ProgramFor(s.Kind); program != "" {
			s.Err += ": install " + program
		}
		return s
	}
	g := it.owner
	s.Kind, s.Plug = it.kind.Kind, g.hello.Name
	if it.mistake != "" {
		s.State, s.Err = wire.StateFailed, it.mistake
		return s
	}
	if r, ok := g.refused[it.id]; ok && r.params == string(it.params) {
		s.State, s.Err = wire.StateFailed, r.why
		return s
	}
	r, ok := g.reported[it.id]
	switch {
	case ok:
		s.State, s.Addr, s.Err = r.State, r.Addr, r.Err
	case g.configErr != "":
		s.Err = g.hello.Name + " did not take its configuration: " + g.configErr
	default:
		s.Err = "waiting for " + g.hello.Name + " to report"
	}
	if it.kind.Role == wire.RoleLink && ok {
		host, secure := it.link.TLSHost, false
		if host == "" {
			host, secure = hostIn(s.Addr)
		}
		if !secure || it.tls.profile != nil {
			s.Warning = it.tls.warning(host)
		}
	}
	if g.stalled && s.State == wire.StateUp {
		s.State, s.Err = wire.StateDegraded, g.hello.Name+" does not answer"
	}
	return s
}

// notify wakes whoever waits for a change. Callers hold mu.
func (h *Host) notify() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// Changed returns a channel that is closed with the next change of anything
// that Items and Plugs report, but for the number of streams. Take it before looking, so that no change is
// missed.
func (h *Host) Changed() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed
}

// WaitFor waits until the items are as wanted: it calls ok now and after each
// change, until it says yes. The error is that of the context, or matches
// net.ErrClosed.
func (h *Host) WaitFor(ctx context.Context, ok func([]ItemStatus) bool) error {
	for {
		changed := h.Changed()
		if ok(h.Items()) {
			return nil
		}
		select {
		case <-changed:
		case <-h.ctx.Done():
			return fmt.Errorf("wait for items: the host is closed: %w", net.ErrClosed)
		case <-ctx.Done():
			return fmt.Errorf("wait for items: %w", context.Cause(ctx))
		}
	}
}

// waitGrace is how long an item must have waited before the log says so: for a
// moment every item waits, whenever a node starts or a plug is replaced.
const waitGrace = time.Second

// logChanges logs the states of the items, each change once, until the host
// closes. A state that lasts for a blink may pass unseen.
func (h *Host) logChanges() {
	type sighting struct {
		status ItemStatus
		since  time.Time
	}
	logged := make(map[string]ItemStatus)
	waiting := make(map[string]sighting) // not logged yet
	for {
		changed := h.Changed()
		now := make(map[string]ItemStatus)
		again := time.Duration(math.MaxInt64)
		for _, name := range h.states(now) {
			s := now[name]
			if s.State == wire.StateWaiting && s != logged[name] {
				if waiting[name].status != s {
					waiting[name] = sighting{s, time.Now()}
				}
				if left := waitGrace - time.Since(waiting[name].since); left > 0 {
					again = min(again, left)
					continue
				}
			}
			delete(waiting, name)
			if s != logged[name] {
				h.logState(s)
				logged[name] = s
			}
		}
		gone := func(name string) bool { _, here := now[name]; return !here }
		maps.DeleteFunc(logged, func(name string, _ ItemStatus) bool { return gone(name) })
		maps.DeleteFunc(waiting, func(name string, _ sighting) bool { return gone(name) })
		timer := time.NewTimer(again)
		select {
		case <-changed:
		case <-timer.C:
		case <-h.ctx.Done():
		}
		timer.Stop()
		if h.ctx.Err() != nil {
			return
		}
	}
}

// states fills in the states of all items, under names that last while plugs
// come and go, and returns those in the order of the configuration.
func (h *Host) states(m map[string]ItemStatus) (names []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, it := range h.items {
		name := strings.ToLower(it.raw.Kind) + " " + it.raw.Label
		for _, twice := m[name]; twice; _, twice = m[name] {
			name += "'"
		}
		m[name] = it.status()
		names = append(names, name)
	}
	return names
}

func (h *Host) logState(s ItemStatus) {
	level := hclog.Info
	if s.State == wire.StateFailed || s.State == wire.StateDegraded || s.Warning != "" {
		level = hclog.Warn
	}
	args := []any{"item", s.Item, "state", s.State}
	for _, a := range []struct{ key, value string }{{"plug", s.Plug}, {"addr", s.Addr}, {"error", s.Err}, {"warning", s.Warning}} {
		if a.value != "" {
			args = append(args, a.key, a.value)
		}
	}
	h.log.Log(level, "item state", args...)
}
