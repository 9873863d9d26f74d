package integration

import (
	"testing"

	"github.com/project-receptor/receptor/netceptor"
	"github.com/project-receptor/receptor/tests/integration/lab"
	"github.com/project-receptor/receptor/tests/legacy"
)

// A datagram to a service that nobody has bound is answered at once, whatever is in
// it: by ours to a model and to ours, by a model to ours, here and a hop away.
func TestLegacyUnboundServices(t *testing.T) {
	t.Parallel()
	m := newMixed(t)
	left := freePort(t)
	near, far := m.model(legacy.Config{ID: "near"}), m.model(legacy.Config{ID: "far"})
	right := m.listen(far, 0, legacy.LinkConfig{}).Addr
	m.ours("ours", append(listens(left), "--tcp-peer", "address="+right.String())...)
	near.DialTCP(lab.Local(left), legacy.LinkConfig{}, nil, true)
	lib, err := netceptor.New(netceptor.Config{NodeID: "lib"})
	must(t, err)
	must(t, lib.Start())
	t.Cleanup(func() { _ = lib.Close() }) // nil
	conn, err := lab.DialWait(m.ctx, lab.Local(left))
	must(t, err)
	_, err = lib.AddLink(conn, netceptor.LinkConfig{Cost: 1})
	must(t, err)
	must(t, m.WaitRoute(m.ctx, "ours", "near", "far", "lib"))
	m.reaches(near, "ours", "far", "lib")
	m.reaches(far, "ours", "near", "lib")
	m.eventually("lib reaches all", func() bool { return len(lib.Status().RoutingTable) == 3 })

	payloads := []string{"", "\x00", "123", "x", "\xc0\x00\x00", "\xc0\x00\x00\x00\x01\x08 as the first packet of a stream"}
	model, err := near.ListenPacket("")
	must(t, err)
	defer model.Close()
	notices := make(chan legacy.Notice, len(payloads))
	model.OnNotice(func(n legacy.Notice) { notices <- n })
	ours, err := lib.ListenPacket("", netceptor.ListenOptions{})
	must(t, err)
	defer ours.Close()
	for _, payload := range payloads {
		for _, to := range []string{"ours", "lib", "far"} {
			_, err := model.WriteTo([]byte(payload), legacy.Addr{Node: to, Service: "nosuch"})
			must(t, err)
			select {
			case n := <-notices:
				if n.By() != to || n.ToNode != to || n.ToService != "nosuch" || n.Problem != netceptor.ErrServiceUnknown.Error() {
					t.Errorf("%q of a model to %s: %+v by %s", payload, to, n, n.By())
				}
			case <-m.ctx.Done():
				t.Fatalf("%q of a model to %s: no answer", payload, to)
			}
		}
		for _, to := range []string{"ours", "near", "far"} {
			addr := netceptor.Addr{Node: to, Service: "nosuch"}
			_, err := ours.WriteTo([]byte(payload), addr)
			must(t, err)
			select {
			case n := <-ours.Unreachable():
				if n != (netceptor.Notice{From: to, To: addr, Problem: netceptor.ErrServiceUnknown.Error()}) {
					t.Errorf("%q of ours to %s: %+v", payload, to, n)
				}
			case <-m.ctx.Done():
				t.Fatalf("%q of ours to %s: no answer", payload, to)
			}
		}
	}
}
