package plug

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/project-receptor/receptor/plug/wire"
)

// links are those that this plug has handed over and that live: its core
// carries them. They outlive sessions and even this process: the first CONFIG of
// a session tells the whole set, CLOSED of each end.
type links struct {
	mu   sync.Mutex
	live map[string]*handed // by object

	// gone are those that this session's CLOSED has named before anybody knew
	// them: it may overtake the answer to LINK, and CONFIG. They are few.
	gone map[string]error
}

// handed is a link that was handed over.
type handed struct {
	item   string
	remote string
	ended  chan struct{} // closed when it has
	err    error         // then: why; nil: in order
}

func (l *links) attached() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = map[string]error{}
}

// opened notes a link and returns it.
func (l *links) opened(item string, o wire.Live) *handed {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.openedLocked(item, o)
}

func (l *links) openedLocked(item string, o wire.Live) *handed {
	if h := l.live[o.Object]; h != nil {
		return h
	}
	h := &handed{item: item, remote: o.Remote, ended: make(chan struct{})}
	if err, ok := l.gone[o.Object]; ok {
		delete(l.gone, o.Object)
		h.end(err)
		return h
	}
	if l.live == nil {
		l.live = map[string]*handed{}
	}
	l.live[o.Object] = h
	return h
}

// closed notes the end of a link.
func (l *links) closed(c wire.Closed) {
	var err error
	if c.Code != "" {
		err = wire.NewError(c.Code, "%s", c.Msg)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.live[c.Object]
	if h == nil {
		l.gone[c.Object] = err
		return
	}
	delete(l.live, c.Object)
	h.end(err)
}

// configured notes what a configuration says. Only the first one of a session is
// the whole truth; later ones may be older than an answer to LINK, or a CLOSED,
// and tell news only of items that the plug did not have.
func (l *links) configured(items []wire.ConfigItem, first bool, known func(item string) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	said := map[string]bool{}
	for _, it := range items {
		for _, o := range it.Live {
			said[o.Object] = true
			if first || !known(it.Item) {
				l.openedLocked(it.Item, o)
			}
		}
	}
	if !first {
		return
	}
	for object, h := range l.live {
		if !said[object] {
			delete(l.live, object)
			h.end(ErrDetached)
		}
	}
}

func (h *handed) end(err error) {
	h.err = err
	close(h.ended)
}

// wait waits for the end of the link, and says why.
func (h *handed) wait(ctx context.Context) error {
	select {
	case <-h.ended:
		return h.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// of returns an item's links.
func (l *links) of(item string) map[string]*handed {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := maps.Clone(l.live)
	maps.DeleteFunc(found, func(_ string, h *handed) bool { return h.item != item })
	return found
}

// Live returns the links of this item that were handed over and live, as those
// of an earlier process of this plug: what is linked still need not be dialled.
// It is exact once there is a core.
func (it *Item) Live() []wire.Live {
	var live []wire.Live
	for object, h := range it.runner.links.of(it.ID) {
		live = append(live, wire.Live{Object: object, Remote: h.remote})
	}
	slices.SortFunc(live, func(a, b wire.Live) int { return strings.Compare(a.Object, b.Object) })
	return live
}

// AwaitLive waits until none of the links of Live lives any more; the error is
// that of ctx.
func (it *Item) AwaitLive(ctx context.Context) error {
	for _, h := range it.runner.links.of(it.ID) {
		_ = h.wait(ctx) // why it ended is of no interest
	}
	return ctx.Err()
}
