package backendtcp

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/project-receptor/receptor/plug"
)

const (
	// dialTimeout bounds one attempt to connect, all addresses of the name together.
	dialTimeout = 15 * time.Second

	// The pauses between attempts. Nodes that lost the same peer come back at
	// different times; none waits longer than legacy nodes do.
	redialFirst = 500 * time.Millisecond
	redialMost  = 20 * time.Second

	// settled is how long a link must have lived for the next attempt to be as
	// prompt as the first: a peer that accepts and rejects is not hurried.
	settled = time.Minute
)

var errLinkEnded = errors.New("the link has ended")

// keepLink makes a link and, with redial, makes it again whenever it ends.
func keepLink(ctx context.Context, it *plug.Item, p peerParams) error {
	dialer := net.Dialer{Timeout: dialTimeout}
	dialer.SetMultipathTCP(false) // its sockets cannot be handed to a core as TCP
	backoff := plug.Backoff{Min: redialFirst, Max: redialMost}
	for {
		if it.Attached(ctx) != nil {
			return nil
		}
		started := time.Now()
		sock, err := dialer.DialContext(ctx, "tcp", p.Address)
		if err == nil {
			it.Log.Info("connected", "address", p.Address)
			it.Up(p.Address)
			err = carry(ctx, it, sock, "out")
			if err == nil {
				err = errLinkEnded
			}
		} else if ctx.Err() == nil {
			it.Log.Warn("cannot connect", "error", err)
		}
		if ctx.Err() != nil {
			return nil
		}
		it.Degraded(p.Address, err)
		if !p.Redial {
			return nil
		}
		if time.Since(started) > settled {
			backoff.Reset()
		}
		if backoff.Wait(ctx) != nil {
			return nil
		}
	}
}
