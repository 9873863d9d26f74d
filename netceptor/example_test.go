package netceptor_test

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/project-receptor/receptor/netceptor"
)

// Two nodes in one process, linked in memory, and a chat over a stream. Between
// processes a link is any connection: hand both ends of a TCP one to AddLink.
func Example() {
	ctx := context.Background()
	alice, err := start("alice")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer alice.Close()
	bob, err := start("bob")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer bob.Close()

	near, far := net.Pipe()
	if _, err := alice.AddLink(near, netceptor.LinkConfig{}); err != nil {
		fmt.Println(err)
		return
	}
	if _, err := bob.AddLink(far, netceptor.LinkConfig{}); err != nil {
		fmt.Println(err)
		return
	}

	// Bob answers what he is told.
	chat, err := bob.Listen("chat", netceptor.ListenOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		c, err := chat.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		said, _ := io.ReadAll(c) // until Alice has ended her direction
		fmt.Fprintf(c, "you said: %s", said)
	}()

	// Alice waits until she knows the way, and talks.
	err = alice.WaitFor(ctx, func(s netceptor.Status) bool { return s.RoutingTable["bob"] != "" })
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := alice.Dial(ctx, "bob", "chat")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	fmt.Fprint(c, "hello")
	c.CloseWrite()
	answer, err := io.ReadAll(c)
	fmt.Println(string(answer), err)
	// Output: you said: hello <nil>
}

func start(name string) (*netceptor.Node, error) {
	n, err := netceptor.New(netceptor.Config{NodeID: name})
	if err != nil {
		return nil, err
	}
	return n, n.Start()
}
