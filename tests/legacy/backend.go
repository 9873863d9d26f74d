package legacy

import (
	"context"
	"net"
	"sync"
	"time"
)

// The pauses between dials: after each failure to connect, longer by half.
const (
	redialFirst = 5 * time.Second
	redialMost  = 20 * time.Second
)

// Backend makes links or accepts them, until it is closed or its node ends.
type Backend struct {
	Addr net.Addr // of a listener

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	ended bool // nothing is started any more
}

// newBackend makes a backend; at its end, end is called.
func (n *Node) newBackend(end func() error) *Backend {
	b := new(Backend)
	b.ctx, b.cancel = context.WithCancel(n.ctx)
	b.start(n, func() {
		<-b.ctx.Done()
		b.mu.Lock()
		b.ended = true
		b.mu.Unlock()
		if err := end(); err != nil {
			n.note("", "end of a backend: %v", err)
		}
	})
	return b
}

// Close ends the backend and its links, and waits for it.
func (b *Backend) Close() error {
	b.cancel()
	b.wg.Wait()
	return nil
}

// start runs f, unless the backend has ended. Its context is b.ctx; the node
// waits for it, and so does Close.
func (b *Backend) start(n *Node, f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return false
	}
	b.wg.Add(1)
	n.wg.Go(func() {
		defer b.wg.Done()
		f()
	})
	return true
}

// carry runs a link over a session until either it or the backend ends.
func (b *Backend) carry(n *Node, s Session, c LinkConfig) {
	done := n.AddLink(s, c)
	select {
	case <-done:
	case <-b.ctx.Done():
		s.Close()
		<-done
	}
}

// keep dials and carries, and with redial does so again. A connection that was
// made starts the pauses anew, whatever came of it.
func (b *Backend) keep(n *Node, c LinkConfig, redial bool, dial func(context.Context) (Session, error)) {
	pause := redialFirst
	for {
		s, err := dial(b.ctx)
		if err == nil {
			b.carry(n, s, c)
			pause = redialFirst
		} else {
			n.note("", "cannot connect: %v", err)
		}
		if !redial {
			return
		}
		select {
		case <-time.After(time.Duration(float64(pause) * n.config.RedialPace)):
		case <-b.ctx.Done():
			return
		}
		if err != nil {
			pause = min(pause*3/2, redialMost)
		}
	}
}

// nothing is the end of a backend that has no listener.
func nothing() error { return nil }
