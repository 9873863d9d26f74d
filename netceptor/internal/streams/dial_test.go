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
