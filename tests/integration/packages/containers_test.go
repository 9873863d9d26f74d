//go:build linux

package packages

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// image is what a Containerfile makes. It is built without an engine: every FROM is a
// root directory, of this machine's system in place of another Debian's.
type image struct {
	t          *testing.T
	root       string
	env        []string
	uid, gid   uint32
	volumes    []string
	entrypoint []string
}

// buildImage does what a Containerfile says.
func buildImage(t *testing.T, name string) *image {
	t.Helper()
	text, err := os.ReadFile(built.repo.File("packaging", "containers", name+".Containerfile"))
	must(t, err)
	var i *image
	stages := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.ReplaceAll(strings.TrimSpace(line), "${TARGETARCH}", runtime.GOARCH)
		do, rest, _ := strings.Cut(line, " ")
		words := strings.Fields(rest)
		switch do {
		case "", "#", "ARG":
		case "FROM":
			i = &image{t: t, root: stageRoot(t, words[0], name+"-"+strconv.Itoa(len(stages)))}
			stages[words[len(words)-1]] = i.root
		case "COPY":
			i.copy(stages, words)
		case "RUN":
			if out, err := exec.Command("chroot", i.root, "/bin/sh", "-c", rest).CombinedOutput(); err != nil {
				t.Fatalf("%s: %s: %v\n%s", name, line, err, out)
			}
		case "ENV":
			i.env = append(i.env, rest)
		case "USER":
			uid, gid, _ := strings.Cut(rest, ":")
			i.uid, i.gid = number(t, uid), number(t, gid)
		case "VOLUME":
			must(t, json.Unmarshal([]byte(rest), &i.volumes))
		case "ENTRYPOINT":
			must(t, json.Unmarshal([]byte(rest), &i.entrypoint))
		default:
			t.Fatalf("%s: %s is not understood here", name, do)
		}
	}
	if i.uid == 0 || i.gid == 0 {
		t.Fatalf("%s runs as user %d, group %d", name, i.uid, i.gid)
	}
	return i
}

func number(t *testing.T, text string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 31)
	must(t, err)
	return uint32(n)
}

func stageRoot(t *testing.T, from, name string) string {
	t.Helper()
	if from != "scratch" {
		return newHost(t, name, nil).root
	}
	root := filepath.Join(built.dir, t.Name(), name)
	must(t, os.MkdirAll(root, 0o755))
	mount(t, "tmpfs", "tmpfs", root, 0, "mode=0755")
	t.Cleanup(func() { must(t, unix.Unmount(root, unix.MNT_DETACH)) })
	return root
}

// copy does what COPY says, from a stage or from the tree.
func (i *image) copy(stages map[string]string, words []string) {
	i.t.Helper()
	args, owner, stage := []string{"-r"}, "", ""
	for strings.HasPrefix(words[0], "--") {
		key, value, _ := strings.Cut(words[0], "=")
		switch key {
		case "--chown":
			owner = value
		case "--from":
			stage = stages[value]
			args[0] = "-a"
		}
		words = words[1:]
	}
	to := filepath.Join(i.root, words[len(words)-1])
	if strings.HasSuffix(words[len(words)-1], "/") {
		must(i.t, os.MkdirAll(to, 0o755))
	}
	for _, from := range words[:len(words)-1] {
		path := built.repo.File(from)
		if name, ok := strings.CutPrefix(from, ".packages/"); ok {
			path = filepath.Join(built.debs, name)
		}
		if stage != "" {
			path = filepath.Join(stage, from)
		}
		files, err := filepath.Glob(path)
		must(i.t, err)
		if len(files) == 0 {
			i.t.Fatalf("COPY %s: there is no such file", from)
		}
		for n, f := range files {
			if s, err := os.Stat(f); err == nil && s.IsDir() {
				files[n] = f + "/." // what is in it
			}
			if owner != "" {
				out, err := exec.Command("chown", "-R", owner, f).CombinedOutput()
				if err != nil {
					i.t.Fatalf("chown: %v\n%s", err, out)
				}
			}
		}
		if out, err := exec.Command("cp", slices.Concat(args, files, []string{to})...).CombinedOutput(); err != nil {
			i.t.Fatalf("COPY %s: %v\n%s", from, err, out)
		}
	}
}

