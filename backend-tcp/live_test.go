//go:build unix

package backendtcp

import (
	"net"
	"testing"

	"github.com/project-receptor/receptor/plug/plugtest"
	"github.com/project-receptor/receptor/plug/wire"
)

// A link that was handed over outlives its process; the next one does not dial
// while it lives, and does when it has ended.
func TestPeerLivesOn(t *testing.T) {
	t.Parallel()
	l := listenLoopback(t, "127.0.0.1:0")
	core := plugtest.NewCore(t, func(c *plugtest.FakeCore) { c.FDPass = true })
	accepted := make(chan net.Conn, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()

	stop := core.RunPlug(New())
	s := core.Session()
	peer := s.Item(kindPeer, map[string]any{"address": l.Addr().String()})
	s.Configure(peer)
	h := core.HandedLink()
	if b := h.LinkBody(); b.Dir != "out" || b.Remote != l.Addr().String() || b.Medium != medium {
		t.Errorf("LINK %+v", b)
	}
	link := h.Open("l1")
	far := <-accepted
	defer func() { _ = far.Close() }()
	stop()
	wantPassed(t, link, far)
	wantPassed(t, far, link)

	core.RunPlug(New())
	s = core.Session()
	peer.Live = []wire.Live{{Object: "l1", Remote: l.Addr().String()}}
	s.StartItem(peer)
	select {
	case <-accepted:
		t.Error("was dialled, though it is linked")
	default:
	}
	if err := link.Close(); err != nil {
		t.Fatal(err)
	}
	s.EndLink("l1", "")
	again := core.HandedLink()
	wantPassed(t, again.Open("l2"), <-accepted)
}
