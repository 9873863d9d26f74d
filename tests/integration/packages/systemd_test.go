//go:build linux

package packages

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/tests/integration/lab"
	table "github.com/project-receptor/receptor/tests/tools/packages"
)

// boot is how a host gets a systemd of its own as process 1 of namespaces: it sees the
// host's files, a cgroup that it was given, and nothing of this machine that could be
// written: devices are the host's own, what the kernel shows is read-only. It starts
// nothing by itself.
const boot = `
set -e
echo $$ > "$CGROUP/cgroup.procs"
exec unshare --cgroup --pid --fork --kill-child --uts --ipc --net --mount --propagation private sh -ec '
mount -t proc proc "$ROOT/proc"
mount --bind "$ROOT/proc/sys" "$ROOT/proc/sys"
mount -o remount,bind,ro "$ROOT/proc/sys"
mount -t sysfs -o ro sysfs "$ROOT/sys"
mount -t cgroup2 cgroup2 "$ROOT/sys/fs/cgroup"
ip link set lo up
cd "$ROOT"
mkdir -p run/machine
pivot_root . run/machine
umount -l /run/machine
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=basic.target --log-target=console --show-status=no'
`

// booted is a host that systemd runs on.
type booted struct {
	*host
	ctx context.Context
	pid int // of that systemd
}

func bootHost(ctx context.Context, t *testing.T, h *host) *booted {
	t.Helper()
	unified := cgroups(t)
	cgroup := filepath.Join(unified, fmt.Sprintf("receptor-packages-%d", os.Getpid()))
	must(t, os.Mkdir(cgroup, 0o755))
	t.Cleanup(func() { removeCgroups(t, cgroup) })
	// Nothing but what this test starts.
	for _, target := range []string{"sysinit.target", "basic.target", "sockets.target", "timers.target", "paths.target"} {
		must(t, os.WriteFile(h.file("/etc/systemd/system/"+target), []byte("[Unit]\nDefaultDependencies=no\n"), 0o644))
	}
	cmd := exec.Command("sh", "-c", boot)
	cmd.Env = append(os.Environ(), "ROOT="+h.root, "CGROUP="+cgroup)
	p, err := lab.Start("systemd", cmd)
	must(t, err)
	t.Cleanup(func() {
		p.Kill() // and so all in its namespaces
		if t.Failed() {
			t.Logf("--- systemd\n%s", p.Output())
		}
	})
	b := &booted{host: h, ctx: ctx}
	for {
		children, err := lab.Children(p.PID())
		must(t, err)
		if len(children) == 1 {
			b.pid = children[0].PID
			if out, err := b.in("systemctl", "is-system-running"); err == nil || strings.Contains(out, "degraded") {
				return b
			}
		}
		select {
		case <-p.Done():
			t.Skip("skipped: systemd does not run here: ", p.Output())
		default:
		}
		must(t, lab.Pause(ctx, 50*time.Millisecond))
	}
}

// cgroups is where cgroups of version 2 are.
func cgroups(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var s unix.Statfs_t
		if unix.Statfs(dir, &s) == nil && s.Type == unix.CGROUP2_SUPER_MAGIC && unix.Access(dir, unix.W_OK) == nil {
			return dir
		}
	}
	t.Skip("skipped: needs cgroups of version 2, for a systemd of its own")
	return ""
}

