package main

import (
	"io"
	"net"
	"testing"

	"github.com/project-receptor/receptor/plug/plugtest"
)

// Each connection to the listener is a link, whose bytes the core gets.
func TestListener(t *testing.T) {
	t.Parallel()
	core, s := plugtest.Attached(t, mytcp())
	addr := s.StartItem(s.Item("mytcp-listener", map[string]any{"port": 0}))

	peer, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = peer.Close() }()
	request := core.Link()
	if b := request.LinkBody(); b.Dir != "in" || b.Remote != peer.LocalAddr().String() {
		t.Errorf("LINK %+v", b)
	}
	link := request.OpenLink("a link")
	if _, err := io.WriteString(peer, "\x05\x00hello"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 7)
	if _, err := io.ReadFull(link, got); err != nil || string(got[2:]) != "hello" {
		t.Errorf("the core got %q, %v", got, err)
	}
}
