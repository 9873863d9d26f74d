//go:build linux

package packages

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	table "github.com/project-receptor/receptor/tests/tools/packages"
	"github.com/project-receptor/receptor/tests/tools/workspace"
)

// maxCore is how large the program of the core may be, in bytes, without symbols.
const maxCore = 15e6

// every is the names of all packages.
func every() (names []string) {
	for _, p := range table.In(built.repo) {
		names = append(names, p.Name)
	}
	return names
}

// Each program of a module that is released is in one package, so that none is forgotten.
func TestEveryProgramIsPackaged(t *testing.T) {
	t.Parallel()
	packaged := map[string]int{"receptor-plugcheck": 1} // for authors of plugs, by go install
	for _, p := range table.In(built.repo) {
		for _, program := range append([]string{p.Name}, p.Programs...) {
			packaged[program]++
		}
	}
	files, err := os.ReadDir(built.programs)
	must(t, err)
	for _, f := range files {
		if packaged[f.Name()] != 1 {
			t.Errorf("%s is in %d packages", f.Name(), packaged[f.Name()])
		}
	}
	if len(files) != len(packaged) {
		t.Errorf("%d programs are built, %d packaged", len(files), len(packaged))
	}
}

// Programs are static and without symbols, know their version, and have nothing in
// them that is another's.
func TestProgramsOfPackages(t *testing.T) {
	t.Parallel()
	foreign := regexp.MustCompile(`^` + workspace.Root + `/(backend|proxy|worker|command)-[a-z]+$`)
	for _, p := range table.In(built.repo) {
		for _, program := range append([]string{p.Name}, p.Programs...) {
			file := filepath.Join(built.programs, program)
			info, err := os.Stat(file)
			must(t, err)
			build, err := buildinfo.ReadFile(file)
			must(t, err)
			t.Logf("%5.1f MB  %s %s, of %d modules", float64(info.Size())/1e6, program, build.Main.Version, len(build.Deps)+1)
			if program == "receptor-core" && info.Size() > maxCore {
				t.Errorf("%s has %d bytes, more than %.0f", program, info.Size(), maxCore)
			}
			for _, d := range build.Deps {
				if foreign.MatchString(d.Path) {
					t.Errorf("%s has %s in it", program, d.Path)
				}
			}
			f, err := elf.Open(file)
			must(t, err)
			if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) || f.Section(".symtab") != nil {
				t.Errorf("%s is not static, or has symbols", program)
			}
			must(t, f.Close())
			if program == "receptor-work-supervisor" {
				continue // it is no command for people
			}
			out, err := exec.Command(file, "--version").CombinedOutput()
			if err != nil || !strings.Contains(string(out), "v"+version(&p)) {
				t.Errorf("%s --version: %v, %s", program, err, out)
			}
		}
	}
}

// What dpkg is told: no package depends on another but the one for all, so that each
// can be upgraded apart.
func TestPackagesStandAlone(t *testing.T) {
	t.Parallel()
	for _, p := range table.In(built.repo) {
		for field, want := range map[string]string{
			"Package": p.Name, "Version": version(&p) + "-1", "Depends": strings.Join(p.Depends, ", "),
		} {
			out, err := exec.Command("dpkg-deb", "-f", deb(t, p.Name), field).Output()
			must(t, err)
			if got := strings.TrimSpace(string(out)); got != want {
				t.Errorf("%s: %s is %q, expected %q", p.Name, field, got, want)
			}
		}
		rpms, err := filepath.Glob(filepath.Join(built.debs, p.Name+"-"+version(&p)+"-1.*.rpm"))
		must(t, err)
		if len(rpms) != 1 {
			t.Fatalf("%s: files %v for rpm", p.Name, rpms)
		}
		if text, err := os.ReadFile(rpms[0]); err != nil || !bytes.HasPrefix(text, []byte{0xed, 0xab, 0xee, 0xdb}) {
			t.Errorf("%s is no rpm: %v", rpms[0], err)
		}
	}
}

