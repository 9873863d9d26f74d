//go:build linux

package packages

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// host is a machine: a root directory with what is installed there, and a network.
type host struct {
	t    *testing.T
	name string
	root string
	net  *lab.Host // nil: it has none, and runs no service
	runs []*service

	leaving []*service // whose processes were replaced, and end when what they carry has
}

// newHost makes a host of this machine's system, on which the packages are installed.
// The test ends what runs there.
func newHost(t *testing.T, name string, network *lab.Host, packages ...string) *host {
	t.Helper()
	base := filepath.Join(built.dir, t.Name(), name)
	h := &host{t: t, name: name, root: filepath.Join(base, "root"), net: network}
	must(t, os.MkdirAll(base, 0o755))
	mount(t, "tmpfs", "tmpfs", base, 0, "")
	for _, d := range []string{"upper", "work", "root"} {
		must(t, os.Mkdir(filepath.Join(base, d), 0o755))
	}
	if err := unix.Mount("overlay", h.root, "overlay", 0, fmt.Sprintf("lowerdir=/,upperdir=%s/upper,workdir=%[1]s/work", base)); err != nil {
		t.Skip("skipped: needs overlays, for a host's files: ", err)
	}
	mount(t, "proc", "proc", filepath.Join(h.root, "proc"), 0, "")
	mount(t, "tmpfs", "tmpfs", filepath.Join(h.root, "run"), 0, "mode=0755")
	mount(t, "tmpfs", "tmpfs", filepath.Join(h.root, "tmp"), 0, "mode=1777")
	mount(t, "tmpfs", "tmpfs", filepath.Join(h.root, "dev"), 0, "mode=0755")
	must(t, os.Mkdir(filepath.Join(h.root, "dev", "net"), 0o755))
	for name, number := range map[string]uint64{
		"null": unix.Mkdev(1, 3), "zero": unix.Mkdev(1, 5), "random": unix.Mkdev(1, 8), "urandom": unix.Mkdev(1, 9), "net/tun": unix.Mkdev(10, 200),
	} {
		file := filepath.Join(h.root, "dev", name)
		must(t, unix.Mknod(file, unix.S_IFCHR, int(number)))
		must(t, os.Chmod(file, 0o666))
	}
	must(t, os.Mkdir(filepath.Join(h.root, "dev", "pts"), 0o755))
	mount(t, "devpts", "devpts", filepath.Join(h.root, "dev", "pts"), 0, "newinstance,ptmxmode=0666,mode=0620,gid=5")
	must(t, os.Symlink("pts/ptmx", filepath.Join(h.root, "dev", "ptmx")))
	debs := filepath.Join(h.root, "run", "debs")
	must(t, os.Mkdir(debs, 0o755))
	mount(t, built.debs, "", debs, unix.MS_BIND, "")
	if len(packages) > 0 {
		h.install(packages...)
	}
	t.Cleanup(func() {
		for _, s := range slices.Concat(h.runs, h.leaving) {
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
			if t.Failed() {
				t.Logf("--- %s on %s (pid %d)\n%s", s.Name, h.name, s.PID(), s.Output())
			}
		}
		// The mounts of a host that something was left on go with the namespace.
		if err := unix.Unmount(base, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return h
}

func mount(t *testing.T, source, kind, at string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, at, kind, flags, data); err != nil {
		t.Fatalf("mount %s: %v", at, err)
	}
}

// file is a path of the host, on this machine.
func (h *host) file(path string) string { return filepath.Join(h.root, path) }

// command is a command that runs on the host, as root.
func (h *host) command(args ...string) *exec.Cmd {
	cmd := exec.Command("chroot", append([]string{h.root}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root", "DEBIAN_FRONTEND=noninteractive"}
	if h.net != nil {
		h.net.Run(cmd)
	}
	return cmd
}

// run runs a command on the host, and returns what it printed.
func (h *host) run(args ...string) string {
	h.t.Helper()
	out, err := h.command(args...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("%s: %s: %v\n%s", h.name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// install installs packages as an administrator does, at once.
func (h *host) install(packages ...string) {
	h.t.Helper()
	args := []string{"dpkg", "--no-triggers", "--force-unsafe-io", "-i"}
	for _, p := range packages {
		args = append(args, filepath.Join("/run/debs", filepath.Base(deb(h.t, p))))
	}
	h.run(args...)
}

// owner is the installed package that a file belongs to.
func (h *host) owner(path string) string {
	h.t.Helper()
	name, _, _ := strings.Cut(h.run("dpkg", "-S", path), ":")
	return name
}

// playSystemd has systemctl of the host take notes, where all services run, those of
// backends can be reloaded, and the reload of one of these fails. What it returns tells
// what was noted while something was done.
func (h *host) playSystemd() func(do func()) string {
	h.t.Helper()
	notes := h.file("/run/systemctl")
	must(h.t, os.MkdirAll(h.file("/run/systemd/system"), 0o755))
	must(h.t, os.WriteFile(h.file("/usr/sbin/systemctl"), []byte("#!/bin/sh\necho \"$@\" >> /run/systemctl\ncase \"$*\" in show*backend*) echo yes ;; reload*ws*) exit 1 ;; esac\n"), 0o755)) // found before the system's
	return func(do func()) string {
		h.t.Helper()
		must(h.t, os.WriteFile(notes, nil, 0o644))
		do()
		text, err := os.ReadFile(notes)
		must(h.t, err)
		return string(text)
	}
}

// restarted and reloaded are what an upgrade has systemd do with a service that cannot be
// reloaded, and with one that can.
func restarted(name string) string {
	return fmt.Sprintf("show -p CanReload --value %[1]s.service\ndaemon-reload\ntry-restart %[1]s.service\n", name)
}

func reloaded(name string) string {
	return fmt.Sprintf("show -p CanReload --value %[1]s.service\ndaemon-reload\nis-active --quiet %[1]s.service\nreload %[1]s.service\n", name)
}
