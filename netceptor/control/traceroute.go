package control

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/project-receptor/receptor/netceptor"
)

type tracerouteCommand struct{ mesh Mesh }

// trace pings with 0, 1, 2 and more hops: where one expires there is a node on the
// way. It ends when the node has answered or something else was wrong; each gets
// what was found, in order.
func (c tracerouteCommand) trace(ctx context.Context, node string, each func(hop int, p pong) error) error {
	for hop := 0; hop <= pingHops; hop++ {
		p := pingOnce(ctx, c.mesh, node, uint8(hop))
		onTheWay := errors.Is(p.err, netceptor.ErrExpired)
		if onTheWay {
			p.err = nil
		} else if p.err != nil && p.from == "" {
			p.from = c.mesh.NodeID() // what nobody reported was found here
		}
		if err := each(hop, p); err != nil || !onTheWay {
			return err
		}
	}
	return nil
}

func (c tracerouteCommand) plain(ctx context.Context, _ Session, args *string, params map[string]json.RawMessage) (any, error) {
	node, err := target("traceroute", args, params)
	if err != nil {
		return nil, err
	}
	answer := make(map[string]any)
	err = c.trace(ctx, node, func(hop int, p pong) error {
		answer[strconv.Itoa(hop)] = p.legacy()
		return nil
	})
	return answer, err
}

// own sends an event for each hop and returns whether the node was reached.
func (c tracerouteCommand) own(ctx context.Context, _ Session, args json.RawMessage, emit func(any) error) (any, error) {
	var a struct {
		Node string `json:"node"`
	}
	if err := decodeArgs(args, &a); err != nil {
		return nil, err
	}
	if err := needNode(a.Node); err != nil {
		return nil, err
	}
	reached := false
	err := c.trace(ctx, a.Node, func(hop int, p pong) error {
		reached = p.err == nil && p.from == a.Node
		e := p.event()
		e.Hop = &hop
		return emit(e)
	})
	return map[string]any{"reached": reached}, err
}
