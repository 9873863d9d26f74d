package session

import (
	"context"
	"net"
	"time"
)

// longAgo is a deadline that has passed, to unblock reads and writes.
var longAgo = time.Unix(1, 0)

// within runs do, whose reads and writes on conn fail once ctx is done; the
// error is that of ctx then. Else conn has no deadlines when it returns.
func within(ctx context.Context, conn net.Conn, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(longAgo) })
	err := do()
	if !stop() {
		return ctx.Err()
	}
	return err
}

// withDefault gives ctx a deadline if it has none.
func withDefault(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}