// readOnly has the image's root read-only, but for volumes, which are empty at first
// and belong to whom they belong to in the image. Those named are others' volumes, by
// path.
func (i *image) readOnly(others map[string]string) {
	i.t.Helper()
	mount(i.t, i.root, "", i.root, unix.MS_BIND|unix.MS_REC, "")
	i.t.Cleanup(func() { must(i.t, unix.Unmount(i.root, unix.MNT_DETACH)) })
	for _, v := range i.volumes {
		at := filepath.Join(i.root, v)
		s, err := os.Stat(at)
		must(i.t, err)
		if from := others[v]; from != "" {
			mount(i.t, from, "", at, unix.MS_BIND, "")
			continue
		}
		mount(i.t, "tmpfs", "tmpfs", at, 0, "mode=0755")
		owner := s.Sys().(*syscall.Stat_t)
		must(i.t, os.Chown(at, int(owner.Uid), int(owner.Gid)))
	}
	mount(i.t, "", "", i.root, unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	if err := os.WriteFile(filepath.Join(i.root, "probe"), nil, 0o600); err == nil {
		i.t.Fatal("the root of the container can be written")
	}
}

// run runs the entrypoint, or another program, as the user of the image.
func (i *image) run(args ...string) *lab.Process {
	i.t.Helper()
	if len(args) == 0 {
		args = i.entrypoint
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = "/"
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, i.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: i.root, Credential: &syscall.Credential{Uid: i.uid, Gid: i.gid}}
	p, err := lab.Start(filepath.Base(args[0]), cmd)
	must(i.t, err)
	i.t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			i.t.Error(err)
		}
		if i.t.Failed() {
			i.t.Logf("--- %s\n%s", p.Name, p.Output())
		}
	})
	return p
}

// Images are made of packages, and run as a user that is not root, over a root that
// nobody can write: hop and worker beside each other, as in one pod.
func TestContainersOfHopAndWorker(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	hop := buildImage(t, "hop")
	var programs []string
	must(t, filepath.WalkDir(hop.root, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if s, err := d.Info(); err == nil && s.Mode()&0o111 != 0 {
				programs = append(programs, d.Name())
			}
		}
		return err
	}))
	if want := []string{"receptor-backend-tcp", "receptor-core"}; !slices.Equal(programs, want) {
		t.Errorf("the image of a hop has programs %v, expected %v", programs, want)
	}
	hop.readOnly(nil)
	core := hop.run()
	must(t, core.WaitOutput(ctx, "node is up"))
	must(t, hop.run("/usr/bin/receptor-backend-tcp").WaitOutput(ctx, "attached to the core"))
	worker := buildImage(t, "worker")
	worker.readOnly(map[string]string{"/run/receptor": filepath.Join(hop.root, "run/receptor")})
	must(t, worker.run().WaitOutput(ctx, "attached to the core"))
	if strings.Contains(core.Output(), "no state is kept") {
		t.Error("the core cannot write its state")
	}
}

func TestContainerOfAll(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	all := buildImage(t, "all")
	all.readOnly(nil)
	p := all.run()
	must(t, p.WaitOutput(ctx, "node is up"))
	ctl := all.run("/usr/bin/receptorctl", "status")
	if code, err := ctl.ExitCode(ctx); err != nil || code != 0 {
		t.Errorf("receptorctl in the container: %d, %v\n%s", code, err, ctl.Output())
	}
	if strings.Contains(p.Output(), "no state is kept") {
		t.Error("the core cannot write its state")
	}
}
