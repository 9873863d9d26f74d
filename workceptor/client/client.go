package client

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/project-receptor/receptor/workceptor/internal/state"
)

// Client has work for a node. Its methods may be called concurrently, its fields must
// not change meanwhile. It holds nothing between calls, and needs no closing.
//
// Every call blocks until it has its answer, tries again when the node cannot be
// reached or is restarted, and ends with the cause of ctx when that is done. Its
// errors are those of the variables (errors.Is), *Error, *PayloadError, what Sign and
// the payload have returned, or context errors.
type Client struct {
	// Dial opens a connection to the control service of the node: DialUnix, or any
	// other way there. Each call has one of its own, and closes it; a node holds 256
	// at a time, and further calls wait.
	Dial func(ctx context.Context) (io.ReadWriteCloser, error)

	// Patience is how long a call goes on trying to reach a node that is away. 0: as
	// long as its context lasts; negative: it does not try twice.
	Patience time.Duration

	// Sign, if it is not nil, signs each request about units. The node has given out the
	// nonce for that.
	Sign func(nonce string, r Signed) (signature string, err error)

	// Lost, if it is not nil, is told why a call tries again, by whichever goroutine
	// made the call.
	Lost func(err error)
}

// DialUnix returns a Dial to the control socket of a node on this machine.
func DialUnix(path string) func(context.Context) (io.ReadWriteCloser, error) {
	return func(ctx context.Context) (io.ReadWriteCloser, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
}

// What a node tells. The fields are those of docs/work.md.
type (
	// Status is a unit. ID names it, State is where it is in its life, for people
	// Detail says the same, and Reason why it is not Succeeded, if that is not by its
	// Exit, which is nil without one. Stdout and Stderr have Size and SHA256.
	Status = state.Status
	// State has the method Final: such a unit has ended, and does not change any more.
	State = state.State
	// Exit is how the process of a unit has ended: Code, or Signal.
	Exit = state.Exit
	// TypeStatus is a type of work that the node itself runs: how many units of it may
	// run at a time (Slots; 0: any number), do (Busy), and wait (Queued).
	TypeStatus = state.TypeStatus
	// NodeStatus is another node that has run units of this one: whether it is Alive,
	// else since when that is not known (UnknownSince) and why (Reason), and how many
	// Units there have not ended.
	NodeStatus = state.NodeStatus
)

// States of a unit.
const (
	Pending   = state.Pending
	Running   = state.Running
	Succeeded = state.Succeeded
	Failed    = state.Failed
	Canceled  = state.Canceled
	Lost      = state.Lost
)

// args are the arguments of the command work in our own form.
type args struct {
	Sub  string `json:"subcommand"`
	Unit string `json:"unit,omitempty"`

	Node       string            `json:"node,omitempty"`
	Type       string            `json:"type,omitempty"`
	Params     map[string]string `json:"params,omitempty"`
	Submission string            `json:"submission,omitempty"`
	Merged     bool              `json:"merged,omitempty"`

	Stdout int64  `json:"stdout,omitempty"` // 0 is the beginning, as if it was not there
	Stderr int64  `json:"stderr,omitempty"`
	Since  uint64 `json:"since,omitempty"`
	Force  bool   `json:"force,omitempty"`

	TLSClient    string       `json:"tlsclient,omitempty"`
	TTL          string       `json:"ttl,omitempty"`
	SignWork     bool         `json:"signwork,omitempty"`
	OnDisconnect OnDisconnect `json:"on_disconnect,omitempty"`
	Disconnect   string       `json:"disconnect_time,omitempty"`

	Submissions string `json:"submissions,omitempty"`
	Deadline    string `json:"deadline,omitempty"`

	Signature string `json:"signature,omitempty"`
	Payload   string `json:"payload,omitempty"` // SHA-256 of what will come, if that is signed
}

// Listing is all units of a node without their history, the one that changed last at
// the end, the types of work that it runs, and what it knows of the other nodes that it
// has given units.
type Listing struct {
	Units    []Status     `json:"units"`
	Hidden   int          `json:"hidden"` // units that are shown only to who signs the question
	Types    []TypeStatus `json:"types"`
	Nodes    []NodeStatus `json:"nodes"`
	Draining *Draining    `json:"draining"` // nil: it takes new work
}

// List returns all units. There may be thousands: Watch tells of what changes.
func (c *Client) List(ctx context.Context) (l Listing, err error) {
	err = c.ask(ctx, args{Sub: "list"}, &l)
	return l, err
}

// Type returns a type of work that the node runs: ErrUnknownType if there is none of
// that name, which a node that has just started says after some seconds only.
func (c *Client) Type(ctx context.Context, name string) (t TypeStatus, err error) {
	err = c.ask(ctx, args{Sub: "type", Type: name}, &t)
	return t, err
}

// Status returns a unit with its history: ErrNotFound, or ErrGone, if there is none.
func (c *Client) Status(ctx context.Context, unit string) (u Status, err error) {
	err = c.ask(ctx, args{Sub: "status", Unit: unit}, &u)
	return u, err
}

// Cancel has a unit end, and waits for that a little, at most 15 s. Without ended its
// worker or its node is away or slow, and the wish is kept. A unit that has ended is
// fine.
func (c *Client) Cancel(ctx context.Context, unit string) (ended bool, err error) {
	var a struct{ Ended bool }
	err = c.ask(ctx, args{Sub: "cancel", Unit: unit}, &a)
	return a.Ended, err
}

// Release has a unit end, if it has not, and the node forget it with all its files.
// Without released that has still to happen, as with Cancel. With force it is
// forgotten at once, whatever becomes of it. A unit that is gone is ErrGone or
// ErrNotFound.
func (c *Client) Release(ctx context.Context, unit string, force bool) (released bool, err error) {
	var a struct{ Released bool }
	again := false
	err = c.persist(ctx, func(*try) error {
		err := c.askOnce(ctx, args{Sub: "release", Unit: unit, Force: force}, &a)
		if again && errors.Is(err, ErrGone) {
			a.Released, err = true, nil // by the try whose answer was lost
		}
		again = true
		return err
	})
	return a.Released, err
}

// ask asks a question that may be asked twice.
func (c *Client) ask(ctx context.Context, a args, result any) error {
	return c.persist(ctx, func(*try) error { return c.askOnce(ctx, a, result) })
}

// Signed is what a signature covers.
type Signed struct {
	Command, Unit, Type string
	Params              map[string]string
	Payload             string // SHA-256, hexadecimal
	Submission          string
	Merged              bool
	Force               bool
	Submissions         string
}

// sign signs a request, if that is wanted.
func (c *Client) sign(ctx context.Context, a *args) error {
	if c.Sign == nil || a.Sub == "type" {
		return nil
	}
	v, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer v.close()
	var answer struct{ Nonce string }
	if err := v.call(args{Sub: "nonce"}, &answer); err != nil {
		return err
	}
	a.Signature, err = c.Sign(answer.Nonce, Signed{
		Command: a.Sub, Unit: a.Unit, Type: a.Type, Params: a.Params, Payload: a.Payload, Submission: a.Submission, Merged: a.Merged,
		Force: a.Force, Submissions: a.Submissions,
	})
	return err
}

func (c *Client) askOnce(ctx context.Context, a args, result any) error {
	if err := c.sign(ctx, &a); err != nil {
		return err
	}
	v, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer v.close()
	return v.call(a, result)
}

// Draining is how a node stands that takes no new work.
type Draining struct {
	Since    time.Time `json:"since"`
	Deadline time.Time `json:"deadline,omitzero"` // when what still runs is canceled; zero: never
	Left     int       `json:"left"`              // units that have not ended
}

// Drain has the node take no new work. What runs goes on; after the deadline, 0: none,
// it is canceled. The client must be on a Unix socket of the node.
func (c *Client) Drain(ctx context.Context, deadline time.Duration) (Draining, error) {
	a := args{Sub: "drain"}
	if deadline > 0 {
		a.Deadline = deadline.String()
	}
	var answer struct{ Draining Draining }
	err := c.ask(ctx, a, &answer)
	return answer.Draining, err
}

// Undrain has it take new work again.
func (c *Client) Undrain(ctx context.Context) error {
	return c.ask(ctx, args{Sub: "undrain"}, &struct{}{})
}

const (
	// firstPause precedes the next try when there was progress before. It doubles
	// up to lastPause: a node that restarts is back within about a second, and one
	// that does not come back is asked by all of its clients.
	firstPause = 10 * time.Millisecond
	lastPause  = 2 * time.Second
)

// try is what has come of one of several.
type try struct {
	answered bool // the node was there
	progress bool // and something is better than before
}

// persist tries until it succeeds, or fails in a way that another try does not mend.
// Patience begins anew when the node was there, be it in silence; the pauses, when
// there was progress.
func (c *Client) persist(ctx context.Context, once func(*try) error) error {
	pause, since := firstPause, time.Now()
	for {
		var t try
		err := once(&t)
		if t.answered {
			since = time.Now()
		}
		if t.progress {
			pause = firstPause
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case c.Patience < 0 || !errors.As(err, new(*lostError)):
			return err
		case c.Patience > 0 && time.Since(since) >= c.Patience:
			return err
		}
		if c.Lost != nil {
			c.Lost(err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}
