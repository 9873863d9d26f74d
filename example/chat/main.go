// Command chat shows a whole mesh in one Go program: two nodes, Alice and Bob,
// linked over TCP by backend-tcp, who talk over a stream and over datagrams.
//
// The backend is the plug that receptor-backend-tcp is made of. Here it shares
// the process, and speaks the plug protocol over a pair of sockets instead of
// plug.sock. Nothing else differs: the same items, the same states.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/project-receptor/receptor/netceptor"
)

// patience is far more than a chat on one machine takes.
const patience = 30 * time.Second

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	err := run(ctx, os.Stdout)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

// run makes the mesh and has the chat printed.
func run(ctx context.Context, out io.Writer) error {
	// Bob listens, on a port that is free, and tells which one that is.
	bob, err := newMember("bob", "tcp-listener", map[string]any{"bindaddr": "127.0.0.1", "port": 0})
	if err != nil {
		return err
	}
	defer bob.close()
	addr, err := bob.address(ctx)
	if err != nil {
		return err
	}
	// Alice connects.
	alice, err := newMember("alice", "tcp-peer", map[string]any{"address": addr})
	if err != nil {
		return err
	}
	defer alice.close()

	// Bob opens two services. They end when they are closed.
	chat, err := bob.node.Listen("chat", netceptor.ListenOptions{})
	if err != nil {
		return err
	}
	notes, err := bob.node.ListenPacket("notes", netceptor.ListenOptions{})
	if err != nil {
		return err
	}
	var serving sync.WaitGroup
	serving.Go(func() { serveChat(chat) })
	serving.Go(func() { serveNotes(notes) })
	defer func() {
		_, _ = chat.Close(), notes.Close()
		serving.Wait()
	}()

	// The link is being made meanwhile. A node knows the way once it is up.
	err = alice.node.WaitFor(ctx, func(s netceptor.Status) bool { return s.RoutingTable["bob"] != "" })
	if err != nil {
		return err
	}
	if err := talk(ctx, alice.node, out); err != nil {
		return err
	}
	return passNotes(ctx, alice.node, out)
}

// serveChat answers each line of each stream by a line, until l is closed.
func serveChat(l net.Listener) {
	var chats sync.WaitGroup
	defer chats.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		chats.Go(func() {
			defer conn.Close() // in order: what was written arrives
			lines := bufio.NewScanner(conn)
			for lines.Scan() {
				fmt.Fprintf(conn, "%s\n", reply(lines.Text()))
			}
		})
	}
}

// serveNotes answers each datagram by one, until p is closed.
func serveNotes(p net.PacketConn) {
	buf := make([]byte, 1024)
	for {
		n, from, err := p.ReadFrom(buf)
		if err != nil {
			return
		}
		// A datagram that cannot go is lost, as any datagram may be.
		_, _ = p.WriteTo([]byte(reply(string(buf[:n]))), from)
	}
}

// reply is all that Bob has to say.
func reply(said string) string { return "you said: " + strings.ToUpper(said) }

// talk is a chat over a stream: in order, complete, encrypted from end to end.
func talk(ctx context.Context, from *netceptor.Node, out io.Writer) error {
	conn, err := from.Dial(ctx, "bob", "chat")
	if err != nil {
		return err
	}
	defer conn.Close()
	if end, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(end); err != nil {
			return err
		}
	}
	answers := bufio.NewScanner(conn)
	for _, line := range []string{"hello bob", "how are you?"} {
		fmt.Fprintln(out, "alice:", line)
		if _, err := fmt.Fprintln(conn, line); err != nil {
			return err
		}
		if !answers.Scan() {
			break
		}
		fmt.Fprintln(out, "bob:", answers.Text())
	}
	// Alice has said all; Bob's end follows. Had Bob died, there would be an error.
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	for answers.Scan() {
		fmt.Fprintln(out, "bob:", answers.Text())
	}
	return answers.Err()
}

// passNotes is a chat over datagrams: each arrives whole, or not at all.
func passNotes(ctx context.Context, from *netceptor.Node, out io.Writer) error {
	conn, err := from.ListenPacket("", netceptor.ListenOptions{}) // any name will do
	if err != nil {
		return err
	}
	defer conn.Close()
	if end, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(end); err != nil {
			return err
		}
	}
	note := "see you"
	fmt.Fprintln(out, "alice, on a note:", note)
	if _, err := conn.WriteTo([]byte(note), netceptor.Addr{Node: "bob", Service: "notes"}); err != nil {
		return err
	}
	buf := make([]byte, 1024)
	n, who, err := conn.ReadFrom(buf)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: %s\n", who, buf[:n])
	return nil
}
