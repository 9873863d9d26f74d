package control_test

import (
	"bufio"
	"context"
	"net"
	"testing"
	"time"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/netceptor/control"
)

// startNode starts a node that lives until the test ends.
func startNode(t *testing.T, id string) *netceptor.Node {
	t.Helper()
	n, err := netceptor.New(netceptor.Config{NodeID: id})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close node %s: %v", id, err)
		}
	})
	return n
}

// link joins two nodes over a connection of the loopback.
func link(t *testing.T, a, b *netceptor.Node) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for n, c := range map[*netceptor.Node]net.Conn{a: near, b: far} {
		if _, err := n.AddLink(c, netceptor.LinkConfig{}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRealNodes holds a conversation with alpha, connects from there to the control
// service of beta through the mesh, and talks to that.
func TestRealNodes(t *testing.T) {
	t.Parallel()
	alpha, beta := startNode(t, "alpha"), startNode(t, "beta")
	link(t, alpha, beta)

	s := control.New(control.Config{NodeID: "beta"})
	s.Register(control.NodeCommands(beta, nil, nil)...)
	l, err := beta.Listen("control", netceptor.ListenOptions{Advertise: true})
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, s, l)

	s = control.New(control.Config{NodeID: "alpha"})
	s.Register(control.NodeCommands(alpha, nil, nil)...)
	path := serve(t, s)

	// Nobody tells when a route is there: ping until it is.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		if _, err := alpha.Ping(ctx, "beta", 30); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatal("no route to beta")
		case <-time.After(5 * time.Millisecond):
		}
	}

	c := dial(t, path)
	in := bufio.NewReader(c)
	const name = `{"command":"status","requested_fields":["NodeID","RoutingTable"]}` + "\n"
	expect(t, in, greeting)
	send(t, c, name)
	expect(t, in, `{"NodeID":"alpha","RoutingTable":{"beta":"beta"}}`+"\n")
	send(t, c, "connect nobody control\n")
	expect(t, in, "ERROR: no route to node\n")
	send(t, c, "connect beta nothing\n")
	expect(t, in, "ERROR: service unknown\n")
	send(t, c, "connect beta control\n"+name)
	expect(t, in, "Connecting\nReceptor Control, node beta\n")
	expect(t, in, `{"NodeID":"beta","RoutingTable":{"alpha":"alpha"}}`+"\n")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	expectEnd(t, in)

	// This one is still open when everything ends.
	c = dial(t, path)
	send(t, c, "connect beta control\n")
	expect(t, c, greeting+"Connecting\nReceptor Control, node beta\n")
}
