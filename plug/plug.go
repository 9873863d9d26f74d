// Package plug is the Go SDK for plugs: programs that attach to a Receptor core
// over a Unix socket and give it backends, proxies and workers.
//
// A plug describes its kinds of items and brings one function, Run, that makes
// one item so. The SDK does the rest: it finds the core, attaches and attaches
// again, checks and diffs the configuration, starts and stops items, reports
// their states, and carries bytes between a plug's sockets and the core.
package plug

import (
	"context"
	"errors"
	"net"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/wire"
)

var errStub = errors.New("not built yet")

// Plug describes a plug and what it does.
type Plug struct {
	Program string      // "receptor-backend-tcp"; the name on the node is this without "receptor-"
	Version string      // for people
	Kinds   []wire.Kind // the kinds of items it claims; roles are taken from here

	// Check, if set, looks at an item beyond its schema, before anything is
	// applied. It must not block.
	Check func(*Item) error

	// Run makes one item so, until the context is done. It reports its state by
	// Item.Up and Item.Degraded. When it returns an error the item is failed with
	// that reason, and is run again after a back-off (1 s to 30 s, jittered);
	// when it returns nil before the context is done the item stays as it is.
	// A lost core does not end it: the core may come back.
	Run func(context.Context, *Item) error
}

// Options say how a plug is run.
type Options struct {
	Name   string       // on the node; empty: from Program
	Logger hclog.Logger // nil: none

	// Dial opens a connection to the core; each session and data connection
	// calls it. Required.
	Dial func(context.Context) (net.Conn, error)
}

// Run attaches p to its core and serves until ctx is done; then it stops all
// items and returns nil. It dials again with jittered back-off, 100 ms to 5 s,
// whenever the core goes. A refusal that will never change (class fix or
// never) is logged once and tried again every 5 s.
func Run(ctx context.Context, p *Plug, o Options) error { return errStub }

// Item is one configured item, for as long as it is configured unchanged.
type Item struct {
	ID   string // kind and key parameters
	Kind string
	Log  hclog.Logger
}

// Decode unmarshals the item's parameters into v, a struct with json tags.
func (it *Item) Decode(v any) error { return errStub }

// Up reports that the item works, with the address that it is bound to or dials.
func (it *Item) Up(addr string) {}

// Degraded reports that the item goes on, but something is wrong.
func (it *Item) Degraded(addr string, err error) {}

// LinkInfo describes a link for status and logs.
type LinkInfo struct {
	Dir           string // "in" or "out"
	Local, Remote string
	Medium        string
}

// OpenLink opens a data connection that carries link framing, for a plug that
// makes frames itself. The caller owns the connection.
func (it *Item) OpenLink(ctx context.Context, i LinkInfo) (net.Conn, error) { return nil, errStub }

// CarryLink gives a connected stream socket to the core as a link and returns
// when the link has ended, nil if it ended in order. It owns sock from now on.
// Bytes are relayed here; hand-off will take this same call.
func (it *Item) CarryLink(ctx context.Context, sock net.Conn, i LinkInfo) error { return errStub }

// Target is a service on a node.
type Target struct{ Node, Service string }

// Dial opens a stream through the mesh; the caller owns it.
func (it *Item) Dial(ctx context.Context, t Target) (*recordconn.Conn, error) { return nil, errStub }

// CarryDial opens a stream through the mesh and joins it to an application's
// socket: half-closes are kept, a reset on one side is a reset on the other. It
// returns when both directions have ended, or with what went wrong. It owns app
// from now on; when the stream cannot be opened app is reset.
func (it *Item) CarryDial(ctx context.Context, app net.Conn, t Target) error { return errStub }

// Service is a stream service that a plug serves on its node.
type Service struct {
	Name      string
	Advertise bool
	Tags      map[string]string
}

// Serve binds a service and calls target for each stream that arrives; the
// returned socket is joined to it as by CarryDial. An error from target refuses
// the stream. It returns when ctx is done (nil, after UNBIND) or the service
// cannot be bound; a lost core is waited for.
func (it *Item) Serve(ctx context.Context, s Service, target func(context.Context, Target) (net.Conn, error)) error {
	return errStub
}
