package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// Dial makes one connection to an application that echoes.
type Dial func(context.Context) (*net.TCPConn, error)

// DialTo dials an address.
func DialTo(addr string) Dial {
	return func(ctx context.Context) (*net.TCPConn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		return c.(*net.TCPConn), nil
	}
}

// Loop makes connections, one after the other, each with a line there and back,
// until it is ended or its context is done.
type Loop struct {
	Count atomic.Int64

	dial Dial
	stop chan struct{}
	done chan struct{}

	// Read them after End.
	Resets  int           // connections that were open, and were reset
	Failed  int           // all others that came to no good end, such as by a refusal
	Slowest time.Duration // from the dial to the end
	errs    []error       // of those that failed
}

// StartLoop starts a loop.
func StartLoop(ctx context.Context, dial Dial) *Loop {
	l := &Loop{dial: dial, stop: make(chan struct{}), done: make(chan struct{})}
	go l.run(ctx)
	return l
}

func (l *Loop) run(ctx context.Context) {
	defer close(l.done)
	for {
		select {
		case <-l.stop:
			return
		case <-ctx.Done():
			return
		default:
		}
		start := time.Now()
		err := l.once(ctx)
		l.Slowest = max(l.Slowest, time.Since(start))
		switch {
		case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
			l.Resets++
		case err != nil:
			l.Failed++
			l.errs = append(l.errs, fmt.Errorf("connection %d: %w", l.Count.Load(), err))
		}
		l.Count.Add(1)
	}
}

// once dials once: a refused connection is an error here, a reset one was open for a moment.
func (l *Loop) once(ctx context.Context) error {
	c, err := l.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if end, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(end); err != nil {
			return err
		}
	}
	return Exchange(c, "there and back again")
}

// Exchange sends text through an echo and expects it back.
func Exchange(c net.Conn, text string) error {
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != text {
		return fmt.Errorf("echo of %q is %q", text, got)
	}
	return nil
}

// lookAgain is between looks at a counter.
const lookAgain = PollEvery / 10

// More waits until that many connections were made from now on.
func (l *Loop) More(ctx context.Context, n int64) error {
	for want := l.Count.Load() + n; l.Count.Load() < want; {
		if err := Pause(ctx, lookAgain); err != nil {
			return err
		}
	}
	return nil
}

// End ends the loop and tells what went wrong but for resets, which are counted.
func (l *Loop) End() error {
	close(l.stop)
	<-l.done
	return errors.Join(l.errs...)
}

// Bulk is a transfer through an echo, without a pause and for as long as it is
// wanted. Each byte is compared when it comes back.
type Bulk struct {
	Bytes atomic.Int64  // that came back
	Done  chan struct{} // closed at its end, of whatever sort

	// Read them after Done.
	Pause time.Duration // the longest time without a byte
	Err   error

	conn *net.TCPConn
	stop chan struct{}
}

// StartBulk starts a transfer over a connection, which is the caller's to close.
func StartBulk(c *net.TCPConn) *Bulk {
	b := &Bulk{conn: c, stop: make(chan struct{}), Done: make(chan struct{})}
	sent := make(chan error, 1)
	go func() { sent <- b.send() }()
	go func() {
		defer close(b.Done)
		err := b.receive()
		if err != nil {
			b.conn.Close() // so that sending ends
		}
		b.Err = errors.Join(err, <-sent)
	}()
	return b
}

// BulkChunk is what a transfer writes at once: small, so that the connections beside it have their turn.
const BulkChunk = 16 << 10

func (b *Bulk) send() error {
	src := rand.NewChaCha8([32]byte{})
	buf := make([]byte, BulkChunk)
	for {
		select {
		case <-b.stop:
			return b.conn.CloseWrite()
		default:
		}
		_, _ = src.Read(buf) // never fails
		if _, err := b.conn.Write(buf); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
}

func (b *Bulk) receive() error {
	src := rand.NewChaCha8([32]byte{})
	got, want := make([]byte, BulkChunk), make([]byte, BulkChunk)
	for last := time.Now(); ; {
		n, err := io.ReadFull(b.conn, got)
		_, _ = src.Read(want) // never fails
		if string(got[:n]) != string(want[:n]) {
			return fmt.Errorf("receive: the bytes from %d on are others than were sent", b.Bytes.Load())
		}
		b.Bytes.Add(int64(n))
		switch {
		case n == 0 && errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("receive after %d bytes: %w", b.Bytes.Load(), err)
		}
		now := time.Now()
		b.Pause = max(b.Pause, now.Sub(last))
		last = now
	}
}

// End ends the transfer in order: whatever was sent has come back, and the end.
func (b *Bulk) End() error {
	close(b.stop)
	<-b.Done
	return b.Err
}