// removeCgroups removes cgroups in which nothing is any more.
func removeCgroups(t *testing.T, dir string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		out, err := exec.Command("find", dir, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";").CombinedOutput()
		if err == nil && len(out) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("cgroup %s stays: %s", dir, out)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// in runs a command there, as root, and returns what it printed.
func (b *booted) in(args ...string) (string, error) {
	cmd := exec.CommandContext(b.ctx, "nsenter", append([]string{"--target", strconv.Itoa(b.pid), "--all", "--"}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (b *booted) must(args ...string) string {
	b.t.Helper()
	out, err := b.in(args...)
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

// Under a systemd of its own, all services run in their sandboxes, attach, and outlive
// that all packages are upgraded at once; so does a unit of work.
func TestUnderSystemd(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	h := newHost(t, "booted", nil, every()...)
	h.write(h.sample("booted") + `
- tcp-listener: {port: 27199}
- udp-listener: {port: 27199}
- ws-listener: {port: 27198}
- tcp-server: {port: 4000, remotenode: x, remoteservice: y}
- udp-server: {port: 4000, remotenode: x, remoteservice: y}
- unix-socket-server: {filename: /run/receptor-proxy-tcp/app.sock, remotenode: x, remoteservice: y}
- work-command: {worktype: linger, command: /usr/bin/sleep, params: "100000"}
- command-service: {service: shell, command: /bin/sh}
- tcp-server: {port: 4001, bindaddr: 127.0.0.1, remotenode: booted, remoteservice: shell}
- tun-proxy: {service: tun, remotenode: x, remoteservice: y, ifaddress: 10.88.0.1, destaddress: 10.88.0.2}
`)
	// The proxy relays, so that connections are its own.
	relay := "[Service]\nExecStart=\nExecStart=/usr/bin/receptor-proxy-tcp --socket /run/receptor/node/plug.sock --no-handoff\n"
	must(t, os.MkdirAll(h.file("/etc/systemd/system/receptor-proxy-tcp.service.d"), 0o755))
	must(t, os.WriteFile(h.file("/etc/systemd/system/receptor-proxy-tcp.service.d/relay.conf"), []byte(relay), 0o644))
	b := bootHost(ctx, t, h)
	var services []table.Package
	for _, p := range table.In(built.repo) {
		if p.Unit != nil {
			services = append(services, p)
			b.must("systemctl", "start", p.Name)
		}
	}
	b.check(services)
	b.must("receptorctl", "work", "submit", "linger", "--no-payload")
	unit := regexp.MustCompile(`Running: PID [0-9]+`)
	running := ""
	for running == "" {
		must(t, lab.Pause(ctx, 50*time.Millisecond))
		running = unit.FindString(b.must("receptorctl", "work", "list"))
	}
	replaced(t, b, services)
	before := b.check(services)
	b.must("sh", "-c", "dpkg --no-triggers --force-unsafe-io -i /run/debs/*.deb")
	for name, pid := range b.check(services) {
		if pid == before[name] {
			t.Errorf("%s was upgraded and still runs as process %d", name, pid)
		}
	}
	if got := b.must("receptorctl", "work", "list"); unit.FindString(got) != running {
		t.Errorf("a unit that was %q before all packages were upgraded is now\n%s", running, got)
	}
}

// replaced upgrades what can be replaced. Each service has another process then, and what
// the one before carried goes on: here a shell behind a connection, both relayed. What
// cannot run replaces nothing, and a successor is looked after as a service is.
func replaced(t *testing.T, b *booted, services []table.Package) {
	before := b.check(services)
	shell := b.connect(t, 4001)
	shell.ask()
	upgrade := []string{"dpkg", "--no-triggers", "--force-unsafe-io", "-i"}
	old := map[string]int{}
	for _, p := range services {
		if p.Unit.Replace {
			upgrade = append(upgrade, "/run/debs/"+filepath.Base(deb(t, p.Name)))
			old[p.Name] = before[p.Name]
		}
	}
	said := b.must(upgrade...)
	shell.ask()
	now := b.check(services)
	for name, pid := range before {
		if _, changed := old[name]; changed != (now[name] != pid) {
			t.Errorf("%s was process %d, and is %d, after\n%s", name, pid, now[name], said)
		}
	}
	for _, name := range []string{"receptor-proxy-tcp", "receptor-command-service"} {
		if !b.runs(old[name]) {
			t.Errorf("process %d of %s has ended under a session", old[name], name)
		}
	}
	line := b.must("cat", fmt.Sprintf("/proc/%d/cmdline", now["receptor-proxy-tcp"]))
	if !strings.Contains(line, "--no-handoff") {
		t.Errorf("the successor has not the options of the service: %q", line)
	}

	const program = "/usr/bin/receptor-proxy-tcp"
	b.must("sh", "-c", "cp "+program+" /var/tmp/good && printf '#!/bin/sh\nexit 1\n' > /var/tmp/bad && chmod +x /var/tmp/bad && mv /var/tmp/bad "+program)
	if out, err := b.in("systemctl", "reload", "receptor-proxy-tcp"); err == nil {
		t.Errorf("reload with a program that does not run: %s", out)
	}
	if pids := b.check(services); pids["receptor-proxy-tcp"] != now["receptor-proxy-tcp"] {
		t.Errorf("with a program that does not run, process %d follows %d", pids["receptor-proxy-tcp"], now["receptor-proxy-tcp"])
	}
	shell.ask()
	b.connect(t, 4001).ask()
	b.must("mv", "/var/tmp/good", program)

	shell.end()
	for name, pid := range old {
		for b.runs(pid) {
			if err := lab.Pause(b.ctx, 50*time.Millisecond); err != nil {
				t.Fatalf("process %d of %s does not end: %v", pid, name, err)
			}
		}
	}
	b.must("kill", "-KILL", strconv.Itoa(now["receptor-proxy-tcp"]))
	for b.must("systemctl", "show", "-P", "NRestarts", "receptor-proxy-tcp") != "1" {
		must(t, lab.Pause(b.ctx, 50*time.Millisecond))
	}
	b.check(services)
}

// runs tells whether there is such a process, which may wait for its parent.
func (b *booted) runs(pid int) bool {
	_, err := b.in("readlink", fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil
}

// session is a shell behind a port of the host.
type session struct {
	t     *testing.T
	in    io.WriteCloser
	out   *bufio.Reader
	asked int
	end   func()
}

// connect connects to a port of the host. The test ends it.
func (b *booted) connect(t *testing.T, port int) *session {
	t.Helper()
	cmd := exec.CommandContext(b.ctx, "nsenter", "--target", strconv.Itoa(b.pid), "--all", "--",
		"bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/127.0.0.1/%d; cat <&3 & cat >&3; kill $!", port))
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	s := &session{t: t, in: in, out: bufio.NewReader(out)}
	s.end = sync.OnceFunc(func() {
		_ = in.Close() // it may have ended
		_ = cmd.Wait() // by a signal
	})
	t.Cleanup(s.end)
	return s
}

// ask has the shell answer.
func (s *session) ask() {
	s.t.Helper()
	s.asked++
	_, err := fmt.Fprintf(s.in, "echo is-$((%d+0))-there\n", s.asked)
	must(s.t, err)
	for want := fmt.Sprintf("is-%d-there", s.asked); ; {
		line, err := s.out.ReadString('\n')
		if err != nil {
			s.t.Fatalf("the session has ended: %q, %v", line, err)
		}
		if strings.Contains(line, want) {
			return
		}
	}
}

// waitAttached waits until all plugs are attached, and what they have to do is done.
func (b *booted) waitAttached(services []table.Package) {
	b.t.Helper()
	for {
		out, err := b.in("receptorctl", "status", "--json")
		var s lab.Status
		if err == nil {
			must(b.t, json.Unmarshal([]byte(out), &s))
		}
		down := slices.DeleteFunc(s.Items, func(i lab.Item) bool {
			none := i.State == "waiting" && !slices.ContainsFunc(services, func(p table.Package) bool { return p.Module == kindsOf[i.Kind] })
			return i.State == "up" || none
		})
		// One that drains has a successor.
		plugs := slices.DeleteFunc(s.Plugs, func(p lab.Plug) bool { return p.State == "draining" })
		if err == nil && len(plugs) == len(services)-1 && len(down) == 0 {
			return
		}
		if err := lab.Pause(b.ctx, 50*time.Millisecond); err != nil {
			b.t.Fatalf("not all is up: %v\n%s\n%s", err, out, b.must("systemctl", "--no-pager", "status", "receptor-*"))
		}
	}
}

// kindsOf are kinds of plugs that a tree may not have yet, by their modules.
var kindsOf = map[string]string{"tun-proxy": "proxy-tun", "command-service": "command-service"}

// check waits until all is up, looks at the services' processes, and returns their
// numbers.
func (b *booted) check(services []table.Package) map[string]int {
	b.t.Helper()
	b.waitAttached(services)
	pids := map[string]int{}
	for _, p := range services {
		if state := b.must("systemctl", "is-active", p.Name); state != "active" {
			b.t.Errorf("%s is %s", p.Name, state)
		}
		pid := b.must("systemctl", "show", "-P", "MainPID", p.Name)
		n, err := strconv.Atoi(pid)
		must(b.t, err)
		pids[p.Name] = n
		uid, _ := b.id("passwd", p.User())
		status := b.must("cat", "/proc/"+pid+"/status")
		seccomp := "Seccomp:\t2"
		if p.Unit.Jobs {
			seccomp = "Seccomp:"
		}
		for _, want := range []string{fmt.Sprintf("Uid:\t%d\t", uid), "NoNewPrivs:\t1", seccomp} {
			if !strings.Contains(status, want) {
				b.t.Errorf("%s: no %q in\n%s", p.Name, want, status)
			}
		}
	}
	return pids
}
