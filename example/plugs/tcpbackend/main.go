// The tcpbackend program is a complete backend: links over TCP, listening and
// dialling, for any Receptor core.
package main

import (
	"context"
	"net"
	"os"
	"strconv"

	"github.com/project-receptor/receptor/plug"
	"github.com/project-receptor/receptor/plug/plugcmd"
	"github.com/project-receptor/receptor/plug/schema"
	"github.com/project-receptor/receptor/plug/wire"
)

func main() { os.Exit(plugcmd.Main(mytcp())) }

// mytcp describes the plug: the program, its kinds of items, and what makes one so.
func mytcp() *plug.Plug {
	port := wire.Param{Name: "port", Type: schema.TypePort, Key: true, Required: true, Bare: true, Help: "TCP port to listen on"}
	address := wire.Param{Name: "address", Type: schema.TypeAddress, Key: true, Required: true, Bare: true, Help: "host:port to connect to"}
	return &plug.Plug{
		Program: "receptor-backend-mytcp",
		Kinds: []wire.Kind{
			{Kind: "mytcp-listener", Role: wire.RoleLink, Dir: "in", Help: "accept links over TCP", Params: []wire.Param{port}},
			{Kind: "mytcp-peer", Role: wire.RoleLink, Dir: "out", Help: "make a link over TCP", Params: []wire.Param{address}},
		},
		Run: plug.ByKind(map[string]plug.RunFunc{"mytcp-listener": plug.With(listen), "mytcp-peer": plug.With(peer)}),
	}
}

// listen accepts links until ctx is done.
func listen(ctx context.Context, it *plug.Item, p struct{ Port int }) error {
	l, err := it.Listen(ctx, "tcp", ":"+strconv.Itoa(p.Port)) // kept in the core over a restart
	if err != nil {
		return err // the item has failed, and is run again after a while
	}
	addr := l.Addr().String()
	it.Up(addr)
	return it.Accept(ctx, l, // without a core connections wait in the backlog
		func(ctx context.Context, c net.Conn) { _ = carry(ctx, it, c, "in") },
		func(err error) { it.Degraded(addr, err) })
}

// peer makes a link, and the next whenever it has ended.
func peer(ctx context.Context, it *plug.Item, p struct{ Address string }) error {
	it.KeepLink(ctx, p.Address, true, func(ctx context.Context) error { // but not while an earlier process has left one
		c, err := new(net.Dialer).DialContext(ctx, "tcp", p.Address)
		if err != nil {
			return err
		}
		it.Up(p.Address)
		return carry(ctx, it, c, "out")
	})
	return nil
}

func carry(ctx context.Context, it *plug.Item, c net.Conn, dir string) error {
	if err := it.Attached(ctx); err != nil { // the core may have gone since
		c.Close()
		return err
	}
	return it.CarryLink(ctx, c, plug.LinkInfo{Dir: dir, Remote: c.RemoteAddr().String(), Medium: "tcp"})
}
