package proxytun

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLimitsFile(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text, want string
	}{
		"all":          {"# a comment\n\nallow-interface vpn*\nallow-route 10.0.0.0/8\n  allow-route fd00::/8\n", ""},
		"unknown":      {"allow-all yes\n", `f:1: expected allow-interface PATTERN or allow-route NETWORK, got "allow-all yes"`},
		"no value":     {"\nallow-route\n", "f:2: expected"},
		"no network":   {"allow-route 10.0.0.0\n", `f:1: allow-route: expected a network such as 10.0.0.0/8, got "10.0.0.0"`},
		"no pattern":   {"allow-interface [\n", `allow-interface: expected a name or a pattern such as tun*, got "["`},
		"with a slash": {"allow-interface a/b\n", "allow-interface: expected"},
	} {
		var l Limits
		err := l.read(strings.NewReader(tc.text), "f")
		got := ""
		if err != nil {
			got = err.Error()
		}
		if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
		if err == nil && (len(l.Interfaces) != 1 || len(l.Routes) != 2) {
			t.Errorf("%s: %+v", name, l)
		}
	}
}

// A file that somebody else could have written is refused; none is no limit of its own.
func TestLimitsFileOwner(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "limits")
	var l Limits
	if err := l.ReadFile(name); err != nil {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(name, []byte("allow-route 10.0.0.0/8\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := l.ReadFile(name)
	if os.Geteuid() != 0 {
		if err == nil || !strings.Contains(err.Error(), "must belong to root") {
			t.Errorf("a file of another user: %v", err)
		}
		t.Skip("skipped: the rest needs root, whose files are taken")
	}
	if err != nil || len(l.Routes) != 1 {
		t.Errorf("root's file: %v, %+v", err, l)
	}
	for what, change := range map[string]func() error{
		"file of all":      func() error { return os.Chmod(name, 0o666) },
		"file of a group":  func() error { return os.Chmod(name, 0o664) },
		"file of a user":   func() error { return os.Chown(name, 12345, -1) },
		"directory of all": func() error { return os.Chmod(dir, 0o777) },
	} {
		for _, back := range []func() error{
			func() error { return os.Chown(name, 0, -1) }, func() error { return os.Chmod(name, 0o644) }, func() error { return os.Chmod(dir, 0o755) }, change,
		} {
			if err := back(); err != nil {
				t.Fatal(err)
			}
		}
		if err := new(Limits).ReadFile(name); err == nil || !strings.Contains(err.Error(), "must belong to root") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
