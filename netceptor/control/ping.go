package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/project-receptor/receptor/netceptor"
)

const (
	// pingHops is how many hops a ping lives, as with legacy nodes.
	pingHops = 30

	// maxPings bounds one command: the conversation is busy for that long.
	maxPings = 1000

	// maxPingTimeout is what the mesh itself waits for an answer.
	maxPingTimeout = 10 * time.Second

	// maxPingInterval bounds the pause between two pings of one command.
	maxPingInterval = time.Minute
)

// pong is one attempt at a ping, whoever answered it.
type pong struct {
	from string
	time time.Duration
	err  error
}

// pingOnce pings and fills in what the mesh leaves out in an error.
func pingOnce(ctx context.Context, m Mesh, node string, hops uint8) pong {
	begin := time.Now()
	r, err := m.Ping(ctx, node, hops)
	p := pong{from: r.From, time: r.Time, err: err}
	if err != nil && p.time == 0 {
		p.time = time.Since(begin)
	}
	return p
}

// problem is the error's text as legacy clients know it.
func (p pong) problem() string {
	switch {
	case errors.Is(p.err, netceptor.ErrNoRoute):
		return netceptor.ErrNoRoute.Error()
	case errors.Is(p.err, netceptor.ErrExpired):
		return netceptor.ErrExpired.Error()
	case isTimeout(p.err):
		return "timeout"
	}
	return oneLine(p.err.Error())
}

// legacy is the answer as legacy nodes give it, for traceroute; that of ping is
// made from it.
func (p pong) legacy() map[string]any {
	answer := map[string]any{"From": p.from, "Time": p.time.Nanoseconds(), "TimeStr": p.time.String()}
	if p.err != nil {
		answer["Error"] = p.problem()
	}
	return answer
}

// pongEvent is a pong in our own form.
type pongEvent struct {
	Seq    *int   `json:"seq,omitempty"` // ping: from 1
	Hop    *int   `json:"hop,omitempty"` // traceroute: from 0
	From   string `json:"from,omitempty"`
	TimeNS int64  `json:"time_ns"`
	Time   string `json:"time"`
	Error  *Error `json:"error,omitempty"`
}

func (p pong) event() pongEvent {
	e := pongEvent{From: p.from, TimeNS: p.time.Nanoseconds(), Time: p.time.String()}
	if p.err != nil {
		code := CodeOf(p.err)
		if code == CodeInternal { // the text of a notice is no more than a text
			code = CodeUnreachable
		}
		e.Error = &Error{Code: code, Msg: p.problem()}
	}
	return e
}

// target reads the one parameter of the legacy forms of ping and traceroute.
func target(command string, args *string, params map[string]json.RawMessage) (string, error) {
	if args != nil {
		if *args == "" {
			return "", fmt.Errorf("no %s target", command)
		}
		return *args, nil
	}
	raw, ok := params["target"]
	if !ok {
		return "", fmt.Errorf("no %s target", command)
	}
	node, ok := jsonString(raw)
	if !ok {
		return "", fmt.Errorf("%s target must be string", command)
	}
	return node, nil
}

type pingCommand struct{ mesh Mesh }

func (c pingCommand) plain(ctx context.Context, _ Session, args *string, params map[string]json.RawMessage) (any, error) {
	node, err := target("ping", args, params)
	if err != nil {
		return nil, err
	}
	p := pingOnce(ctx, c.mesh, node, pingHops)
	if p.err != nil {
		return map[string]any{"Error": p.problem(), "Success": false}, nil
	}
	answer := p.legacy()
	answer["Success"] = true
	return answer, nil
}

// pingArgs are the arguments of ping in our own form.
type pingArgs struct {
	Node       string `json:"node"`
	Count      int    `json:"count"`
	IntervalMS int    `json:"interval_ms"`
	Hops       int    `json:"hops"`
	TimeoutMS  int    `json:"timeout_ms"`
}

func (a pingArgs) check() error {
	for _, f := range []struct {
		name        string
		is, low, hi int
	}{
		{"count", a.Count, 1, maxPings},
		{"interval_ms", a.IntervalMS, 0, int(maxPingInterval.Milliseconds())},
		{"hops", a.Hops, 0, 255},
		{"timeout_ms", a.TimeoutMS, 1, int(maxPingTimeout.Milliseconds())},
	} {
		if f.is < f.low || f.is > f.hi {
			return &Error{CodeInvalid, fmt.Sprintf("%s must be between %d and %d", f.name, f.low, f.hi)}
		}
	}
	return needNode(a.Node)
}

func needNode(node string) error {
	if node == "" {
		return &Error{CodeInvalid, "node is missing"}
	}
	return nil
}

// own pings count times, an event for each, and returns how many were answered.
func (c pingCommand) own(ctx context.Context, _ Session, args json.RawMessage, emit func(any) error) (any, error) {
	a := pingArgs{Count: 1, IntervalMS: 1000, Hops: pingHops, TimeoutMS: int(maxPingTimeout.Milliseconds())}
	if err := decodeArgs(args, &a); err != nil {
		return nil, err
	}
	if err := a.check(); err != nil {
		return nil, err
	}
	received := 0
	for seq := 1; seq <= a.Count; seq++ {
		if seq > 1 {
			if err := pause(ctx, time.Duration(a.IntervalMS)*time.Millisecond); err != nil {
				return nil, err
			}
		}
		pingCtx, cancel := context.WithTimeout(ctx, time.Duration(a.TimeoutMS)*time.Millisecond)
		p := pingOnce(pingCtx, c.mesh, a.Node, uint8(a.Hops))
		cancel()
		if p.err == nil {
			received++
		}
		e := p.event()
		e.Seq = &seq
		if err := emit(e); err != nil {
			return nil, err
		}
	}
	return map[string]any{"sent": a.Count, "received": received}, nil
}

// pause waits, unless ctx is done.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
