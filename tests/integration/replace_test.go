package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// loop makes connections, one after the other, each with a line there and back,
// until it is stopped.
type loop struct {
	stop  chan struct{}
	done  chan struct{}
	count atomic.Int64
	errs  []error // read after done
}

func startLoop(ctx context.Context, addr string) *loop {
	l := &loop{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for {
			select {
			case <-l.stop:
				return
			default:
			}
			if err := oneConnection(ctx, addr); err != nil {
				l.errs = append(l.errs, fmt.Errorf("connection %d: %w", l.count.Load(), err))
			}
			l.count.Add(1)
		}
	}()
	return l
}

// oneConnection dials once: a refused connection is an error here.
func oneConnection(ctx context.Context, addr string) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if end, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(end); err != nil {
			return err
		}
	}
	return exchange(c, "there and back again")
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

func (l *loop) end() error {
	close(l.stop)
	<-l.done
	return errors.Join(l.errs...)
}

// Whatever becomes of the proxy that listens (stopped in order and started again,
// or replaced by a newer one while it runs), no connection is refused, and a
// transfer that was handed over loses no byte.
func TestReplacedProxyRefusesNothing(t *testing.T) {
	echo, err := lab.Serve(lab.Echo)
	must(t, err)
	defer echo.Close()
	p := startPair(t, echo.Addr())
	const name = "near receptor-proxy-tcp"
	for _, replace := range []struct {
		name string
		do   func()
	}{
		{"stop and start", func() {
			must(t, p.procs[name].Stop())
			p.plug("near", "receptor-proxy-tcp")
		}},
		{"takeover", func() {
			old := p.procs[name]
			p.plug("near", "receptor-proxy-tcp", "--takeover")
			must(t, p.WaitStatus(p.ctx, "near", func(s *lab.Status) bool {
				i := s.Item("tcp-server")
				for _, plug := range s.Plugs {
					if plug.PID == p.procs[name].PID() && i.State == "up" {
						return true
					}
				}
				return false
			}))
			must(t, old.Stop())
		}},
	} {
		t.Run(replace.name, func(t *testing.T) {
			steady, err := lab.DialWait(p.ctx, p.entry)
			must(t, err)
			defer steady.Close()
			must(t, exchange(steady, "before"))
			l := startLoop(p.ctx, p.entry)
			must(t, l.more(p.ctx, 20))
			replace.do()
			must(t, l.more(p.ctx, 20))
			if err := l.end(); err != nil {
				t.Errorf("of %d connections: %v", l.count.Load(), err)
			}
			must(t, exchange(steady, "after"))
			t.Logf("%d connections, none refused", l.count.Load())
		})
	}
}
