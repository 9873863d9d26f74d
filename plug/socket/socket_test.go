//go:build unix

package socket

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// shortDir is a directory below the temporary one whose path leaves room for
// the names of sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sock")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestNodeDir(t *testing.T) {
	t.Parallel()
	for node, want := range map[string]string{
		"foo": "foo", "foo.example-1_x": "foo.example-1_x", "-": "-",
		".": "h-000000000000002a", "..": "h-000000000000002a", ".x": "h-000000000000002a", "": "h-000000000000002a",
		"a/b": "h-000000000000002a", "a b": "h-000000000000002a", "é": "h-000000000000002a", "a\n": "h-000000000000002a",
		strings.Repeat("x", 40): strings.Repeat("x", 40), strings.Repeat("x", 41): "h-000000000000002a",
	} {
		if got := NodeDir(node, 42); got != want {
			t.Errorf("NodeDir(%q) = %q, want %q", node, got, want)
		}
	}
}

func TestDir(t *testing.T) {
	t.Setenv("RUNTIME_DIRECTORY", "/run/receptor:/run/other")
	if got := Dir("foo"); got != "/run/receptor/foo" {
		t.Errorf("under systemd: %s", got)
	}
	t.Setenv("RUNTIME_DIRECTORY", "/run/receptor/foo")
	if got := Dir("foo"); got != "/run/receptor/foo" {
		t.Errorf("in a directory of its own: %s", got)
	}
	t.Setenv("RUNTIME_DIRECTORY", "")
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/7")
	want := "/run/user/7/receptor/foo"
	if os.Getuid() == 0 {
		want = filepath.Join(systemRoot(), "foo")
	}
	if got := Dir("foo"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(shortDir(t), "node")
	path := filepath.Join(dir, PlugName)
	l, err := Listen(path, Options{Group: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	for p, want := range map[string]os.FileMode{dir: 0o750 | os.ModeDir, path: 0o660 | os.ModeSocket} {
		if i, err := os.Stat(p); err != nil || i.Mode() != want {
			t.Errorf("%s: %v, %v; want mode %v", p, i.Mode(), err, want)
		}
	}

	if _, err := Listen(path, Options{Group: -1}); !errors.Is(err, ErrLocked) {
		t.Errorf("second Listen: %v, want ErrLocked", err)
	}

	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	cred, err := PeerCred(s)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "linux" {
		groups, err := os.Getgroups()
		if err != nil {
			t.Fatal(err)
		}
		want := Cred{UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), PID: os.Getpid(), Known: true, Groups: []uint32{}}
		for _, g := range groups {
			want.Groups = append(want.Groups, uint32(g))
		}
		if !reflect.DeepEqual(cred, want) {
			t.Errorf("PeerCred = %+v, want %+v", cred, want)
		}
	}

	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A process that was killed leaves its socket and lock file.
func TestListenReplacesStaleSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), PlugName)
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := errors.Join(dead.Close(), os.WriteFile(path+".lock", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(path, Options{Mode: 0o600, Group: os.Getgid()})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestListenRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		prepare func(t *testing.T, dir string) (path string)
		want    string
	}{
		"a directory in its place": {func(t *testing.T, dir string) string {
			path := filepath.Join(dir, "x")
			if err := os.MkdirAll(filepath.Join(path, "precious"), 0o750); err != nil {
				t.Fatal(err)
			}
			return path
		}, "is not a socket"},
		"a file in its place": {func(t *testing.T, dir string) string {
			path := filepath.Join(dir, "x")
			if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}, "is not a socket"},
		"a link to a socket in its place": {func(t *testing.T, dir string) string {
			path := filepath.Join(dir, "x")
			if err := os.Symlink("/dev/log", path); err != nil {
				t.Fatal(err)
			}
			return path
		}, "is not a socket"},
		"a link in the lock's place": {func(t *testing.T, dir string) string {
			path := filepath.Join(dir, "x")
			if err := os.Symlink(filepath.Join(dir, "elsewhere"), path+".lock"); err != nil {
				t.Fatal(err)
			}
			return path
		}, "open lock"},
		"a long path": {func(_ *testing.T, dir string) string {
			return filepath.Join(dir, strings.Repeat("x", 108))
		}, "is too long"},
		"a directory that its group can write": {func(t *testing.T, dir string) string {
			if err := os.Chmod(dir, 0o770); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(dir, "x")
		}, "has mode 0770"},
		"a sticky directory": {func(t *testing.T, dir string) string {
			if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(dir, "x")
		}, "use a directory that only its owner can write"},
		"a directory that everybody can write further up": {func(t *testing.T, dir string) string {
			path := filepath.Join(dir, "node", "x")
			if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o750), os.Chmod(dir, 0o777)); err != nil {
				t.Fatal(err)
			}
			return path
		}, "can be written by everybody"},
		"no directory but a file": {func(t *testing.T, dir string) string {
			if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(dir, "file", "x")
		}, "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := shortDir(t)
			path := tc.prepare(t, dir)
			before, statErr := os.Lstat(path)
			l, err := Listen(path, Options{Group: -1})
			if err == nil {
				_ = l.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %q, want %q in it", err, tc.want)
			}
			if statErr == nil {
				if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
					t.Errorf("what was there has been touched: %v", err)
				}
			}
		})
	}
}

// A directory made in one that everybody can write is for its owner alone.
func TestListenInTemporaryDirectory(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(filepath.Join(dir, "receptor-1", "node", PlugName), Options{Group: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if i, err := os.Stat(filepath.Join(dir, "receptor-1")); err != nil || i.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v; want 0700", i.Mode(), err)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	root := shortDir(t)
	var want []string
	for _, node := range []string{"b", "a"} {
		path := filepath.Join(root, node, PlugName)
		l, err := Listen(path, Options{Group: -1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		want = append([]string{path}, want...)
	}
	if err := errors.Join(os.Mkdir(filepath.Join(root, "c"), 0o750), os.WriteFile(filepath.Join(root, "c", PlugName), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(root, "c", "x.sock")})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close()
	if got := find([]string{root, root, "/none"}, PlugName); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := find([]string{root}, "x.sock"); len(got) != 1 {
		t.Errorf("a lone socket is listed whoever serves it: %v", got)
	}
	if err := os.Rename(filepath.Join(root, "c", "x.sock"), filepath.Join(root, "c", PlugName)); err != nil {
		t.Fatal(err)
	}
	if got := find([]string{root}, PlugName); !reflect.DeepEqual(got, want) {
		t.Errorf("with a stale one: got %v, want %v", got, want)
	}
}

func TestPeerCredOfAPipe(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	t.Cleanup(func() { _ = a.Close() })
	t.Cleanup(func() { _ = b.Close() })
	if cred, err := PeerCred(a); err != nil || cred.Known {
		t.Errorf("got %+v, %v", cred, err)
	}
}
