package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/project-receptor/receptor/workceptor/client"
)

const (
	// pause is how long a node that takes no units now is left alone.
	pause = time.Second

	// farewell is how long it may take to release what was submitted, once that is not
	// wanted any more.
	farewell = 30 * time.Second
)

// options are what is wanted.
type options struct {
	nodes           []string // "" is the local one
	typ, params     string
	units, parallel int
}

// controller has units run by nodes. A node takes the next one when one of its own has
// ended: so each gets as many as it can do, and none waits in a queue on a node that is
// slow.
type controller struct {
	client *client.Client
	o      options
	screen *screen

	units chan int // that nobody has yet; closed when all have ended

	mu       sync.Mutex // guards what follows
	left     int        // units that have not ended
	failures []string
	troubles map[string]bool // nodes of which it was said that they take no units
}

func newController(c *client.Client, o options, s *screen) *controller {
	k := &controller{
		client: c, o: o, screen: s,
		units: make(chan int, o.units), left: o.units, troubles: make(map[string]bool),
	}
	c.Lost = func(err error) { k.trouble(label(""), err) }
	for n := range o.units {
		k.units <- n + 1
	}
	return k
}

// run returns when all units have ended, or when ctx is done and those that there are
// have been released. It returns what has gone wrong.
func (k *controller) run(ctx context.Context) (failures []string) {
	// What has begun when ctx is done, a submission or a release, is brought to its
	// end: so nothing is left of which nobody knows.
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		k.screen.note("interrupted, releasing what runs; once more ends at once")
		time.AfterFunc(farewell, cancel)
	})
	defer stop()

	stopScreen := k.screen.start()
	var all sync.WaitGroup
	for _, node := range k.o.nodes {
		for range k.o.parallel {
			all.Go(func() { k.serve(ctx, late, node) })
		}
	}
	all.Wait()
	stopScreen()
	k.screen.summary(k.failures)
	return k.failures
}

// serve has one unit after the other run by a node.
func (k *controller) serve(ctx, late context.Context, node string) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case n, more := <-k.units:
			if !more {
				return
			}
			k.screen.begun()
			end, err := k.runUnit(ctx, late, node, n)
			switch {
			case errors.Is(err, client.ErrUnreachable), errors.Is(err, client.ErrDraining), errors.Is(err, client.ErrNoRoom):
				k.screen.putBack()
				k.trouble(label(node), err)
				k.units <- n // any node may take it
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
			case err != nil:
				k.ended(n, node, err.Error())
			case ctx.Err() != nil && !end.State.Final():
				k.screen.putBack()
			case end.State != client.Succeeded:
				k.ended(n, node, fmt.Sprintf("%s: %s", end.State, end.Detail))
			default:
				k.ended(n, node, "")
			}
		}
	}
}

// runUnit submits a unit, prints what it writes, and releases it in any case.
func (k *controller) runUnit(ctx, late context.Context, node string, n int) (end client.Status, err error) {
	job := client.Job{Node: node, Type: k.o.typ, Payload: strings.NewReader(fmt.Sprintln(n))}
	if k.o.params != "" {
		job.Params = map[string]string{"params": k.o.params}
	}
	if node != "" {
		job.OnDisconnect = client.Fail // so that a node that never comes back holds nobody up
	}
	u, err := k.client.Submit(late, job)
	if err != nil {
		return end, err
	}
	for r, e := range k.client.Responses(ctx, u.ID, client.From{}, &end) {
		if e != nil && ctx.Err() == nil {
			err = e
		} else if e == nil {
			k.screen.response(r, label(node), n)
		}
	}
	if err == nil {
		err = client.Refusal(end)
	}
	if err == nil {
		k.fine(node)
	}
	// This ends it, too. If its node is away, that is done when it is back.
	if _, e := k.client.Release(late, u.ID, false); e != nil && !errors.Is(e, client.ErrGone) {
		err = errors.Join(err, fmt.Errorf("unit %s is left behind: %w", u.ID, e))
	}
	return end, err
}

// ended notes the end of a unit; why is empty if it has succeeded.
func (k *controller) ended(n int, node, why string) {
	k.screen.ended(why == "")
	k.mu.Lock()
	defer k.mu.Unlock()
	if why != "" {
		k.failures = append(k.failures, fmt.Sprintf("unit %d on %s: %s", n, label(node), why))
	}
	if k.left--; k.left == 0 {
		close(k.units)
	}
}

// trouble says once why a node takes no units.
func (k *controller) trouble(node string, err error) {
	k.mu.Lock()
	known := k.troubles[node]
	k.troubles[node] = true
	k.mu.Unlock()
	if !known {
		k.screen.note(fmt.Sprintf("%s: %v; trying on", node, err))
	}
}

// fine says that a node takes units, and so that the local one is there.
func (k *controller) fine(node string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.troubles, label(node))
	delete(k.troubles, label(""))
}

func label(node string) string {
	if node == "" {
		return "local node"
	}
	return node
}
