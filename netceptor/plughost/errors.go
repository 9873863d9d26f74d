package plughost

import (
	"context"
	"errors"
	"net"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/plug/wire"
)

// errStopping is what every session and data connection hears when the host
// closes.
func errStopping() *wire.Error { return wire.NewError(wire.CodeDraining, "the core is stopping") }

// asWire turns any error into the one that is sent.
func asWire(err error) *wire.Error {
	var e *wire.Error
	if errors.As(err, &e) {
		return e
	}
	return wire.NewError(wire.CodeInternal, "%v", err)
}

// dialError says why a stream to a service on a node could not be opened.
func dialError(err error, node, service string) *wire.Error {
	node, service = clip(node), clip(service)
	switch {
	case errors.Is(err, netceptor.ErrNoRoute):
		return wire.NewError(wire.CodeUnreachable, "no route to node %q, whose service %q was asked for", node, service)
	case errors.Is(err, netceptor.ErrServiceUnknown):
		return wire.NewError(wire.CodeNotFound, "node %q has no service %q", node, service)
	case errors.Is(err, netceptor.ErrRefused):
		return wire.NewError(wire.CodeRefused, "service %q on node %q refused the stream", service, node)
	case errors.Is(err, netceptor.ErrUntrusted):
		return wire.NewError(wire.CodeRefused, "service %q on node %q: %v", service, node, err)
	case errors.Is(err, netceptor.ErrTooLong):
		return wire.NewError(wire.CodeInvalid, "service %q of node %q: the name is longer than 8 bytes", service, node)
	case errors.Is(err, context.Canceled):
		return wire.NewError(wire.CodeCanceled, "dialling service %q on node %q was given up", service, node)
	case isTimeout(err):
		return wire.NewError(wire.CodeTimeout, "service %q on node %q did not answer in time", service, node)
	case errors.Is(err, net.ErrClosed):
		return wire.NewError(wire.CodeGone, "service %q on node %q: this node is closing", service, node)
	default:
		return wire.NewError(wire.CodeUnreachable, "service %q on node %q: %v", service, node, err)
	}
}

// bindError says why a service could not be bound.
func bindError(err error, service string) *wire.Error {
	service = clip(service)
	switch {
	case errors.Is(err, netceptor.ErrInUse):
		return wire.NewError(wire.CodeExists, "service %q is in use on this node", service)
	case errors.Is(err, netceptor.ErrTooLong):
		return wire.NewError(wire.CodeInvalid, "service %q: the name is longer than 8 bytes", service)
	case errors.Is(err, net.ErrClosed):
		return wire.NewError(wire.CodeGone, "service %q: this node is closing", service)
	default:
		return wire.NewError(wire.CodeInternal, "service %q: %v", service, err)
	}
}

// streamEnd is what a plug is told when the mesh's side of its stream failed.
func streamEnd(err error) wire.Reset {
	switch {
	case errors.Is(err, netceptor.ErrReset):
		return wire.Reset{Code: wire.CodeCanceled, Msg: "reset by the remote side"}
	case isTimeout(err):
		return wire.Reset{Code: wire.CodeTimeout, Msg: "the remote node does not answer"}
	default:
		return wire.Reset{Code: wire.CodeGone, Msg: clip(err.Error())}
	}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || (errors.As(err, &t) && t.Timeout())
}
