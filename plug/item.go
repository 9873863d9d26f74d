package plug

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/plug/wire"
)

// settled is how long an item must have run for its next failure to count as
// the first.
const settled = time.Minute

// Item is one configured item, for as long as it is configured unchanged. Its
// methods may be called from several goroutines.
type Item struct {
	ID   string // kind and key parameters
	Kind string
	Log  hclog.Logger

	params json.RawMessage // normalised, to be compared
	runner *runner
	carry  context.Context // what is carried; ends when the item is stopped
	relays context.Context // links that are relayed; ends when the plug leaves, too
	accept context.Context // Run's: ends when it is stopped or drained
	stop   context.CancelFunc
	drain  context.CancelFunc
	cut    context.CancelFunc // of relays
	dials  chan struct{}      // a token for each DIAL that waits for its answer
	done   chan struct{}      // closed when Run has ended for good

	mu       sync.Mutex
	status   wire.ItemStatus
	greeting []byte
}

// Decode unmarshals the item's parameters into v, a struct with json tags.
func (it *Item) Decode(v any) error {
	if err := json.Unmarshal(it.params, v); err != nil {
		return fmt.Errorf("decode parameters of %s: %w", it.ID, err)
	}
	return nil
}

// role is that of the item's kind.
func (it *Item) role() string {
	for _, k := range it.runner.plug.Kinds {
		if k.Kind == it.Kind {
			return k.Role
		}
	}
	return ""
}

// Up reports that the item works, with the address that it is bound to or dials.
func (it *Item) Up(addr string) { it.report(wire.StateUp, addr, nil) }

// Degraded reports that the item goes on, but something is wrong. An empty
// address leaves the one that was reported.
func (it *Item) Degraded(addr string, err error) { it.report(wire.StateDegraded, addr, err) }

// Carried is done when the links that the item relays are to end: when it is stopped or
// the plug leaves, and not already when it is to take on nothing new, as the context of
// Run is.
func (it *Item) Carried() context.Context { return it.relays }

// Attached waits for a core; its error is that of a context that is done. Loops
// that accept connections call it before each one, so that connections wait in
// the backlog while the core is away.
func (it *Item) Attached(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err // though there is a core: a loop may look at nothing else
	}
	_, err := it.runner.await(ctx, nil)
	return err
}

// Count counts something that nobody is told of otherwise, such as a datagram that
// was dropped: status shows how often, under that name, for all items of the plug
// together. It does not block.
func (it *Item) Count(name string, n uint64) { it.runner.count(name, n) }

// Greeting returns a message that introduces the node to whoever dials it, for an
// item that accepts links over a medium without connections: who answers it is
// really there. It is nil while there is no core, and with one that is too old; the
// item is run anew when a core of the one sort follows one of the other.
func (it *Item) Greeting() []byte {
	if _, err := it.runner.attached(); err != nil {
		return nil
	}
	it.mu.Lock()
	defer it.mu.Unlock()
	return it.greeting
}

func (it *Item) greet(greeting []byte) {
	it.mu.Lock()
	defer it.mu.Unlock()
	it.greeting = greeting
}

func (it *Item) report(state, addr string, err error) {
	s := wire.ItemStatus{Item: it.ID, State: state, Addr: addr}
	if err != nil {
		s.Err = err.Error()
	}
	it.mu.Lock()
	if addr == "" {
		s.Addr = it.status.Addr
	}
	changed := it.status != s
	it.status = s
	it.mu.Unlock()
	if changed {
		it.runner.statusChanged()
	}
}

// current is the state as it is reported.
func (it *Item) current() wire.ItemStatus {
	it.mu.Lock()
	defer it.mu.Unlock()
	return it.status
}

// run runs the item until it is stopped, again and again where it fails.
func (it *Item) run() {
	defer close(it.done)
	defer it.stop()
	backoff := Backoff{Min: time.Second, Max: 30 * time.Second}
	for {
		started := time.Now()
		err := it.runner.plug.Run(it.accept, it)
		if it.accept.Err() != nil {
			return
		}
		if err == nil {
			<-it.accept.Done()
			return
		}
		if time.Since(started) > settled {
			backoff.Reset()
		}
		// The reason is in the status as well; the log has it when it is news.
		if it.current().Err != err.Error() {
			it.Log.Error("item failed", "error", err)
		}
		it.report(wire.StateFailed, "", err)
		if backoff.Wait(it.accept) != nil {
			return
		}
	}
}

// same reports whether the configuration still says what the item is, and comes from a
// core that gives it the same means.
func (it *Item) same(c wire.ConfigItem, params json.RawMessage) bool {
	it.mu.Lock()
	greeted := it.greeting != nil
	it.mu.Unlock()
	return greeted == (c.Greeting != nil) && it.Kind == c.Kind && string(it.params) == string(params) && it.accept.Err() == nil
}

// normalise brings a JSON object into a form that can be compared.
func normalise(params json.RawMessage) (json.RawMessage, error) {
	if len(params) == 0 {
		return json.RawMessage("{}"), nil
	}
	var m map[string]any
	if err := json.Unmarshal(params, &m); err != nil {
		return nil, err
	}
	if m == nil {
		return nil, errors.New("parameters are not an object")
	}
	return json.Marshal(m)
}
