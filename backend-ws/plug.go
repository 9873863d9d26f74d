// Package backendws is the plug that makes links between nodes over WebSocket:
// ws-listener accepts them, ws-peer makes them. A link's messages are binary
// messages there, one for one; to the core they are frames, as those of TCP.
//
// What has come together goes on together: many messages are one write, each way.
//
// TLS is this plug's, as it lies below HTTP: it gets the files of the profile that
// an item names, and tells the core which nodes a certificate names.
package backendws

import (
	"context"

	"github.com/project-receptor/receptor/plug"
)

// medium is what status and logs call these links.
const medium = "ws"

// New describes the plug.
func New() *plug.Plug {
	return &plug.Plug{
		Program: "receptor-backend-ws",
		Kinds:   kinds(),
		Check:   check,
		Run:     run,
	}
}

// check looks at an item before anything is applied.
func check(it *plug.Item) error {
	if it.Kind == kindListener {
		_, err := decodeListener(it)
		return err
	}
	_, err := decodePeer(it)
	return err
}

func run(ctx context.Context, it *plug.Item) error {
	if it.Kind == kindListener {
		p, err := decodeListener(it)
		if err != nil {
			return err
		}
		return listen(ctx, it, p)
	}
	p, err := decodePeer(it)
	if err != nil {
		return err
	}
	d, err := newDialer(it, p)
	if err != nil {
		return err
	}
	it.KeepLink(ctx, p.Address, p.Redial, d.link)
	return nil
}
