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
		Run:     run,
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

func run(ctx context.Context, it *plug.Item) error {
	switch it.Kind {
	case kindListener:
		var p listenerParams
		if err := it.Decode(&p); err != nil {
			return err
		}
		return listen(ctx, it, p)
	case kindPeer:
		var p peerParams
		if err := it.Decode(&p); err != nil {
			return err
		}
		proxy, err := viaproxy.Parse(p.Proxy)
		if err != nil {
			return fmt.Errorf("parameter proxy: %w", err)
		}
		it.KeepLink(ctx, p.Address, p.Redial, func(ctx context.Context) error { return dial(ctx, it, p, proxy) })
		return nil
	default:
		return fmt.Errorf("kind %s is not one of this plug", it.Kind)
	}
}
