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

	// The bounds of the pauses between attempts, of which any part is as likely:
	// nodes that lost the same peer come back at different times. None waits longer
	// than legacy nodes do.
	redialFirst = 500 * time.Millisecond
	redialMost  = 20 * time.Second

	// settled is how long a link must have lived for the next attempt to be as
	// prompt as the first: a peer that accepts and rejects is not hurried.
	settled = time.Minute
)

var errLinkEnded = errors.New("the link has ended")

// keepLink makes a link and, with redial, makes it again whenever it ends.
func keepLink(ctx context.Context, it *plug.Item, p peerParams) error {
	backoff := plug.Backoff{Min: redialFirst, Max: redialMost, Full: true}
	for {
		if it.Attached(ctx) != nil {
			return nil
		}
		started := time.Now()
		err := linkOnce(ctx, it, p)
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

// linkOnce makes a link, unless one that was handed over lives still, and
// returns when it has ended, with the reason.
func linkOnce(ctx context.Context, it *plug.Item, p peerParams) error {
	if len(it.Live()) > 0 {
		it.Log.Info("linked still", "address", p.Address)
		it.Up(p.Address)
		if err := it.AwaitLive(ctx); err != nil {
			return err
		}
		it.Log.Info("link ended", "remote", p.Address)
		return errLinkEnded
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	dialer.SetMultipathTCP(false) // its sockets cannot be handed to a core as TCP
	sock, err := dialer.DialContext(ctx, "tcp", p.Address)
	if err != nil {
		if ctx.Err() == nil {
			it.Log.Warn("cannot connect", "error", err)
		}
		return err
	}
	it.Log.Info("connected", "address", p.Address)
	it.Up(p.Address)
	if err := carry(ctx, it, sock, "out"); err != nil {
		return err
	}
	return errLinkEnded
}
