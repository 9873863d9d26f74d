package plug

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// maxAccepted bounds the connections of one Accept that are carried at once. One
// more waits in the backlog until another ends.
const maxAccepted = 4096

// Accept accepts connections from l, which it owns, and calls each for every one
// in a goroutine of its own, until ctx is done; then it closes l, waits for them,
// and returns nil. The context that each gets lasts longer: what was accepted is
// still carried when an item is to take on nothing new.
//
// While there is no core connections wait in the backlog. An error that may pass,
// as a rule for lack of descriptors, is told to failed, and Accept goes on after a
// moment; the item is its caller's to report.
func (it *Item) Accept(ctx context.Context, l net.Listener, each func(context.Context, net.Conn), failed func(error)) error {
	closeOnce := sync.OnceFunc(func() { _ = l.Close() }) // nothing was lost by it
	defer context.AfterFunc(ctx, closeOnce)()
	defer closeOnce()

	var carried sync.WaitGroup
	defer carried.Wait()
	free := make(chan struct{}, maxAccepted)
	backoff := Backoff{Min: 5 * time.Millisecond, Max: time.Second}
	for {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		if it.Attached(ctx) != nil {
			return nil
		}
		c, err := l.Accept()
		switch {
		case err == nil:
			backoff.Reset()
			carried.Go(func() {
				defer func() { <-free }()
				each(it.carry, c)
			})
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			<-free
			failed(err)
			if backoff.Wait(ctx) != nil {
				return nil
			}
		}
	}
}
