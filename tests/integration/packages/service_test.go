//go:build linux

package packages

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// unit is the file of a unit: the values of each key, in their order.
type unit map[string][]string

func readUnit(t *testing.T, h *host, name string) unit {
	t.Helper()
	text, err := os.ReadFile(h.file("/usr/lib/systemd/system/" + name + ".service"))
	must(t, err)
	u := unit{}
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(key, "#") {
			u[key] = append(u[key], value)
		}
	}
	return u
}

// one is the value of a key, empty if it is not set.
func (u unit) one(key string) string {
	if v := u[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// service is a running service of a host.
type service struct {
	*lab.Process
	host *host
	unit unit
	next int // process that has taken over; 0: it is the one that was started
}

// PID is the number of the service's process.
func (s *service) PID() int {
	if s.next != 0 {
		return s.next
	}
	return s.Process.PID()
}

// Stop ends the service as systemd does.
func (s *service) Stop() error {
	if s.next == 0 {
		return s.Process.Stop()
	}
	process, err := unix.PidfdOpen(s.next, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(process)
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := unix.PidfdSendSignal(process, signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		ended := []unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}
		n, err := unix.Poll(ended, int(stopTime.Milliseconds()))
		for errors.Is(err, unix.EINTR) {
			n, err = unix.Poll(ended, int(stopTime.Milliseconds()))
		}
		switch {
		case err != nil:
			return err
		case n > 0 && signal == unix.SIGKILL:
			return fmt.Errorf("%s did not stop on SIGTERM", s.Name)
		case n > 0:
			return nil
		}
	}
	return fmt.Errorf("process %d of %s does not end", s.next, s.Name)
}

// stopTime is how long a service may take to end.
const stopTime = 10 * time.Second

// reload replaces the process of a service as its unit says, which runs no more as a
// service then, but until what it carries has ended.
func (h *host) reload(ctx context.Context, s *service) {
	h.t.Helper()
	u := readUnit(h.t, h, s.Name)
	p, err := lab.Start(s.Name, h.as(u, strings.ReplaceAll(u.one("ExecReload"), "$MAINPID", strconv.Itoa(s.PID()))))
	must(h.t, err)
	h.leaving = append(h.leaving, s)
	if err := p.WaitOutput(ctx, fmt.Sprintf(" from process %d\n", s.PID())); err != nil {
		h.t.Fatalf("%s on %s: reload: %v\n%s", s.Name, h.name, err, p.Output())
	}
	said := regexp.MustCompile(`: process (\d+) takes over from process`).FindStringSubmatch(p.Output())
	if said == nil {
		h.t.Fatalf("%s on %s: reload: %s", s.Name, h.name, p.Output())
	}
	next, err := strconv.Atoi(said[1])
	must(h.t, err)
	h.runs = append(h.runs, &service{Process: p, host: h, unit: u, next: next})
}

// start starts the service of a package as systemd would: its command line, user,
// groups, capabilities, environment and directories. The sandbox of mounts and system
// calls is systemd's alone.
func (h *host) start(name string) *service {
	h.t.Helper()
	u := readUnit(h.t, h, name)
	cmd := h.as(u, u.one("ExecStart"))
	for key, dir := range map[string]string{"RuntimeDirectory": "/run", "StateDirectory": "/var/lib"} {
		if u.one(key) == "" {
			continue
		}
		path := filepath.Join(dir, u.one(key))
		h.run("install", "-d", "-o", u.one("User"), "-g", u.one("User"), "-m", u.one(key+"Mode"), path)
		cmd.Env = append(cmd.Env, map[string]string{"RuntimeDirectory": "RUNTIME_DIRECTORY=", "StateDirectory": "STATE_DIRECTORY="}[key]+path)
	}
	p, err := lab.Start(name, cmd)
	must(h.t, err)
	s := &service{Process: p, host: h, unit: u}
	h.runs = append(h.runs, s)
	return s
}

// as is a command with the user, groups, capabilities and environment of a unit.
func (h *host) as(u unit, line string) *exec.Cmd {
	args := []string{
		"setpriv", "--reuid=" + u.one("User"), "--regid=" + u.one("User"), "--groups=" + strings.ReplaceAll(u.one("SupplementaryGroups"), " ", ","),
		"--no-new-privs", "--inh-caps=" + capArgs(u.one("AmbientCapabilities")), "--ambient-caps=" + capArgs(u.one("AmbientCapabilities")),
		"--bounding-set=" + capArgs(u.one("CapabilityBoundingSet")), "--",
	}
	cmd := h.command(append(args, strings.Fields(line)...)...)
	cmd.Env = append(cmd.Env, u["Environment"]...)
	return cmd
}

// capArgs is a list of capabilities of a unit, as setpriv takes it.
func capArgs(list string) string {
	args := "-all"
	for _, c := range strings.Fields(list) {
		args += ",+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
	}
	return args
}

// capabilities that units have, by name.
var capabilities = map[string]int{"CAP_NET_ADMIN": unix.CAP_NET_ADMIN, "CAP_NET_BIND_SERVICE": unix.CAP_NET_BIND_SERVICE}

// capMask is a list of capabilities of a unit, as the system shows it.
func capMask(t *testing.T, list string) (mask uint64) {
	t.Helper()
	for _, c := range strings.Fields(list) {
		n, ok := capabilities[c]
		if !ok {
			t.Fatalf("capability %s is unknown here", c)
		}
		mask |= 1 << n
	}
	return mask
}

// check asserts of a process of the service, the first or one that it started, that it
// is the program of that package, and has the user, groups and capabilities of the unit.
func (s *service) check(pid int, pkg, program string) {
	t := s.host.t
	t.Helper()
	path := "/usr/bin/" + program
	exe, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
	must(t, err)
	file, err := os.Stat(s.host.file(path))
	must(t, err)
	if !os.SameFile(exe, file) {
		link, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		t.Errorf("%s on %s: pid %d runs %s, not the installed %s", s.Name, s.host.name, pid, link, path)
	}
	if owner := s.host.owner(path); owner != pkg {
		t.Errorf("%s: %s belongs to package %q, expected %s", s.host.name, path, owner, pkg)
	}
	want := s.expected()
	for key, got := range statusOf(t, pid) {
		if w, ok := want[key]; ok && got != w {
			t.Errorf("%s on %s, pid %d: %s is %q, expected %q", program, s.host.name, pid, key, got, w)
		}
		delete(want, key)
	}
	if len(want) > 0 {
		t.Errorf("%s: the system does not tell %v", program, want)
	}
}

// expected are the fields of /proc/<pid>/status that the unit decides.
func (s *service) expected() map[string]string {
	t := s.host.t
	t.Helper()
	uid, gid := s.host.id("passwd", s.unit.one("User"))
	var groups []int
	for _, g := range strings.Fields(s.unit.one("SupplementaryGroups")) {
		n, _ := s.host.id("group", g)
		groups = append(groups, n)
	}
	slices.Sort(groups)
	caps := fmt.Sprintf("%016x", capMask(t, s.unit.one("AmbientCapabilities")))
	bounds := capMask(t, s.unit.one("CapabilityBoundingSet"))
	if bits.OnesCount64(bounds) > 1 {
		t.Errorf("%s: more than one capability: %s", s.Name, s.unit.one("CapabilityBoundingSet"))
	}
	return map[string]string{
		"Uid": strings.TrimSpace(strings.Repeat(strconv.Itoa(uid)+" ", 4)), "Gid": strings.TrimSpace(strings.Repeat(strconv.Itoa(gid)+" ", 4)),
		"Groups": strings.Trim(fmt.Sprint(groups), "[]"),
		"CapInh": caps, "CapPrm": caps, "CapEff": caps, "CapAmb": caps, "CapBnd": fmt.Sprintf("%016x", bounds),
		"NoNewPrivs": "1",
	}
}

// statusOf is /proc/<pid>/status, with single spaces.
func statusOf(t *testing.T, pid int) map[string]string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	status := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		status[key] = strings.Join(strings.Fields(value), " ")
	}
	return status
}

// id is the number of a user of the host, and of its group, or that of a group.
func (h *host) id(file, name string) (id, group int) {
	h.t.Helper()
	text, err := os.ReadFile(h.file("/etc/" + file))
	must(h.t, err)
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if f[0] != name {
			continue
		}
		id, err = strconv.Atoi(f[2])
		must(h.t, err)
		if file == "passwd" {
			group, err = strconv.Atoi(f[3])
			must(h.t, err)
		}
		return id, group
	}
	h.t.Fatalf("%s has no %s in /etc/%s", h.name, name, file)
	return 0, 0
}

// ctl runs receptorctl as somebody who is member of that group alone.
func (h *host) ctl(group string, args ...string) (string, error) {
	h.t.Helper()
	nobody, err := user.Lookup("nobody")
	must(h.t, err)
	gid, _ := h.id("group", group)
	cmd := h.command(append([]string{"setpriv", "--reuid=" + nobody.Uid, fmt.Sprintf("--regid=%d", gid), "--clear-groups", "--", "receptorctl"}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