// All is installed on one host: its users and directories are made, nothing is started,
// units pass the checks of systemd, the administrator's configuration outlives an
// upgrade, and services run on after it, with what is new.
func TestInstall(t *testing.T) {
	h := newHost(t, "all", nil, every()...)
	for _, p := range table.In(built.repo) {
		if p.Unit == nil {
			continue
		}
		unit := "/usr/lib/systemd/system/" + p.Name + ".service"
		if _, gid := h.id("passwd", p.User()); gid == 0 {
			t.Errorf("%s runs as root's group", p.Name)
		}
		t.Run(p.Name, func(t *testing.T) {
			if _, err := exec.LookPath("systemd-analyze"); err != nil {
				t.Skip("skipped: needs systemd-analyze")
			}
			out, err := h.command("systemd-analyze", "verify", unit).CombinedOutput()
			var complaints []string
			for line := range strings.Lines(string(out)) {
				// A key of systemd 254; what is older puts the worker there itself.
				if strings.Contains(line, p.Name) && !strings.Contains(line, "'DelegateSubgroup' in section [Service], ignoring") {
					complaints = append(complaints, line)
				}
			}
			if err != nil || len(complaints) > 0 {
				t.Errorf("systemd-analyze verify: %v\n%s", err, out)
			}
			most := 3.0
			if p.Unit.Jobs {
				most = 6
			}
			text := h.run("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
			m := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindStringSubmatch(text)
			if m == nil {
				t.Fatalf("systemd-analyze security: %s", text)
			}
			exposure, err := strconv.ParseFloat(m[1], 64)
			must(t, err)
			t.Logf("exposure %.1f", exposure)
			if exposure > most {
				t.Errorf("exposure %.1f, more than %.1f\n%s", exposure, most, text)
			}
		})
	}
	if h.run("stat", "-c", "%U:%G %a", "/etc/receptor/tls", "/run/receptor/node") != "root:receptor-tls 750\nreceptor:receptor-plug 711\n" {
		t.Error("directories for keys and sockets: ", h.run("stat", "-c", "%n %U:%G %a", "/etc/receptor/tls", "/run/receptor/node"))
	}
	h.run("receptor-core", "-c", "/etc/receptor/receptor.yml", "--check")
	t.Run("upgrade and removal", func(t *testing.T) { upgrade(t, h) })
}

// upgrade upgrades and removes packages while a systemd that is played takes notes.
func upgrade(t *testing.T, h *host) {
	said := h.playSystemd()
	// try-restart leaves alone what does not run.
	config := h.file("/etc/receptor/receptor.yml")
	must(t, os.WriteFile(config, []byte("# mine\n"), 0o644))
	again := []string{"dpkg", "--no-triggers", "--force-unsafe-io", "-i"}
	for name, want := range map[string]string{
		"receptor-core":           restarted("receptor-core"),
		"receptor-backend-tcp":    reloaded("receptor-backend-tcp"),
		"receptor-backend-ws":     reloaded("receptor-backend-ws") + "try-restart receptor-backend-ws.service\n",
		"receptor-worker-command": restarted("receptor-worker-command"),
		"receptorctl":             "",
	} {
		if got := said(func() { h.run(append(again, "/run/debs/"+filepath.Base(deb(t, name)))...) }); got != want {
			t.Errorf("upgrade of %s has systemd do %q, expected %q", name, got, want)
		}
	}
	if text, err := os.ReadFile(config); err != nil || string(text) != "# mine\n" {
		t.Errorf("after an upgrade the configuration is %q, %v", text, err)
	}
	if got, want := said(func() { h.run("dpkg", "--no-triggers", "--force-depends", "-r", "receptor-backend-tcp") }), "disable --now receptor-backend-tcp.service\ndaemon-reload\n"; got != want {
		t.Errorf("removal has systemd do %q, expected %q", got, want)
	}
}
