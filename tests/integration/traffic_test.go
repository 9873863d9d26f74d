package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// loop makes connections, one after the other, each with a line there and back,
// until it is stopped or ctx is done.
type loop struct {
	stop  chan struct{}
	done  chan struct{}
	count atomic.Int64
	reset int     // connections that were open, and were reset; read after done
	errs  []error // all others that failed; read after done

	slowest time.Duration // from the dial to the end; read after done
}

func startLoop(ctx context.Context, addr string) *loop {
	l := &loop{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for {
			select {
			case <-l.stop:
				return
			case <-ctx.Done():
				return
			default:
			}
			var reset *resetError
			start := time.Now()
			err := oneConnection(ctx, addr)
			l.slowest = max(l.slowest, time.Since(start))
			switch {
			case errors.As(err, &reset):
				l.reset++
			case err != nil:
				l.errs = append(l.errs, fmt.Errorf("connection %d: %w", l.count.Load(), err))
			}
			l.count.Add(1)
		}
	}()
	return l
}

// resetError is the end of a connection that was open.
type resetError struct{ error }

// oneConnection dials once: a refused connection is an error here.
func oneConnection(ctx context.Context, addr string) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if errors.Is(err, syscall.ECONNRESET) {
		return &resetError{err} // it was open for a moment
	}
	if err != nil {
		return err
	}
	defer c.Close()
	if end, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(end); err != nil {
			return err
		}
	}
	err = exchange(c, "there and back again")
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return &resetError{err}
	}
	return err
}

// more waits until that many connections were made from now on.
func (l *loop) more(ctx context.Context, n int64) error {
	for want := l.count.Load() + n; l.count.Load() < want; {
		if err := lab.Pause(ctx, pause); err != nil {
			return err
		}
	}
	return nil
}

// pause is between looks at a counter.
const pause = lab.PollEvery / 10

// end ends the loop: resets are all the failures that may have been, and at most
// so many.
func (l *loop) end(t *testing.T, resets int) {
	t.Helper()
	close(l.stop)
	<-l.done
	if err := errors.Join(l.errs...); err != nil {
		t.Errorf("of %d connections: %v", l.count.Load(), err)
	}
	if l.reset > resets {
		t.Errorf("of %d connections %d were reset, at most %d may be", l.count.Load(), l.reset, resets)
	}
	t.Logf("%d connections, %d of them reset, the slowest took %v", l.count.Load(), l.reset, l.slowest.Round(time.Millisecond))
}

// bulk is a transfer through an echo, without a pause and for as long as it is
// wanted. Each byte is compared when it comes back.
type bulk struct {
	conn  net.Conn
	stop  chan struct{}
	done  chan struct{}
	bytes atomic.Int64  // that came back
	pause time.Duration // the longest time without a byte; read after done
	err   error         // read after done
}

func startBulk(ctx context.Context, t *testing.T, addr string) *bulk {
	t.Helper()
	c, err := lab.DialWait(ctx, addr)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	end, _ := ctx.Deadline()
	must(t, c.SetDeadline(end))
	b := &bulk{conn: c, stop: make(chan struct{}), done: make(chan struct{})}
	sent := make(chan error, 1)
	go func() { sent <- b.send(c) }()
	go func() {
		defer close(b.done)
		b.err = errors.Join(b.receive(c), <-sent)
	}()
	return b
}

// bulkChunk is small, so that the connections beside it have their turn.
const bulkChunk = 16 << 10

func (b *bulk) send(c *net.TCPConn) error {
	src := rand.NewChaCha8([32]byte{})
	buf := make([]byte, bulkChunk)
	for {
		select {
		case <-b.stop:
			return c.CloseWrite()
		default:
		}
		_, _ = src.Read(buf) // never fails
		if _, err := c.Write(buf); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
}

func (b *bulk) receive(c io.Reader) error {
	src := rand.NewChaCha8([32]byte{})
	got, want := make([]byte, bulkChunk), make([]byte, bulkChunk)
	for last := time.Now(); ; {
		n, err := io.ReadFull(c, got)
		_, _ = src.Read(want) // never fails
		if string(got[:n]) != string(want[:n]) {
			return fmt.Errorf("receive: the bytes from %d on are others than were sent", b.bytes.Load())
		}
		b.bytes.Add(int64(n))
		switch {
		case n == 0 && errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("receive after %d bytes: %w", b.bytes.Load(), err)
		}
		now := time.Now()
		b.pause = max(b.pause, now.Sub(last))
		last = now
	}
}

// end ends the transfer in order: whatever was sent has come back, and the end.
func (b *bulk) end(t *testing.T) {
	t.Helper()
	close(b.stop)
	<-b.done
	if b.err != nil {
		t.Errorf("bulk stream: %v", b.err)
	}
	t.Logf("bulk stream: %d MiB, longest pause %v", b.bytes.Load()>>20, b.pause.Round(time.Millisecond))
}
