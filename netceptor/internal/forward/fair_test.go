package forward

import (
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// slowConn takes what is written at a rate.
type slowConn struct {
	net.Conn
	rate float64 // bytes per second
}

func (c slowConn) Write(b []byte) (int, error) {
	time.Sleep(seconds(float64(len(b)) / c.rate))
	return len(b), nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Local senders, who wait for room, could fill a link by themselves. What is in
// transit, and cannot wait, gets its share all the same.
func TestLocalSendersLeaveRoomForTransit(t *testing.T) {
	t.Parallel()
	const (
		frame  = 1400
		lasts  = 2 * time.Second
		batch  = 20 // messages, as QUIC sends them
		header = 36
		wait   = 20 * time.Millisecond
	)
	for name, c := range map[string]struct {
		rate    float64
		senders int
	}{
		"slow link":       {1e6, 4},
		"fast link":       {100e6, 4},
		"many senders":    {10e6, 64},
		"a single sender": {10e6, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := NewLink(slowConn{rate: c.rate})
				var all sync.WaitGroup
				all.Go(func() { _ = l.Write() }) // slowConn never fails
				end := time.Now().Add(lasts)
				var mu sync.Mutex
				var sent, refused int // messages of local senders
				for range c.senders {
					all.Go(func() {
						for time.Now().Before(end) {
							ok := l.Send(make([]byte, header), make([]byte, batch*frame), frame, wait)
							mu.Lock()
							if ok {
								sent += batch
							} else {
								refused += batch
							}
							mu.Unlock()
							time.Sleep(time.Microsecond) // or no time would ever pass
						}
					})
				}
				// Transit wants half of the link.
				offered := 0
				for time.Now().Before(end) {
					time.Sleep(seconds(frame / (c.rate / 2)))
					l.Run(make([]byte, frame), 1)
					offered++
				}
				_, dropped := l.Counts()
				l.Close()
				all.Wait()
				if lost := int(dropped) - refused; lost > offered/4 {
					t.Errorf("of %d frames in transit %d were dropped", offered, lost)
				}
				if share := float64(sent*frame) / (c.rate * lasts.Seconds()); share < 0.4 {
					t.Errorf("local senders got %.2f of the link", share)
				}
			})
		})
	}
}
