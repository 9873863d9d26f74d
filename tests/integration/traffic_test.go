package integration

import (
	"context"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// loop is connections to an address that echoes, one after the other.
type loop struct{ *lab.Loop }

func startLoop(ctx context.Context, addr string) *loop {
	return &loop{lab.StartLoop(ctx, lab.DialTo(addr))}
}

// pause is between looks at a counter.
const pause = lab.PollEvery / 10

// end ends the loop: resets are all the failures that may have been, and at most
// so many.
func (l *loop) end(t *testing.T, resets int) {
	t.Helper()
	if err := l.End(); err != nil {
		t.Errorf("of %d connections: %v", l.Count.Load(), err)
	}
	if l.Resets > resets {
		t.Errorf("of %d connections %d were reset, at most %d may be", l.Count.Load(), l.Resets, resets)
	}
	t.Logf("%d connections, %d of them reset, the slowest took %v", l.Count.Load(), l.Resets, l.Slowest.Round(time.Millisecond))
}

// bulk is a transfer through an echo.
type bulk struct{ *lab.Bulk }

func startBulk(ctx context.Context, t *testing.T, addr string) *bulk {
	t.Helper()
	c, err := lab.DialWait(ctx, addr)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	end, _ := ctx.Deadline()
	must(t, c.SetDeadline(end))
	return &bulk{lab.StartBulk(c)}
}

// end ends the transfer in order: whatever was sent has come back, and the end.
func (b *bulk) end(t *testing.T) {
	t.Helper()
	if err := b.End(); err != nil {
		t.Errorf("bulk stream: %v", err)
	}
	t.Logf("bulk stream: %d MiB, longest pause %v", b.Bytes.Load()>>20, b.Pause.Round(time.Millisecond))
}
