package integration

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/project-receptor/receptor/tests/integration/lab"
)

// skewFile lists the versions that have to work with this one.
const skewFile = "testdata/skew-commits"

// version is an earlier state of this repository.
type version struct {
	commit string
	resets int // connections that a replacement in order may reset
}

func (v version) short() string { return v.commit[:7] }

// corePrograms come with the core, in one module; the others are plugs.
var corePrograms = []string{"receptor", "receptor-core"}

// Plugs of earlier versions work with this core, and these plugs with the cores of
// earlier versions: bytes, half-closes and resets arrive, kills and replacements
// stay unnoticed, be it a newer plug that comes or an older one that comes back.
func TestSkew(t *testing.T) {
	ours, err := plain()
	must(t, err)
	for _, v := range readVersions(t) {
		t.Run(v.short(), func(t *testing.T) {
			theirs := v.build(t)
			dir := filepath.Dir(theirs.Dir)
			oldPlugs, err := theirs.Mix(filepath.Join(dir, "old-plugs"), ours, append(corePrograms, "receptorctl")...)
			must(t, err)
			oldCore, err := ours.Mix(filepath.Join(dir, "old-core"), theirs, corePrograms...)
			must(t, err)
			t.Run("old plugs", func(t *testing.T) { testSkew(t, oldPlugs, ours, oldPlugs, v.resets) })
			t.Run("old core", func(t *testing.T) { testSkew(t, oldCore, oldCore, oldPlugs, v.resets) })
		})
	}
}

// testSkew runs the main scenarios with programs p, and replaces old plugs at its
// core by new ones, and those by old ones again.
func testSkew(t *testing.T, p, newPlugs, oldPlugs lab.Programs, resets int) {
	const size = 16 << 20
	line := overLine(p)
	relayed := func(t *testing.T, target string) *way {
		return &startPairOf(t, p, target, "--no-handoff").way
	}
	for _, s := range []struct {
		name  string
		start wayTo
	}{{"hand-off", line}, {"relay", relayed}} {
		t.Run(s.name, func(t *testing.T) {
			t.Run("half-close", func(t *testing.T) { halfClose(t, s.start, size) })
			t.Run("far reset", func(t *testing.T) { farReset(t, s.start) })
			t.Run("near reset", func(t *testing.T) { nearReset(t, s.start) })
		})
	}
	t.Run("kill in transfer", func(t *testing.T) { killPlugsInTransfer(t, p, 8*size) })
	t.Run("replace", func(t *testing.T) {
		echo, err := lab.Serve(lab.Echo)
		must(t, err)
		defer echo.Close()
		pair := startPairOf(t, p, echo.Addr())
		as := func(plugs lab.Programs, do func()) func() {
			return func() { pair.Programs = plugs; do() }
		}
		restart, kill := func() { pair.restart(nearProxy) }, func() { pair.kill(nearProxy) }
		takeOver := func() { pair.takeOver(nearProxy, "tcp-server") }
		for _, r := range []replacement{
			{"any by old", 1, resets, as(oldPlugs, restart)},
			{"old by old", 1, resets, as(oldPlugs, restart)},
			{"old killed", 1, 1, as(oldPlugs, kill)},
			{"old by new takes over", 1, resets, as(newPlugs, takeOver)},
			{"new killed", 1, 1, as(newPlugs, kill)},
			{"new by old takes over", 1, resets, as(oldPlugs, takeOver)},
			{"old by new", 1, resets, as(newPlugs, restart)},
		} {
			t.Run(r.name, func(t *testing.T) { r.underTraffic(t, &pair.way) })
		}
	})
}

// readVersions reads skewFile.
func readVersions(t *testing.T) (versions []version) {
	t.Helper()
	data, err := os.ReadFile(skewFile)
	must(t, err)
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 2 || len(f[0]) != 40 {
			t.Fatalf("%s: %q: expected a whole commit ID and a number", skewFile, line)
		}
		resets, err := strconv.Atoi(f[1])
		must(t, err)
		versions = append(versions, version{f[0], resets})
	}
	return versions
}

// build builds the version's programs in a worktree of its own, which it removes.
func (v version) build(t *testing.T) lab.Programs {
	t.Helper()
	root, err := lab.Repository()
	must(t, err)
	if err := git(t.Context(), root, "cat-file", "-e", v.commit+"^{commit}"); err != nil {
		t.Skipf("skipped: %s of %s is not in this repository, which may be a shallow clone: %v", v.short(), skewFile, err)
	}
	dir, err := os.MkdirTemp(programs.Dir, "skew-"+v.short())
	must(t, err)
	tree := filepath.Join(dir, "tree")
	must(t, git(t.Context(), root, "worktree", "add", "--detach", tree, v.commit))
	defer func() {
		if err := git(context.WithoutCancel(t.Context()), root, "worktree", "remove", "--force", tree); err != nil {
			t.Error(err)
		}
	}()
	p, err := lab.BuildAt(t.Context(), tree, filepath.Join(dir, "programs"), "-buildvcs=false")
	must(t, err)
	return p
}

func git(ctx context.Context, root string, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w: %s", args[0], err, bytes.TrimSpace(out))
	}
	return nil
}
