package unit

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func root(t *testing.T) *os.Root {
	t.Helper()
	r, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestFilesOfAUnit(t *testing.T) {
	t.Parallel()
	dir := root(t)
	end := End{State: Exited, Boot: "b", Job: Process{PID: 1, Start: 2}, Ended: time.Unix(3, 4).UTC(), Code: 5, Signal: "SIGHUP", OOM: true, Reason: "r", Stdout: 6, Stderr: 7}
	record := Record{Unit: "u", Type: "t", Boot: "b", Token: "k", Cgroup: "/c", Merged: true, Detail: "d"}
	for suffix, content := range map[string]any{EndSuffix: end, RecordSuffix: record, TraceSuffix: Trace{Job: end.Job}} {
		if err := errors.Join(Write(dir, "u", suffix, content), Sync(dir, "u", suffix)); err != nil {
			t.Fatal(err)
		}
	}
	var gotEnd End
	var gotRecord Record
	if err := errors.Join(Read(dir, "u", EndSuffix, &gotEnd), Read(dir, "u", RecordSuffix, &gotRecord)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(gotEnd, end) || gotRecord != record {
		t.Errorf("%+v, %+v", gotEnd, gotRecord)
	}
	if err := Remove(dir, "u"); err != nil {
		t.Fatal(err)
	}
	if names, err := fs.ReadDir(dir.FS(), "."); err != nil || len(names) != 0 {
		t.Errorf("left are %v, %v", names, err)
	}
	if err := Read(dir, "u", EndSuffix, &end); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed: %v", err)
	}
	if err := Remove(dir, "u"); err != nil {
		t.Errorf("removed twice: %v", err)
	}
}

// A file that was being written is one that cannot be read, and not another.
func TestTornFile(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := Encode(&b, Record{Unit: "u", Type: "t", Boot: "b", Token: "k"}); err != nil {
		t.Fatal(err)
	}
	whole := strings.TrimSpace(b.String())
	for i := range whole {
		var r Record
		if err := Decode(strings.NewReader(whole[:i]), &r); !errors.Is(err, ErrDamaged) {
			t.Errorf("%q was read: %v", whole[:i], err)
		}
	}
	if err := Decode(strings.NewReader(`"`+strings.Repeat("x", maxFile)+`"`), new(string)); err == nil || !strings.Contains(err.Error(), "longer") {
		t.Errorf("a long one: %v", err)
	}
}

func TestIDsStayInTheDirectory(t *testing.T) {
	t.Parallel()
	dir := root(t)
	for _, id := range []string{"", ".", "..", "a.b", "../a", "a/b", "/a", "a\x00", "ä", strings.Repeat("a", 65)} {
		for what, err := range map[string]error{
			"write": Write(dir, id, EndSuffix, 1), "read": Read(dir, id, EndSuffix, new(int)), "remove": Remove(dir, id),
		} {
			if err == nil || !strings.Contains(err.Error(), "is not 1 to 64") {
				t.Errorf("%s %q: %v", what, id, err)
			}
		}
	}
	for name, want := range map[string]bool{"abc.unit": true, "a-B_9.run.tmp": true, "lock": false, ".unit": false, "..unit": false} {
		if _, _, ok := SplitName(name); ok != want {
			t.Errorf("%s is a unit's: %v", name, ok)
		}
	}
}
