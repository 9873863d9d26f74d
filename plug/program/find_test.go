package program

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestFind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, mode := range map[string]fs.FileMode{"program": 0o755, "text": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "program")
	for name, env := range map[string]string{path: "", "./program": "", "program": "PATH=:/nowhere:" + dir} {
		if got, err := Find(name, dir, []string{env}); err != nil || got != path {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	for name, want := range map[string]error{"text": fs.ErrNotExist, "./text": fs.ErrPermission, "./none": fs.ErrNotExist, dir: fs.ErrPermission} {
		if got, err := Find(name, dir, []string{"PATH=" + dir}); !errors.Is(err, want) {
			t.Errorf("%s: %s, %v; expected %v", name, got, err, want)
		}
	}
	t.Run("never where it is relative", func(t *testing.T) {
		t.Parallel()
		if got, err := Find("find_test.go", dir, []string{"PATH=.:"}); err == nil {
			t.Errorf("found %s", got)
		}
	})
}
