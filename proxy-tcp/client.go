package proxytcp

import (
	"context"
	"net"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/socket"
)

// target is where the streams of a service go to.
type target struct {
	tags map[string]string // of the service
	dial func(context.Context) (net.Conn, error)
}

func tcpTarget(address string) target {
	var d net.Dialer // its deadline is that of the context
	d.SetMultipathTCP(false)
	return target{
		tags: map[string]string{"type": "TCP Proxy", "address": address},
		dial: func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) },
	}
}

func unixTarget(path string) target {
	return target{
		tags: map[string]string{"type": "Unix Proxy", "filename": path},
		dial: func(ctx context.Context) (net.Conn, error) { return socket.DialShared(ctx, path) },
	}
}

// client serves a service in the mesh until ctx is done: each stream goes to
// the target. The remote side learns why when that cannot be reached.
func client(ctx context.Context, it *plug.Item, service string, to target) error {
	f := &failures{item: it, addr: service}
	return it.Serve(ctx, plug.Service{Name: service, Advertise: true, Tags: to.tags}, func(ctx context.Context, _ plug.Target) (net.Conn, error) {
		app, err := to.dial(ctx)
		if err != nil {
			f.failed(err)
			return nil, err
		}
		f.succeeded()
		return app, nil
	})
}
