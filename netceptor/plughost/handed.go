package plughost

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/project-receptor/receptor/netceptor/internal/adopted"
	"github.com/project-receptor/receptor/plug/session"
	"github.com/project-receptor/receptor/plug/wire"
)

// handed is a link or a stream whose socket a plug has handed over. It outlives
// the plug's session and process, but not the item that it belongs to.
type handed struct {
	object string
	role   string
	item   string // empty: none
	kind   string // of the item
	remote string // for people
	by     *guest // who has handed it over

	// Guarded by Host.mu.
	holder *guest // where it counts: by, or a later process of that plug
	stop   func() // ends what runs; nil: nothing yet
	ended  bool   // by end
}

// end ends the object, without waiting. Callers hold mu.
func (o *handed) end() {
	o.ended = true
	if o.stop != nil {
		o.stop()
	}
}

// end is the end of an object by somebody who does not hold mu.
func (h *Host) end(o *handed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o.end()
}

// stopBy says what ends an object from here on: a function that does not block,
// nor calls the host. It is called now if the end has been asked for already.
func (h *Host) stopBy(o *handed, stop func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o.stop = stop
	if o.ended {
		stop()
	}
}

// hold makes a handed-over object known and counts it. it may be nil. Callers
// hold mu.
func (g *guest) hold(object, role string, it *item, remote string) (*handed, error) {
	h := g.host
	if h.closed {
		return nil, errStopping()
	}
	if err := g.reserve(role); err != nil {
		return nil, err
	}
	if _, ok := h.countConn(g.cred); !ok {
		g.objects[role]--
		return nil, wire.NewError(wire.CodeLimit, "uid %d has %d connections and sockets in use", g.cred.UID, connsPerUser)
	}
	o := &handed{object: object, role: role, remote: clip(remote), by: g, holder: g}
	if it != nil {
		o.item, o.kind = it.id, it.kind.Kind
	}
	h.handed[o.object] = o
	return o, nil
}

// letGo is the counterpart of hold: the object is over.
func (h *Host) letGo(o *handed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.handed, o.object)
	o.holder.objects[o.role]--
	h.uncountConn(o.by.cred)
}

// inherit lets what an earlier process of this plug has handed over, or has had
// kept, count as its own, so that coming back gains nothing. Callers hold mu.
func (g *guest) inherit() {
	for _, o := range g.host.handed {
		if o.holder.replaced() && o.holder.hello.Name == g.hello.Name && userKey(o.holder.cred) == userKey(g.cred) {
			o.holder = g
			g.objects[o.role]++
		}
	}
	for key, k := range g.host.kept {
		if k.holder.replaced() && k.holder.hello.Name == g.hello.Name && key.user == userKey(g.cred) {
			k.holder = g
		}
	}
}

// endOrphans ends what belongs to items that are no more. Whose kind nobody
// claims at the moment may still be there. Callers hold mu.
func (h *Host) endOrphans(items map[string]*item) {
	for _, o := range h.handed {
		if o.item != "" && items[o.item] == nil && h.claims(o.kind) != nil {
			o.end()
		}
	}
	h.dropKeptOf(func(key keptKey, k *kept) bool { return items[key.item] == nil && h.claims(k.kind) != nil })
}

// live lists the links of an item that were handed over by somebody else than g
// and still live. Callers hold mu.
func (g *guest) live(item string) []wire.Live {
	var live []wire.Live
	for _, name := range sortedKeys(g.host.handed) {
		if o := g.host.handed[name]; o.role == wire.RoleLink && o.item == item && o.by != g {
			live = append(live, wire.Live{Object: o.object, Remote: o.remote})
		}
	}
	return live
}

// tellClosed tells whoever has the item now that a handed-over link has ended;
// why is nil, or io.EOF, if that was in order.
func (h *Host) tellClosed(o *handed, why error) {
	c := wire.Closed{Object: o.object}
	if why != nil && !errors.Is(why, io.EOF) {
		c.Code, c.Msg = wire.CodeGone, clip(why.Error())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, it := range h.items {
		if it.owner != nil && it.id == o.item {
			it.owner.notifyClosed(c)
			return
		}
	}
}

// notifyClosed sends CLOSED. Callers hold mu.
func (g *guest) notifyClosed(c wire.Closed) {
	if err := g.engine.Notify(wire.TypeClosed, c); err != nil {
		g.log.Debug("plug went before it heard of a link's end", "object", c.Object, "error", err)
	}
}

// adopt takes over the one socket that came with a message. It owns the files.
func (g *guest) adopt(files []*os.File, allow ...adopted.Family) (*adopted.Conn, error) {
	if !g.fdpass || len(files) != 1 {
		return nil, g.refuseFiles(files)
	}
	c, err := adopted.New(files[0], allow...)
	switch {
	case errors.Is(err, adopted.ErrNotConnected):
		return nil, wire.NewError(wire.CodeGone, "%v", err) // it was, when it was sent
	case err != nil:
		g.host.count("descriptors_refused")
		return nil, wire.NewError(wire.CodeInvalid, "%v", err)
	}
	return c, nil
}

// refuseFiles closes what came with a message that needs one descriptor, and
// says why.
func (g *guest) refuseFiles(files []*os.File) error {
	for _, f := range files {
		_ = f.Close() // nothing was written to it
	}
	if !g.fdpass {
		return wire.NewError(wire.CodeInvalid, "%s was not granted to %s", wire.FeatureFDPass, g.hello.Name)
	}
	return wire.NewError(wire.CodeInvalid, "%d descriptors came, expected one", len(files))
}

// withdrawn reports whether a plug has taken its request back. The end of its
// session does not: what it has handed over is the core's.
func (g *guest) withdrawn(ctx context.Context) bool {
	if ctx.Err() == nil {
		return false
	}
	select {
	case <-g.engine.Done():
		return false
	default:
		return true
	}
}

// answered is what a request that hands over is answered with, once it is done.
func (g *guest) answered(ctx context.Context, o *handed, opened <-chan error) (any, error) {
	var err error
	select {
	case err = <-opened:
	case <-ctx.Done():
		err = session.ErrClosed // nobody waits for the answer
	}
	if g.withdrawn(ctx) {
		g.host.end(o)
		return nil, wire.NewError(wire.CodeCanceled, "withdrawn")
	}
	if err != nil {
		return nil, err
	}
	return wire.Opened{Object: o.object}, nil
}
