package client

import (
	"context"
	"errors"
	"iter"
)

// WatchOptions say what is watched. The zero value is all units, from the beginning.
type WatchOptions struct {
	Since uint64 // Seq of the last event that is known; 0: tell of all units first
	Unit  string // only this one

	// Submissions has only units told of whose submission begins like that, and also
	// that there are none: Begun is then called at once with each conversation.
	Submissions string
	Begun       func()
}

// Event is some units that have changed: as they are now, so whoever is slow may miss
// what they were in between. History has it.
type Event struct {
	Seq   uint64   `json:"seq"` // where to go on
	Units []Status `json:"units"`
}

// Watch tells of every change, until ctx is done or nobody wants more. After a restart
// of the node all units come again. That the node of a unit goes or comes back is a
// change, too. The last error ends it.
func (c *Client) Watch(ctx context.Context, o WatchOptions) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		stop := errors.New("no more is wanted")
		err := c.persist(ctx, func(t *try) error {
			a := args{Sub: "watch", Since: o.Since, Unit: o.Unit, Submissions: o.Submissions}
			if err := c.sign(ctx, &a); err != nil {
				return err
			}
			v, err := c.begin(ctx)
			if err != nil {
				return err
			}
			defer v.close()
			if err := v.send(a); err != nil {
				return err
			}
			for begun := false; ; begun = true {
				raw, event, err := v.answer(watchSilence)
				if err == nil && !event {
					err = errors.New("read answer: the node has stopped telling")
				}
				if err != nil {
					return err
				}
				var e Event
				if err := decode(raw, &e); err != nil {
					return err
				}
				if o.Begun != nil && !begun {
					o.Begun()
				}
				o.Since, t.answered, t.progress = e.Seq, true, true
				if len(e.Units) > 0 && !yield(e, nil) { // none: it only says that it is there
					return stop
				}
			}
		})
		if !errors.Is(err, stop) {
			yield(Event{}, err)
		}
	}
}
