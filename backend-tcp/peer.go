package backendtcp

import (
	"context"
	"net"
	"net/url"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/viaproxy"
)

// dial makes a link and returns when it has ended, with the reason.
func dial(ctx context.Context, it *plug.Item, p peerParams, proxy *url.URL) error {
	sock, err := viaproxy.Dial(ctx, proxy, p.Address)
	if err != nil {
		if ctx.Err() == nil {
			it.Log.Warn("cannot connect", "error", err)
		}
		return err
	}
	it.Log.Info("connected", "address", p.Address)
	it.Up(p.Address)
	return carry(ctx, it, sock, plug.LinkInfo{Dir: "out", Remote: remoteOf(sock, p, proxy)})
}

// remoteOf is where the other node is. Behind a proxy only that knows its address.
func remoteOf(sock net.Conn, p peerParams, proxy *url.URL) string {
	if proxy != nil {
		return p.Address
	}
	return sock.RemoteAddr().String()
}
