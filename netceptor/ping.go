package netceptor

import (
	"context"
	"errors"
	"time"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// pingTimeout is how long a ping waits, unless its context ends before.
const pingTimeout = 10 * time.Second

// PingResult is the answer to a ping.
type PingResult struct {
	From string        // who answered
	Time time.Duration // round trip
}

// Ping sends an empty datagram to the ping service of a node with that many
// hops to live and waits for the answer, 10 s at most. The error of a notice is
// its problem's text ("message expired"); From is set then, too.
func (n *Node) Ping(ctx context.Context, node string, hops uint8) (PingResult, error) {
	c, err := n.ListenPacket("", ListenOptions{})
	if err != nil {
		return PingResult{}, err
	}
	defer c.shut()
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()

	start := time.Now()
	err = c.send(Addr{Node: node, Service: wire.ServicePing}, nil, hops)
	if errors.Is(err, ErrExpired) || errors.Is(err, ErrBlocked) {
		return PingResult{From: n.config.NodeID, Time: time.Since(start)}, err
	}
	if err != nil {
		return PingResult{}, err
	}
	select {
	case p := <-c.packets:
		return PingResult{From: p.from.Node, Time: time.Since(start)}, nil
	case notice := <-c.notices:
		return PingResult{From: notice.From, Time: time.Since(start)}, problem(notice.Problem)
	case <-c.closed:
		return PingResult{}, errNotRunning
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return PingResult{}, timeoutError{}
		}
		return PingResult{}, ctx.Err()
	}
}
