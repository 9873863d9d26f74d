//go:build linux

package packages

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// Root runs a whole node with the launcher, from the sample configuration: core, plugs
// and units of work are the user receptor, who reads what its groups may, and only what
// makes network interfaces keeps a capability.
func TestLauncherOfRoot(t *testing.T) {
	network, err := lab.NewNetwork()
	if err != nil {
		t.Skip("skipped: ", err)
	}
	t.Cleanup(func() { must(t, network.Close()) })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	there, err := network.Host("all")
	must(t, err)
	h := newHost(t, "all", there, every()...)
	newAuthority(t).give(h, "all")
	h.configure("all", tunnel(0, "elsewhere")+`
- tcp-listener: {port: 27199, tls: mesh}
- ws-listener: {port: 27198, tls: mesh}
- tcp-server: {port: 4000, bindaddr: 127.0.0.1, remotenode: elsewhere, remoteservice: app}
- work-command: {worktype: linger, command: /usr/bin/sleep, params: "100000"}
- command-service: {service: shell, command: /bin/sh}
`)
	launch := []string{"receptor", "-c", "/etc/receptor/receptor.yml"}
	l := h.launch(launch...)
	h.wait(ctx, "all items", allUp)
	programs := map[string]int{}
	children, err := lab.Children(l.PID())
	must(t, err)
	for _, c := range children {
		programs[c.Program] = c.PID
		h.checkRights(c.PID, c.Program == "receptor-proxy-tun")
	}
	for _, p := range []string{"receptor-core", "receptor-backend-tcp", "receptor-backend-ws", "receptor-proxy-tcp", "receptor-proxy-tun", "receptor-worker-command", "receptor-command-service"} {
		if programs[p] == 0 {
			t.Errorf("%s does not run: %v", p, programs)
		}
	}
	if got := h.run("stat", "-c", "%U:%G %a", "/run/receptor", "/run/receptor/all", "/var/lib/receptor", "/var/lib/receptor/all"); got !=
		"root:root 755\nreceptor:receptor-plug 751\nreceptor:receptor 700\nreceptor:receptor 700\n" {
		t.Error("directories: ", got)
	}

	submitted, err := h.ctl("receptor", "work", "submit", "linger", "--no-payload")
	_, id, ok := strings.Cut(submitted, "Unit ID: ")
	if err != nil || !ok {
		t.Fatalf("submit: %v, %s", err, submitted)
	}
	h.checkRights(h.processOf(ctx, "/usr/bin/sleep"), false)
	h.checkRights(h.processOf(ctx, "/usr/bin/receptor-work-supervisor"), false)
	if out, err := h.ctl("receptor", "work", "cancel", strings.TrimSpace(id)); err != nil {
		t.Errorf("cancel: %v, %s", err, out)
	}

	// What ends is started again as it was.
	must(t, unix.Kill(programs["receptor-proxy-tun"], unix.SIGKILL))
	h.wait(ctx, "another proxy of IP", func(s *lab.Status) bool {
		tun := pidOf(s, "proxy-tun")
		return tun != 0 && tun != programs["receptor-proxy-tun"] && allUp(s)
	})
	s, err := h.status()
	must(t, err)
	h.checkRights(pidOf(s, "proxy-tun"), true)
	must(t, l.Stop())

	// Whoever wants all of it to be root says so.
	root := h.launch("receptor", "--user", "root", "--node", "id=roots", "--tcp-listener", "port=27199")
	for {
		out, err := h.command("receptorctl", "--socket", "/run/receptor/roots/control.sock", "status", "--json").Output()
		var s lab.Status
		if err == nil {
			must(t, json.Unmarshal(out, &s))
		}
		if allUp(&s) {
			break
		}
		must(t, lab.Pause(ctx, 50*time.Millisecond))
	}
	children, err = lab.Children(root.PID())
	must(t, err)
	for _, c := range children {
		if uid := statusOf(t, c.PID)["Uid"]; uid != "0 0 0 0" {
			t.Errorf("%s is %s, not root", c.Program, uid)
		}
	}
	if len(children) != 2 {
		t.Errorf("core and backend as root: %v", children)
	}
	must(t, root.Stop())

	// What only root may is told before anything runs, in a line each.
	must(t, os.Chown(h.file("/etc/receptor/tls/node.key"), 0, 0))
	out, err := h.command(append(launch, "--work-command", "worktype=other", "command=/bin/true", "user=nobody")...).CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err == nil || len(lines) != 3 {
		t.Fatalf("a key of root's, and a unit of another user: %v\n%s", err, out)
	}
	for i, want := range []string{"cannot read /etc/receptor/tls/node.key", "cannot read /etc/receptor/tls/node.key", "only root can run programs as others"} {
		if !strings.Contains(lines[i], want) || !strings.Contains(lines[i], "--user root") {
			t.Errorf("%q is not said, or not what to do, in %q", want, lines[i])
		}
	}
}

// launch starts a launcher, as root.
func (h *host) launch(args ...string) *lab.Process {
	h.t.Helper()
	p, err := lab.Start("receptor", h.command(args...))
	must(h.t, err)
	h.runs = append(h.runs, &service{Process: p, host: h})
	return p
}

func allUp(s *lab.Status) bool {
	for _, i := range s.Items {
		if i.State != "up" {
			return false
		}
	}
	return len(s.Items) > 0
}

// pidOf is the process of an attached plug; 0: there is none.
func pidOf(s *lab.Status, plug string) int {
	for _, p := range s.Plugs {
		if p.Name == plug {
			return p.PID
		}
	}
	return 0
}

// checkRights asserts of a process that it is the user receptor, with the groups that its
// package gives it, and has no capability, or just CAP_NET_ADMIN.
func (h *host) checkRights(pid int, netAdmin bool) {
	h.t.Helper()
	status := statusOf(h.t, pid)
	uid, gid := h.id("passwd", "receptor")
	groups := []int{gid}
	for _, g := range []string{"receptor-plug", "receptor-tls"} {
		n, _ := h.id("group", g)
		groups = append(groups, n)
	}
	slices.Sort(groups)
	caps := uint64(0)
	if netAdmin {
		caps = 1 << unix.CAP_NET_ADMIN
	}
	want := map[string]string{
		"Uid": strings.Join(slices.Repeat([]string{strconv.Itoa(uid)}, 4), " "), "Gid": strings.Join(slices.Repeat([]string{strconv.Itoa(gid)}, 4), " "),
		"Groups": strings.Trim(fmt.Sprint(groups), "[]"),
	}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		want[set] = fmt.Sprintf("%016x", caps)
	}
	for key, w := range want {
		if status[key] != w {
			h.t.Errorf("%s, pid %d: %s is %q, expected %q", status["Name"], pid, key, status[key], w)
		}
	}
}
