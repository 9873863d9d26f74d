package supervisor

import "time"

// killer knows when a unit is to be killed: not yet, at a time, and then again and
// again. The zero value needs again.
type killer struct {
	at    time.Time // zero: not yet
	timer *time.Timer
	again time.Duration
}

// within has it be due after d, if it is not sooner.
func (k *killer) within(d time.Duration) {
	at := time.Now().Add(d)
	if !k.at.IsZero() && k.at.Before(at) {
		return
	}
	k.stop()
	k.at, k.timer = at, time.NewTimer(d)
}

// later has it be due again.
func (k *killer) later() {
	k.at = time.Now().Add(k.again)
	k.timer = time.NewTimer(k.again)
	k.again = min(2*k.again, killAgainMost)
}

func (k *killer) due() <-chan time.Time {
	if k.timer == nil {
		return nil
	}
	return k.timer.C
}

func (k *killer) stop() {
	if k.timer != nil {
		k.timer.Stop()
	}
}
