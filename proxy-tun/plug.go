// Package proxytun is the plug that carries IP packets through the mesh: tun-proxy makes
// a network interface whose other end is one on another node, ip-router one through which
// the networks of many sites reach each other.
//
// It is the one program of a node that may configure the network, and has no other
// privilege. What it may be told is up to the owner of the host (Limits), not to the
// core.
package proxytun

import (
	"context"
	"time"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/proxy-tun/internal/host"
)

// Settings are what the plug is given by who runs it. They are read when items run.
type Settings struct {
	Limits  Limits
	Lacking error // why no interface can be made
}

// New describes the plug.
func New(s *Settings) *plug.Plug {
	t := &tun{settings: s, grace: graceTime, make: func(c host.Config) (device, error) {
		i, err := host.Open(c)
		if err != nil {
			return nil, err // and not a device that is nil
		}
		return i, nil
	}}
	return t.plug()
}

// tun is the plug, and what it makes interfaces with.
type tun struct {
	settings *Settings
	grace    time.Duration // see graceTime
	make     func(host.Config) (device, error)
}

func (t *tun) plug() *plug.Plug {
	return &plug.Plug{
		Program: "receptor-proxy-tun",
		Kinds:   kinds(),
		Check:   func(it *plug.Item) error { _, err := t.runner(it); return err },
		Run: func(ctx context.Context, it *plug.Item) error {
			run, err := t.runner(it)
			if err != nil {
				return err
			}
			return run(ctx)
		},
	}
}

// runner reads the parameters of an item, and returns what runs it.
func (t *tun) runner(it *plug.Item) (func(context.Context) error, error) {
	if it.Kind == kindRouter {
		var p routerParams
		if err := it.Decode(&p); err != nil {
			return nil, err
		}
		c, err := p.parse()
		return func(ctx context.Context) error { return t.runRouter(ctx, it, c) }, err
	}
	var p tunnelParams
	if err := it.Decode(&p); err != nil {
		return nil, err
	}
	c, err := p.parse()
	return func(ctx context.Context) error { return t.runTunnel(ctx, it, c) }, err
}
