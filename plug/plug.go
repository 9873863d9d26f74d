// Package plug is the Go SDK for plugs: programs that attach to a Receptor core
// over a Unix socket and give it backends, proxies and workers.
//
// A plug describes its kinds of items and brings one function, Run, that makes
// one item so. The SDK does the rest: it attaches to the core and attaches
// again, checks and diffs the configuration, starts and stops items, reports
// their states, and carries bytes between a plug's sockets and the core.
//
// Items outlive the core: when it goes they run on, and when it is back only
// what changed in the configuration is touched. What needs the core fails at
// once with ErrDetached meanwhile; Item.Attached waits for it.
package plug

import (
	"context"
	"errors"
	"net"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/plug/wire"
)

// ErrDetached is matched by the errors of whatever needs a core while there is none.
var ErrDetached = errors.New("no core is attached")

// Plug describes a plug and what it does.
type Plug struct {
	Program string      // "receptor-backend-tcp"; the name on the node is this without "receptor-"
	Version string      // for people
	Kinds   []wire.Kind // the kinds of items it claims; roles are taken from here

	// Roles are those that it asks for beside those of its kinds.
	Roles []string

	// Check, if set, looks at an item of one of these kinds beyond its schema,
	// before anything is applied. It must not block.
	Check func(*Item) error

	// Run makes one item so, until the context is done. It reports its state by
	// Item.Up and Item.Degraded. When it returns an error the item is failed with
	// that reason, and is run again after a back-off (1 s to 30 s, jittered);
	// when it returns nil before the context is done the item stays as it is.
	// A lost core does not end it: the core may come back.
	//
	// When the context is done Run takes on nothing new, waits for what it
	// carries and returns. Whether that is cut off or may finish is not its
	// business: Carry and Serve know.
	//
	// It gets items of these kinds only: ByKind and With make it of functions for
	// each.
	Run func(context.Context, *Item) error
}

// Options say how a plug is run.
type Options struct {
	Name   string       // on the node; empty: from Program
	Logger hclog.Logger // nil: none

	// Dial opens a connection to the core; each session and data connection
	// calls it, from several goroutines. Required.
	Dial func(context.Context) (net.Conn, error)

	// NoHandoff has the plug relay all bytes, though it could hand sockets over.
	NoHandoff bool

	// Takeover has the plug take over from another process that is attached under
	// its name, by the same user: that one takes on nothing new from then on, and
	// can be stopped. It is asked for once, not when the plug attaches again.
	Takeover bool

	// Leave, if set, has the plug end in its own time when it is closed: it takes on
	// nothing new, attaches to no core any more, and ends what it relays as links, which
	// form again elsewhere. Run returns when the streams that it relays have ended, or
	// after five minutes.
	Leave <-chan struct{}

	// OnAttach, if set, is told the node's ID when the core has welcomed the
	// plug, and "" when it is gone. It must not block.
	OnAttach func(node string)
}
