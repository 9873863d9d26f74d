// Package proxytun is the plug that carries IP packets through the mesh: tun-proxy makes
// a network interface whose other end is one on another node, ip-router one through which
// the networks of many sites reach each other.
//
// It is the one program of a node that may configure the network, and has no other
// privilege. What it may be told is up to the owner of the machine (Limits), not to the
// core.
package proxytun

import (
	"context"
	"fmt"
	"runtime"

	"github.com/project-receptor/receptor/plug"
)

// New describes the plug.
func New() *plug.Plug {
	return &plug.Plug{
		Program: "receptor-proxy-tun",
		Kinds:   kinds(),
		Run:     run,
	}
}

func run(_ context.Context, it *plug.Item) error {
	return fmt.Errorf("kind %s: this plug makes no network interfaces on %s", it.Kind, runtime.GOOS)
}
