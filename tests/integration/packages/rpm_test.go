//go:build linux

package packages

import (
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	table "github.com/project-receptor/receptor/tests/tools/packages"
)

// needRPM skips a test where there is no rpm.
func needRPM(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("rpm"); err != nil {
		t.Skip("skipped: needs the program rpm")
	}
}

// rpmFile is the file of a package in a folder.
func rpmFile(t *testing.T, dir, name string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, name+"-[0-9]*.rpm"))
	if err != nil || len(files) != 1 {
		t.Fatalf("package %s for rpm: files %v, %v", name, files, err)
	}
	return files[0]
}

// rpm runs rpm on the host's root, whose data base of packages is its own, and returns
// what it says of packages. What it says of itself, as Debian's does, is no matter.
func (h *host) rpm(args ...string) (string, error) {
	var said strings.Builder
	cmd := exec.Command("rpm", append([]string{"--root", h.root}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root"}
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("rpm %s: %w\n%s%s", strings.Join(args, " "), err, out, said.String())
	}
	return string(out), err
}

func (h *host) mustRPM(args ...string) string {
	h.t.Helper()
	out, err := h.rpm(args...)
	must(h.t, err)
	return out
}

// With rpm all is installed, upgraded and removed as with dpkg.
func TestRPM(t *testing.T) {
	needRPM(t)
	h := newHost(t, "rpm", nil)
	said := h.playSystemd()
	install := []string{"-U"}
	for _, name := range every() {
		install = append(install, rpmFile(t, built.debs, name))
	}
	services := 0
	for _, p := range table.In(built.repo) {
		if p.Unit != nil {
			services++
		}
	}
	if got, want := said(func() { h.mustRPM(install...) }), strings.Repeat("daemon-reload\n", services); got != want {
		t.Errorf("installation has systemd do %q, expected %q", got, want)
	}
	h.checkRPMs()
	if got := h.run("stat", "-c", "%U:%G %a", "/etc/receptor/tls", "/run/receptor/node"); got != "root:receptor-tls 750\nreceptor:receptor-plug 711\n" {
		t.Error("directories for keys and sockets: ", got)
	}
	h.run("receptor-core", "-c", "/etc/receptor/receptor.yml", "--check")

	newer := h.newerRPMs("receptor-core", "receptor-backend-tcp", "receptorctl")
	config := h.file("/etc/receptor/receptor.yml")
	must(t, os.WriteFile(config, []byte("# mine\n"), 0o644))
	for _, step := range []struct{ name, what, dir, want string }{
		{"receptor-core", "upgrade", newer, restarted("receptor-core")},
		{"receptor-backend-tcp", "upgrade", newer, reloaded("receptor-backend-tcp")},
		{"receptorctl", "upgrade", newer, ""},
		{"receptor-backend-tcp", "downgrade", built.debs, reloaded("receptor-backend-tcp")},
	} {
		if got := said(func() { h.mustRPM("-U", "--oldpackage", rpmFile(t, step.dir, step.name)) }); got != step.want {
			t.Errorf("%s of %s has systemd do %q, expected %q", step.what, step.name, got, step.want)
		}
		if got, want := h.mustRPM("-q", "--qf", "%{RELEASE} ", step.name), map[string]string{newer: "2 ", built.debs: "1 "}[step.dir]; got != want {
			t.Errorf("after the %s of %s, releases %q are installed", step.what, step.name, got)
		}
	}
	h.wantText("/etc/receptor/receptor.yml", "# mine\n")
	h.wantText("/etc/receptor/receptor.yml.rpmnew", newerConfig)

	if _, err := h.rpm("-e", "receptor-core"); err == nil || !strings.Contains(err.Error(), "needed by") {
		t.Error("removal of what another package depends on: ", err)
	}
	if got := said(func() { h.mustRPM("-e", "receptor", "receptor-backend-tcp") }); got != "disable --now receptor-backend-tcp.service\ndaemon-reload\n" {
		t.Errorf("removal has systemd do %q", got)
	}
	h.mustRPM("-e", "receptor-core")
	h.wantText("/etc/receptor/receptor.yml.rpmsave", "# mine\n") // it was edited
	for _, name := range []string{"receptor", "receptor-backend-tcp", "receptor-core"} {
		left := h.run("find", "/usr", "/etc", "-name", name, "-o", "-name", name+".*", "!", "-name", "*.rpmsave", "-o", "-name", "_"+name)
		left = strings.TrimPrefix(left, "/etc/receptor\n") // with the administrator's keys, and what was edited
		if left = strings.ReplaceAll(left, "/etc/receptor/receptor.yml.rpmnew\n", ""); left != "" {
			t.Errorf("%s was removed, and there is still\n%s", name, left)
		}
	}
	h.id("passwd", "receptor") // files may be the user's
}

// checkRPMs asserts that all packages are installed as they say: files with their
// contents, owners and modes, users, and programs that run.
func (h *host) checkRPMs() {
	t := h.t
	t.Helper()
	if out, err := h.rpm(append([]string{"-V"}, every()...)...); err != nil {
		t.Errorf("installed other than packaged: %v%s", err, out)
	}
	for _, p := range table.In(built.repo) {
		program := "/usr/bin/" + p.Name
		if owner := h.mustRPM("-q", "--qf", "%{NAME}", "-f", program); owner != p.Name {
			t.Errorf("%s is of the package %s", program, owner)
		}
		if out := h.run(program, "--version"); !strings.Contains(out, "v"+version(&p)) {
			t.Errorf("%s --version: %s", program, out)
		}
		if _, err := os.Stat(h.file("/usr/share/zsh/site-functions/_" + p.Name)); err != nil {
			t.Error(err) // zsh looks there, on systems with rpm
		}
		requires := strings.Fields(h.mustRPM("-q", "--requires", p.Name))
		if !slices.Equal(requires, p.Depends) {
			t.Errorf("%s requires %q, expected %q", p.Name, requires, p.Depends)
		}
		for line := range strings.Lines(h.mustRPM("-q", "--qf", "[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILENAMES}\n]", p.Name)) {
			mode, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			owner, file, _ := strings.Cut(rest, " ")
			want := "-rw-r--r--"
			switch {
			case strings.HasPrefix(file, "/usr/bin/"):
				want = "-rwxr-xr-x"
			case strings.HasPrefix(mode, "d"):
				want = "drwxr-xr-x"
			}
			if mode != want || owner != "root:root" {
				t.Errorf("%s: %s has mode %s and is %s's, expected %s and root's", p.Name, file, mode, owner, want)
			}
		}
		if p.Unit != nil {
			if uid, gid := h.id("passwd", p.User()); uid == 0 || gid == 0 {
				t.Errorf("%s runs as user %d, group %d", p.Name, uid, gid)
			}
		}
	}
}

func (h *host) wantText(path, want string) {
	h.t.Helper()
	if text, err := os.ReadFile(h.file(path)); err != nil || string(text) != want {
		h.t.Errorf("%s: %q, %v; expected %q", path, text, err, want)
	}
}

// newerConfig is the sample configuration of the newer packages.
const newerConfig = "# of the newer package\n"

// newerRPMs makes packages of the same programs, of another release and with another
// sample configuration, and returns their folder.
func (h *host) newerRPMs(names ...string) string {
	h.t.Helper()
	dir := h.t.TempDir()
	sample := filepath.Join(dir, "receptor.yml")
	must(h.t, os.WriteFile(sample, []byte(newerConfig), 0o644))
	from, err := filepath.Rel(built.repo.Dir, sample)
	must(h.t, err)
	b := builder(h.t, filepath.Dir(built.programs), dir, "2")
	for _, p := range table.In(built.repo) {
		if !slices.Contains(names, p.Name) {
			continue
		}
		p.Files = slices.Clone(p.Files)
		for i := range p.Files {
			if p.Files[i].Config {
				p.Files[i].From = from
			}
		}
		_, err := b.Build(h.t.Context(), &p, runtime.GOARCH, "rpm")
		must(h.t, err)
	}
	return dir
}

// builder makes packages as those of this tree are made.
func builder(t *testing.T, programs, out, release string) *table.Builder {
	return &table.Builder{
		Repo: built.repo, NFPM: filepath.Join(built.dir, "nfpm"), Programs: programs, Work: t.TempDir(), Out: out, Release: release, Date: "1700000000",
	}
}

// A package says which machines its program is for, and is for no other; whoever makes
// it leaves no trace.
func TestArchitectures(t *testing.T) {
	t.Parallel()
	needRPM(t)
	const name = "receptor-backend-tcp"
	programs, out := t.TempDir(), t.TempDir()
	must(t, os.Symlink(built.programs, filepath.Join(programs, filepath.Base(built.programs)))) // their help is asked
	b := builder(t, programs, out, "1")
	at := slices.IndexFunc(table.Table, func(p table.Package) bool { return p.Name == name })
	for goarch, want := range map[string]struct {
		rpm     string
		machine elf.Machine
	}{"amd64": {"x86_64", elf.EM_X86_64}, "arm64": {"aarch64", elf.EM_AARCH64}} {
		if goarch != runtime.GOARCH {
			crossBuild(t.Context(), t, goarch, "./backend-tcp/cmd/"+name, filepath.Join(programs, "linux-"+goarch, name))
		}
		rpm, err := b.Build(t.Context(), &table.Table[at], goarch, "rpm")
		must(t, err)
		deb, err := b.Build(t.Context(), &table.Table[at], goarch, "deb")
		must(t, err)
		for _, c := range []struct {
			args []string
			want string
		}{
			{[]string{"rpm", "-qp", "--qf", "%{ARCH} %{OS} %{BUILDHOST}", rpm}, want.rpm + " linux localhost"},
			{[]string{"dpkg-deb", "-f", deb, "Architecture"}, goarch + "\n"},
		} {
			got, err := exec.Command(c.args[0], c.args[1:]...).Output()
			if err != nil || string(got) != c.want {
				t.Errorf("%v: %q, %v; expected %q", c.args, got, err, c.want)
			}
		}
		dir := t.TempDir()
		if out, err := exec.Command("dpkg-deb", "-x", deb, dir).CombinedOutput(); err != nil {
			t.Fatalf("dpkg-deb: %v\n%s", err, out)
		}
		f, err := elf.Open(filepath.Join(dir, "usr/bin", name))
		must(t, err)
		if f.Machine != want.machine {
			t.Errorf("the package for %s has a program for %s", goarch, f.Machine)
		}
		must(t, f.Close())
	}
}

// crossBuild builds a program for another architecture.
func crossBuild(ctx context.Context, t *testing.T, goarch, pkg, to string) {
	t.Helper()
	cmd := exec.CommandContext(ctx, "go", "build", "-o", to, pkg)
	cmd.Dir = built.repo.Dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+goarch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build for %s: %v\n%s", goarch, err, out)
	}
}
