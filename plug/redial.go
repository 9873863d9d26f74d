package plug

import (
	"context"
	"errors"
	"time"
)

const (
	// The bounds of the pauses between attempts, of which any part is as likely:
	// nodes that lost the same peer come back at different times. None waits longer
	// than legacy nodes do.
	redialFirst = 500 * time.Millisecond
	redialMost  = 20 * time.Second
)

// errLinkEnded is why a link is not there that ended in order.
var errLinkEnded = errors.New("the link has ended")

// KeepLink makes a link to address by link, which returns when it has ended, and
// with redial makes it again then, after a pause: until ctx is done. A link that
// an earlier process has handed over, and that lives, is waited for first. The
// item is degraded in between; that it is up is link's to report.
func (it *Item) KeepLink(ctx context.Context, address string, redial bool, link func(context.Context) error) {
	backoff := Backoff{Min: redialFirst, Max: redialMost, Full: true}
	for it.Attached(ctx) == nil {
		started := time.Now()
		err := it.linkOnce(ctx, address, link)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errLinkEnded
		}
		it.Degraded(address, err)
		if !redial {
			return
		}
		if time.Since(started) > settled { // a peer that accepts and rejects is not hurried
			backoff.Reset()
		}
		if backoff.Wait(ctx) != nil {
			return
		}
	}
}

// linkOnce waits for the end of the link that lives, or else of one that it makes.
func (it *Item) linkOnce(ctx context.Context, address string, link func(context.Context) error) error {
	if len(it.Live()) == 0 {
		return link(ctx)
	}
	it.Log.Info("linked still", "address", address)
	it.Up(address)
	if err := it.AwaitLive(ctx); err != nil {
		return err
	}
	it.Log.Info("link ended", "remote", address)
	return nil
}
