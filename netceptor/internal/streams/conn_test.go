package streams

import (
	"errors"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// Who loses a stream since nothing comes any more learns what was said of its
// packets last, if it was said of late.
func TestSilenceIsExplained(t *testing.T) {
	t.Parallel()
	cn := &conn{c: new(Carrier)}
	const plain = "stream reset by the remote side: timeout: no recent network activity"
	for _, tc := range []struct {
		hint error
		age  time.Duration
		want string
	}{
		{nil, 0, plain},
		{errors.New("blocked by firewall of node b"), 0, plain + ": blocked by firewall of node b"},
		{errors.New("blocked by firewall of node b"), time.Hour, plain},
	} {
		if tc.hint != nil {
			cn.unreachable(tc.hint)
			cn.hintTime = cn.hintTime.Add(-tc.age)
		}
		err := cn.lostBy(&quic.IdleTimeoutError{})
		if !errors.Is(err, ErrReset) || !isTimeout(err) || err.Error() != tc.want {
			t.Errorf("got  %v\nwant %s", err, tc.want)
		}
	}
}
