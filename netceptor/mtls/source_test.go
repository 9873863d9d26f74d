package mtls

import (
	"bytes"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

// A source test has no clock: each use looks.
func testSource(t *testing.T, log *bytes.Buffer) (*source, *memory) {
	t.Helper()
	m := &memory{dir: t.TempDir()}
	m.write(t, "one")
	s, err := newSource(m.files(), func(*material) error { return nil }, hclog.New(&hclog.LoggerOptions{Output: log}))
	if err != nil {
		t.Fatal(err)
	}
	s.every = 0
	return s, m
}

func TestFilesChange(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s, files := testSource(t, &log)
	first := s.get()
	if s.get() != first || log.Len() > 0 {
		t.Fatalf("changed by itself: %s", log.String())
	}

	files.write(t, "two")
	second := s.get()
	if second == first || second.generation != first.generation+1 || second.names[0] != "two" {
		t.Fatalf("not changed: %+v", second.names)
	}
	files.write(t, "two") // the same content? no: a new key
	third := s.get()
	if third.generation != second.generation+1 {
		t.Fatalf("generation %d, want %d", third.generation, second.generation+1)
	}
	files.rewrite(t) // the same content in new files
	if s.get() != third {
		t.Fatal("the same content counts as a change")
	}
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("%d lines, want one for each change:\n%s", n, log.String())
	}
}

// Whatever happens to the files: what was there stays in use, status tells, and
// the log does once, if it lasts.
func TestFilesBreak(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*testing.T, *memory){
		"gone":                  func(t *testing.T, m *memory) { m.remove(t, "cert.pem") },
		"empty":                 func(t *testing.T, m *memory) { m.put(t, "cas.pem", nil) },
		"half a certificate":    func(t *testing.T, m *memory) { m.put(t, "cert.pem", m.cert[:len(m.cert)/2]) },
		"half a key":            func(t *testing.T, m *memory) { m.put(t, "key.pem", m.key[:len(m.key)/2]) },
		"half of the bundle":    func(t *testing.T, m *memory) { m.put(t, "cas.pem", m.cas[:len(m.cas)*2/3]) },
		"another one's key":     func(t *testing.T, m *memory) { m.put(t, "key.pem", newMemory(t, "x").key) },
		"the certificate alone": func(t *testing.T, m *memory) { m.put(t, "cert.pem", newMemory(t, "x").cert) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			s, files := testSource(t, &log)
			first := s.get()
			spoil(t, files)
			if s.get() != first || s.problem == nil || log.Len() > 0 {
				t.Fatalf("after one look: problem %v, log %q", s.problem, log.String())
			}
			for range 3 {
				if s.get() != first {
					t.Fatal("what was there is no longer in use")
				}
			}
			if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "going on") {
				t.Errorf("%d lines, want one:\n%s", n, log.String())
			}
			if st := s.status("n", kindServer, ""); st.Err == "" || *st.DaysLeft < 300 {
				t.Errorf("status %+v", st)
			}
			files.write(t, "mended")
			if m := s.get(); m.names[0] != "mended" || s.status("n", kindServer, "").Err != "" {
				t.Errorf("after it was mended: %v, %+v", m.names, s.status("n", kindServer, ""))
			}
			files.remove(t, "key.pem")
			s.get()
			s.get()
			if n := strings.Count(log.String(), "going on"); n != 2 {
				t.Errorf("a later problem was told of %d times:\n%s", n-1, log.String())
			}
		})
	}
}

// A check of a profile holds for new files, too.
func TestFilesOfAnotherNode(t *testing.T) {
	t.Parallel()
	m := &memory{dir: t.TempDir()}
	m.write(t, "one")
	s, err := newSource(m.files(), func(m *material) error { return m.checkOwnName("one") }, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.every = 0
	m.write(t, "two")
	if got := s.get(); got.names[0] != "one" || s.problem == nil {
		t.Errorf("names %v, problem %v", got.names, s.problem)
	}
}

// Nobody looks more often than that.
func TestLooksAreCounted(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s, files := testSource(t, &log)
	s.every = lookEvery * 1000
	first := s.get()
	files.write(t, "two")
	if s.get() != first {
		t.Error("looked again at once")
	}
}
