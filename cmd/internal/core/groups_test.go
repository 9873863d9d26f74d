//go:build unix

package core

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Plugs and operators can be two groups: each opens its own socket, and both get
// through the directory.
func TestTwoGroups(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("skipped: needs root, to give files to other groups")
	}
	dir := shortDir(t)
	stop := start(t, options(t, dir, "group=4001", "controlgroup=4002"))
	for name, want := range map[string]struct {
		group uint32
		mode  os.FileMode
	}{
		"plug.sock":    {4001, 0o660},
		"control.sock": {4002, 0o660},
		".":            {4001, 0o751},
	} {
		i, err := os.Stat(filepath.Join(dir, "run", name))
		if err != nil {
			t.Fatal(err)
		}
		if got := i.Sys().(*syscall.Stat_t).Gid; got != want.group || i.Mode().Perm() != want.mode {
			t.Errorf("%s has group %d and mode %04o, want %d and %04o", name, got, i.Mode().Perm(), want.group, want.mode)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
