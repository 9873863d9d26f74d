package plughost

import (
	"context"

	"github.com/project-receptor/receptor/plug/socket"
)

// account is what one user of the system has open. It is bounded whatever
// sessions and names the user goes by.
type account struct {
	conns   int           // connections and handed-over sockets; guarded by Host.mu
	reading chan struct{} // a token for each connection whose first bytes are being read
}

// userKey tells users apart; all who are unknown are one.
func userKey(c socket.Cred) int64 {
	if !c.Known {
		return -1
	}
	return int64(c.UID)
}

// userEnters counts a connection; false: the user has too many.
func (h *Host) userEnters(c socket.Cred) (*account, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.countConn(c)
}

// countConn counts a connection, or a socket that was handed over; false: the
// user has too many. Callers hold mu.
func (h *Host) countConn(c socket.Cred) (*account, bool) {
	a := h.accounts[userKey(c)]
	if a == nil {
		a = &account{reading: make(chan struct{}, readersPerUser)}
		h.accounts[userKey(c)] = a
	}
	if a.conns >= connsPerUser {
		return nil, false
	}
	a.conns++
	return a, true
}

func (h *Host) userLeaves(c socket.Cred) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.uncountConn(c)
}

// uncountConn is the counterpart of countConn. Callers hold mu.
func (h *Host) uncountConn(c socket.Cred) {
	a := h.accounts[userKey(c)]
	if a.conns--; a.conns == 0 {
		delete(h.accounts, userKey(c))
	}
}

// startReading waits for the user's turn to have one more first frame read.
func (a *account) startReading(ctx context.Context) bool {
	select {
	case a.reading <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (a *account) doneReading() { <-a.reading }
