package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// The users of a node started by hand. The numbers need no entry anywhere.
const (
	coreUser    = 64001
	backendUser = 64002
	proxyUser   = 64003
	otherUser   = 64004
	plugGroup   = 64100 // may reach the plug socket; the policy says what each may do
)

// as runs a program as another user, member of the plug group.
func as(uid uint32) func(*exec.Cmd) {
	return func(c *exec.Cmd) {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: []uint32{plugGroup}}}
	}
}

// A node without the launcher: the core from a file, then the plugs by hand, in
// either order, each as a user of its own, with only a socket path in common. A
// user that no rule names is refused.
func TestByHandAsDifferentUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skipped: needs root, to start programs as different users")
	}
	for _, order := range [][]string{
		{"core", "backend", "proxy"},
		{"proxy", "backend", "core"},
	} {
		t.Run(strings.Join(order, ","), func(t *testing.T) {
			app, err := lab.Serve(lab.Echo)
			must(t, err)
			defer app.Close()
			l, ctx := newLab(t)
			h := &byHand{Lab: l, ctx: ctx, app: app.Addr(), link: freePort(t), entry: freePort(t)}
			h.prepare(t)
			for _, what := range order {
				h.start(t, what)
			}
			// The other end of the link, and of the stream, is an ordinary node.
			_, err = l.Start("receptor", "--node", "id=peer", "--tcp-peer", "address="+lab.Local(h.link),
				"--tcp-client", "service=app", "address="+h.app)
			must(t, err)
			must(t, lab.WaitRoundTrip(ctx, lab.Local(h.entry)))
			h.expectUsers(t)
			h.expectRefused(t)
			// The refused one has disturbed nobody.
			must(t, lab.RoundTrip(ctx, lab.Local(h.entry)))
		})
	}
}

type byHand struct {
	*lab.Lab
	ctx         context.Context
	app         string
	link, entry int
	config      string
}

// socket is the one thing that core and plugs have in common.
func (h *byHand) socket() string { return filepath.Join(h.Dir, "plugs", "plug.sock") }

func (h *byHand) prepare(t *testing.T) {
	t.Helper()
	must(t, os.Chmod(h.Dir, 0o755))
	for _, d := range []struct {
		name       string
		mode       os.FileMode
		uid, group int
	}{
		{"plugs", 0o750, coreUser, plugGroup},
		{"run", 0o755, coreUser, coreUser},
		{"state", 0o700, coreUser, coreUser},
	} {
		dir := filepath.Join(h.Dir, d.name)
		must(t, os.Mkdir(dir, d.mode))
		must(t, os.Chmod(dir, d.mode))
		must(t, os.Chown(dir, d.uid, d.group))
	}
	h.config = filepath.Join(h.Dir, "node.yml")
	must(t, os.WriteFile(h.config, fmt.Appendf(nil, `---
- node:
    id: hand
- plugs-policy:
    socket: %s
    group: "%d"
    mode: "0660"
    rules:
      - {user: "%d", kinds: ["tcp-*"], roles: {link: {max: 64}}}
      - {user: "%d", roles: {stream: {dial: ["peer/app"]}}}
- tcp-listener:
    bindaddr: 127.0.0.1
    port: %d
- tcp-server:
    bindaddr: 127.0.0.1
    port: %d
    remotenode: peer
    remoteservice: app
`, h.socket(), plugGroup, backendUser, proxyUser, h.link, h.entry), 0o644))
}

func (h *byHand) start(t *testing.T, what string) {
	t.Helper()
	var err error
	switch what {
	case "core":
		_, err = h.StartAs(as(coreUser), "receptor-core", "-c", h.config)
	case "backend":
		_, err = h.StartAs(as(backendUser), "receptor-backend-tcp", "--socket", h.socket())
	case "proxy":
		_, err = h.StartAs(as(proxyUser), "receptor-proxy-tcp", "--socket", h.socket())
	}
	must(t, err)
}

// expectUsers looks at every program's user in /proc.
func (h *byHand) expectUsers(t *testing.T) {
	t.Helper()
	want := map[string]int{"receptor-core": coreUser, "receptor-backend-tcp": backendUser, "receptor-proxy-tcp": proxyUser}
	for _, p := range h.Processes() {
		uid, ok := want[p.Name]
		if !ok {
			continue
		}
		info, err := os.Stat("/proc/" + strconv.Itoa(p.PID()))
		must(t, err)
		if got := info.Sys().(*syscall.Stat_t).Uid; int(got) != uid {
			t.Errorf("%s runs as user %d, expected %d", p.Name, got, uid)
		}
	}
}

// expectRefused starts a proxy as a user without a rule.
func (h *byHand) expectRefused(t *testing.T) {
	t.Helper()
	p, err := h.StartAs(as(otherUser), "receptor-proxy-tcp", "--socket", h.socket(), "--name", "stranger")
	must(t, err)
	must(t, p.WaitOutput(h.ctx, "denied"))
	if want := strconv.Itoa(otherUser); !strings.Contains(p.Output(), want) {
		t.Errorf("the refusal does not name user %s: %s", want, p.Output())
	}
	s, err := h.StatusAt(h.ctx, filepath.Join(filepath.Dir(h.socket()), "control.sock"))
	must(t, err)
	for _, plug := range s.Plugs {
		if plug.Name == "stranger" {
			t.Error("the stranger is attached")
		}
	}
}
