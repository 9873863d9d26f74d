package integration

import (
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// A rule at a hop that rejects one service, put in place while streams are open:
// those of the service stop, dials over the connection that they share fail at
// once and say why, and streams of another service on the same nodes go on. At
// the end, likewise.
func TestFirewallStopsOneService(t *testing.T) {
	app, err := lab.Serve(lab.Echo)
	must(t, err)
	defer app.Close()
	l, ctx := newLab(t)
	ports := []int{freePort(t), freePort(t), freePort(t), freePort(t), freePort(t)}
	entries := map[string]string{"web": lab.Local(ports[2]), "ssh": lab.Local(ports[3]), "ftp": lab.Local(ports[4])}
	start := func(args ...string) *lab.Process {
		t.Helper()
		p, err := l.Start("receptor", args...)
		must(t, err)
		return p
	}
	server := func(i int, service string) []string {
		return []string{"--tcp-server", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(ports[i]), "remotenode=last", "remoteservice=" + service}
	}
	first := []string{"--node", "id=first", "--tcp-listener", "bindaddr=127.0.0.1", "port=" + strconv.Itoa(ports[0])}
	for i, service := range []string{"web", "ssh", "ftp"} {
		first = append(first, server(2+i, service)...)
	}
	start(first...)
	middleWith := func(rules string) *lab.Process {
		t.Helper()
		return start("--node", "id=middle", "firewallrules="+rules, "--tcp-peer", "address="+lab.Local(ports[0]),
			"--tcp-listener", "bindaddr=127.0.0.1", "port="+strconv.Itoa(ports[1]))
	}
	middle := middleWith(`[{"action":"accept"}]`)
	last := []string{"--node", "id=last", `firewallrules={"action":"reject","toservice":"ftp"}`, "--tcp-peer", "address=" + lab.Local(ports[1])}
	for service := range entries {
		last = append(last, "--tcp-client", "service="+service, "address="+app.Addr())
	}
	start(last...)
	must(t, l.WaitRoute(ctx, "first", "last"))
	must(t, l.WaitRoute(ctx, "last", "first"))
	open := func(service string) *net.TCPConn {
		t.Helper()
		must(t, lab.WaitRoundTrip(ctx, entries[service]))
		c, err := lab.DialWait(ctx, entries[service])
		must(t, err)
		t.Cleanup(func() { c.Close() })
		deadline, _ := ctx.Deadline()
		c.SetDeadline(deadline)
		must(t, lab.Exchange(c, "open"))
		return c
	}
	web, ssh := open("web"), open("ssh")

	refusedBy := func(node, service string) {
		t.Helper()
		_, err := l.Ctl(ctx, "first", "connect", "last", service)
		if want := "ERROR: blocked by firewall of node " + node; err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("connect to %s: %v, want %s", service, err, want)
		}
		out, err := l.Ctl(ctx, "first", "explain", "last", service)
		if want := "first to last:" + service + ": in the way: the last dial failed: blocked by firewall of node " + node + "\n"; err == nil || !strings.HasPrefix(out, want) {
			t.Errorf("explain says %s (%v), want %s", out, err, want)
		}
		c, err := lab.DialWait(ctx, entries[service])
		must(t, err)
		defer c.Close()
		deadline, _ := ctx.Deadline()
		c.SetDeadline(deadline)
		if err := lab.Exchange(c, "x"); err == nil {
			t.Errorf("%s goes through", service)
		}
	}
	refusedBy("last", "ftp")

	must(t, middle.Stop())
	middleWith(`[{"action":"reject","toservice":"web"}]`)
	must(t, l.WaitRoute(ctx, "middle", "first", "last"))
	must(t, lab.Exchange(ssh, "still there"))
	refusedBy("middle", "web")
	must(t, lab.Exchange(ssh, "and still"))
	must(t, lab.RoundTrip(ctx, entries["ssh"]))

	// Nothing of the open stream gets through, before it ends in the end.
	web.SetDeadline(time.Now().Add(time.Second))
	if err := lab.Exchange(web, "x"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the open stream of the service: %v", err)
	}
	out, err := l.Ctl(ctx, "first", "explain", "--from", "middle", "last", "web")
	if want := "ERROR: reach the control service of middle: service unknown"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("explain by a node without a control service: %s, %v", out, err)
	}
	out, err = l.Ctl(ctx, "middle", "status")
	must(t, err)
	if !strings.Contains(out, "reject toservice=web") {
		t.Errorf("status says nothing of the rule:\n%s", out)
	}
}
