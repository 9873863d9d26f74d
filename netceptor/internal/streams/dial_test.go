package streams

import (
	"testing"
	"time"
)

// The far side has forgotten the connection, and nothing was sent on it since: as
// after a partition that only it has found too long. The dial itself is answered
// with a stateless reset, for which its first packet has to be large enough.
func TestDialOverForgottenConnection(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		p := newPair(t, basic)
		d, a := p.open(t)
		_, _ = d.Close(), a.Close()
		p.noneOpen(t)
		p.m.silent.Store(true)
		p.b = p.m.node(2) // the same keys, but no connections
		p.l = listen(t, p.b, "echo")
		begun := time.Now()
		d2, a2 := p.open(t)
		if took := time.Since(begun); took > handshakeTimeout {
			t.Errorf("the dial took %v: until the idle timeout", took)
		}
		_, _ = d2.Close(), a2.Close()
	})
}

// A service that accepts a stream and resets it at once says nothing about the
// connection: the stream is not dialled again, and the connection stays in use.
func TestResetAtOnceIsNotADeadConnection(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		p := newPair(t, basic)
		ctx := testContext(t)
		kept, a := p.open(t)
		incoming := make(chan int)
		go func() {
			n := 0
			for {
				s, err := accept(ctx, p.l)
				if err != nil {
					incoming <- n
					return
				}
				n++
				_ = s.Reset()
			}
		}()
		const dials = 20
		for range dials {
			d, err := p.a.Dial(ctx, p.to)
			if err == nil { // the answer came before the reset
				_ = d.Close()
				continue
			}
			wantErr(t, err, ErrReset)
		}
		_ = p.l.Close()
		if n := <-incoming; n != dials {
			t.Errorf("%d dials became %d streams", dials, n)
		}
		kept.conn.mu.Lock()
		if kept.conn.retired {
			t.Error("the connection was given up")
		}
		kept.conn.mu.Unlock()
		_, _ = kept.Close(), a.Close()
	})
}

// Connections that the far side counts as full are passed over, however many
// there are: a dial does not fail for them.
func TestDialPassesOverFullConnections(t *testing.T) {
	modes(t, func(t *testing.T, basic bool) {
		p := newPair(t, basic)
		// Streams that are over here, and never there.
		fill := (dialTries + 1) * incomingStreams
		for range fill {
			d, a := p.open(t)
			t.Cleanup(func() { _ = a.Close() })
			_ = d.Close()
		}
		p.a.mu.Lock()
		conns := p.a.pools[peer{endpoint: p.to}].conns
		if len(conns) <= dialTries {
			t.Errorf("only %d connections", len(conns))
		}
		for _, cn := range conns {
			cn.full(time.Time{}) // as a while later
		}
		p.a.mu.Unlock()
		d, a := p.open(t)
		_, _ = d.Close(), a.Close()
	})
}
