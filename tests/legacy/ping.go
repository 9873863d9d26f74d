package legacy

import (
	"context"
	"errors"
	"time"
)

// pingTimeout is how long an answer may take.
const pingTimeout = 10 * time.Second

// ErrTimeout is a ping that nobody answered.
var ErrTimeout = errors.New("timeout")

// Pong is what became of a ping.
type Pong struct {
	From string // who answered, or reported the problem; empty for nobody
	Time time.Duration
	Err  error
}

// Ping sends a ping that may travel so many hops.
func (n *Node) Ping(ctx context.Context, node string, hops uint8) Pong {
	c, err := n.ListenPacket("")
	if err != nil {
		return Pong{Err: err}
	}
	defer c.Close()
	if isLocalhost(node) {
		node = n.config.ID
	}
	notices := make(chan Notice, 1)
	c.OnNotice(func(notice Notice) {
		select {
		case notices <- notice:
		default:
		}
	})
	c.SetHops(hops)
	started := time.Now()
	if _, err := c.WriteTo(nil, Addr{node, servicePing}); err != nil {
		return Pong{From: n.config.ID, Time: time.Since(started), Err: err}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, pingTimeout, ErrTimeout)
	defer cancel()
	select {
	case d := <-c.inbox:
		return Pong{From: d.from.Node, Time: time.Since(started)}
	case notice := <-notices:
		return Pong{From: notice.by, Time: time.Since(started), Err: &notice}
	case <-ctx.Done():
		return Pong{Time: time.Since(started), Err: context.Cause(ctx)}
	case <-n.ctx.Done():
		return Pong{Err: n.Err()}
	}
}

// Traceroute pings with ever more hops, from 0, until the node or a problem
// answers that is no end of hops.
func (n *Node) Traceroute(ctx context.Context, node string) []Pong {
	var route []Pong
	for hops := range uint8(maxHops + 1) {
		p := n.Ping(ctx, node, hops)
		var notice *Notice
		expired := errors.As(p.Err, &notice) && notice.Problem == problemExpired
		if expired {
			p.Err = nil
		}
		route = append(route, p)
		if !expired {
			break
		}
	}
	return route
}
