package proxytcp

import (
	"context"
	"net"

	"github.com/project-receptor/receptor/plug"
)

// client serves a service in the mesh until ctx is done: each stream goes to
// the address. The remote side learns why when that cannot be reached.
func client(ctx context.Context, it *plug.Item, p clientParams) error {
	var d net.Dialer // its deadline is that of the context
	d.SetMultipathTCP(false)
	f := &failures{item: it, addr: p.Service}
	return it.Serve(ctx, plug.Service{
		Name:      p.Service,
		Advertise: true,
		Tags:      map[string]string{"type": "TCP Proxy", "address": p.Address},
	}, func(ctx context.Context, _ plug.Target) (net.Conn, error) {
		app, err := d.DialContext(ctx, "tcp", p.Address)
		if err != nil {
			f.failed(err)
			return nil, err
		}
		f.succeeded()
		return app, nil
	})
}
