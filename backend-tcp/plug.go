// Package backendtcp is the plug that makes links between nodes over TCP:
// tcp-listener accepts them, tcp-peer makes them. A link's bytes are the core's
// business: this package opens sockets and hands them to the SDK.
package backendtcp

import (
	"context"
	"fmt"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/viaproxy"
)

// medium is what status and logs call these links.
const medium = "tcp"

// New describes the plug.
func New() *plug.Plug {
	return &plug.Plug{
		Program: "receptor-backend-tcp",
		Kinds:   kinds(),
		Check:   check,
		Run: plug.ByKind(map[string]plug.RunFunc{
			kindListener: plug.With(listen),
			kindPeer:     plug.With(keepLink),
		}),
	}
}

// check looks at an item before anything is applied.
func check(it *plug.Item) error {
	var p peerParams
	if it.Kind != kindPeer {
		return nil
	}
	if err := it.Decode(&p); err != nil {
		return err
	}
	if _, err := viaproxy.Parse(p.Proxy); err != nil {
		return fmt.Errorf("parameter proxy: %w", err)
	}
	return nil
}

// keepLink makes a link and, with redial, makes it again whenever it ends.
func keepLink(ctx context.Context, it *plug.Item, p peerParams) error {
	proxy, err := viaproxy.Parse(p.Proxy)
	if err != nil {
		return fmt.Errorf("parameter proxy: %w", err)
	}
	it.KeepLink(ctx, p.Address, p.Redial, func(ctx context.Context) error { return dial(ctx, it, p, proxy) })
	return nil
}
