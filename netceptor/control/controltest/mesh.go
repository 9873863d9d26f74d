// Package controltest has a fake of the mesh for tests of the control
// conversation and of its clients.
package controltest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/control"
)

// Mesh is a control.Mesh whose answers are given. Set its fields before use.
type Mesh struct {
	State netceptor.Status

	TLSClient string // the one TLS profile that can be dialled with; empty: none

	// OnPing answers pings; nil: no route to any node.
	OnPing func(ctx context.Context, node string, hops uint8) (netceptor.PingResult, error)

	// OnStream serves "node:service"; it runs in a goroutine of its own, and must
	// end when its stream does.
	OnStream map[string]func(control.Stream)

	// Explanations are those that there are; of other services little is known.
	Explanations map[netceptor.Addr]netceptor.Explanation
}

// Explain implements control.Mesh.
func (m *Mesh) Explain(node, service string) netceptor.Explanation {
	to := netceptor.Addr{Node: node, Service: service}
	if e, ok := m.Explanations[to]; ok {
		return e
	}
	us := netceptor.Addr{Node: m.State.NodeID, Service: "x"}
	return netceptor.Explanation{
		Node: us.Node, To: to, Reason: "no route to node: it was never heard of",
		There: netceptor.FlowVerdict{From: us, To: to, Action: "accept"},
		Back:  netceptor.FlowVerdict{From: to, To: us, Action: "accept"},
	}
}

// NodeID implements control.Mesh.
func (m *Mesh) NodeID() string { return m.State.NodeID }

// Status implements control.Mesh.
func (m *Mesh) Status() netceptor.Status { return m.State }

// Ping implements control.Mesh.
func (m *Mesh) Ping(ctx context.Context, node string, hops uint8) (netceptor.PingResult, error) {
	if m.OnPing == nil {
		return netceptor.PingResult{}, netceptor.ErrNoRoute
	}
	return m.OnPing(ctx, node, hops)
}

// Dial implements control.Mesh.
func (m *Mesh) Dial(_ context.Context, node, service, tlsClient string) (control.Stream, error) {
	if tlsClient != "" && tlsClient != m.TLSClient {
		return nil, fmt.Errorf("%w %s", control.ErrTLSClient, tlsClient)
	}
	serve, ok := m.OnStream[node+":"+service]
	if !ok {
		if _, ok := m.State.RoutingTable[node]; !ok && node != m.State.NodeID {
			return nil, netceptor.ErrNoRoute
		}
		return nil, netceptor.ErrServiceUnknown
	}
	near, far := Pipe()
	go serve(far)
	return near, nil
}

// Line answers pings as a line of nodes does, the first of which is the own one;
// a ping takes 100 µs a hop. Nodes that are not in it have no route.
func Line(nodes ...string) func(context.Context, string, uint8) (netceptor.PingResult, error) {
	return func(_ context.Context, node string, hops uint8) (netceptor.PingResult, error) {
		for i, n := range nodes {
			r := netceptor.PingResult{From: n, Time: time.Duration(i+1) * 100 * time.Microsecond}
			if n == node {
				return r, nil
			}
			if i == int(hops) && slices.Contains(nodes, node) {
				return r, netceptor.ErrExpired
			}
		}
		return netceptor.PingResult{}, netceptor.ErrNoRoute
	}
}

// Pipe makes a stream in memory: unbuffered, with half-close and reset, without
// deadlines.
func Pipe() (near, far control.Stream) {
	r1, w1 := io.Pipe()
	r2, w2 := io.Pipe()
	return &stream{r1, w2}, &stream{r2, w1}
}

type stream struct {
	r *io.PipeReader
	w *io.PipeWriter
}

func (s *stream) Read(b []byte) (int, error)  { return s.r.Read(b) }
func (s *stream) Write(b []byte) (int, error) { return s.w.Write(b) }
func (s *stream) CloseWrite() error           { return s.w.Close() }
func (s *stream) Close() error                { return errors.Join(s.w.Close(), s.r.Close()) }

func (s *stream) Reset() error {
	return errors.Join(s.w.CloseWithError(netceptor.ErrReset), s.r.CloseWithError(netceptor.ErrReset))
}

func (s *stream) LocalAddr() net.Addr  { return netceptor.Addr{Node: "fake", Service: "near"} }
func (s *stream) RemoteAddr() net.Addr { return netceptor.Addr{Node: "fake", Service: "far"} }

func (s *stream) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (s *stream) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (s *stream) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }
