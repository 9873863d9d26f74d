package core

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

func load(t *testing.T, dir string) identity {
	t.Helper()
	id, err := loadIdentity(t.Context(), hclog.NewNullLogger(), dir, "n")
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestEpochsGrow(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	first := load(t, dir)
	last := first
	for range 20 { // in one second, mostly
		id := load(t, dir)
		if id.epoch <= last.epoch {
			t.Fatalf("epoch %d after %d", id.epoch, last.epoch)
		}
		if id.resetKey != first.resetKey {
			t.Fatal("the reset key has changed")
		}
		if !id.kept || !id.signKey.Equal(first.signKey) {
			t.Fatalf("the signing key has changed, or is said to be temporary (kept %t)", id.kept)
		}
		last = id
	}
	if first.resetKey == (identity{}.resetKey) {
		t.Error("the reset key is zero")
	}
	info, err := os.Stat(filepath.Join(dir, "n"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v, want mode 0700", info.Mode(), err)
	}
}

func TestEpochAfterTheClockWentBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := time.Now()
	before, err := identityFrom(dir, "n", now)
	if err != nil {
		t.Fatal(err)
	}
	after, err := identityFrom(dir, "n", now.Add(-24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if after.epoch != before.epoch+1 {
		t.Errorf("epoch %d after %d, want one more", after.epoch, before.epoch)
	}
}

func TestEpochWithoutUsableState(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		prepare func(t *testing.T, dir string) string
		mended  bool
	}{
		{"no directory is known", func(*testing.T, string) string { return "" }, false},
		{"a file is where the directory should be", func(t *testing.T, dir string) string {
			write(t, filepath.Join(dir, "f"), "")
			return filepath.Join(dir, "f")
		}, false},
		{"a link leads out of the directory", func(t *testing.T, dir string) string {
			if err := os.Symlink(t.TempDir(), filepath.Join(dir, "n")); err != nil {
				t.Fatal(err)
			}
			return dir
		}, false},
		{"the epoch is no number", func(t *testing.T, dir string) string {
			load(t, dir)
			write(t, filepath.Join(dir, "n", epochFile), "soon")
			return dir
		}, true},
		{"the epoch is the greatest there is", func(t *testing.T, dir string) string {
			load(t, dir)
			write(t, filepath.Join(dir, "n", epochFile), "18446744073709551615")
			return dir
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := tt.prepare(t, t.TempDir())
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(300 * time.Millisecond) // the bubble's clock: not at the start of a second
				began := time.Now()
				id := load(t, dir)
				if time.Now() != began.Truncate(time.Second).Add(time.Second) {
					t.Errorf("began %v, went on %v: not the next second", began, time.Now())
				}
				if id.epoch == 0 || id.resetKey == (identity{}.resetKey) {
					t.Error("no identity")
				}
				if !tt.mended {
					return
				}
				if again := load(t, dir); again.epoch <= id.epoch || again.resetKey != id.resetKey {
					t.Errorf("not mended: %v after %v", again, id)
				}
				if time.Now() != began.Truncate(time.Second).Add(time.Second) {
					t.Error("waited again")
				}
			})
		})
	}
}

// A crash at any moment leaves the old file or the new one; what was written
// before it is renamed is overwritten by the next run.
func TestHalfWrittenStateIsIgnored(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := load(t, dir)
	write(t, filepath.Join(dir, "n", epochFile+".new"), "99999999999999999999999999")
	if second := load(t, dir); second.epoch <= first.epoch {
		t.Errorf("epoch %d after %d", second.epoch, first.epoch)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
