//go:build unix

package transcript_test

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/project-receptor/receptor/plug/internal/transcript"
)

// -update records conversations that are new, and names the commit that is checked out.
// Version 1 is frozen: those that there are stay as they are.
var update = flag.Bool("update", false, "record transcripts of new conversations")

const dir = "../../testdata/transcripts"

func file(name string) string { return filepath.Join(dir, name+".txt") }

func load(t *testing.T, name string) *transcript.Transcript {
	t.Helper()
	text, err := os.ReadFile(file(name))
	if err != nil {
		t.Fatal(err)
	}
	tr, err := transcript.Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", file(name), err)
	}
	if again := tr.Append(nil); !bytes.Equal(again, text) {
		t.Fatalf("%s is not as it is written:\n%s", file(name), again)
	}
	return tr
}

// Today's code says, byte for byte, what it said when the transcripts were made.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	for name, c := range conversations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if *update {
				record(t, name)
			}
			tr := load(t, name)
			for side, script := range map[transcript.Side]transcript.Script{transcript.Plug: c.plug, transcript.Core: c.core} {
				if err := transcript.Replay(t.Context(), tr, side, script); err != nil {
					t.Errorf("the %s does not keep to %s: %v", side, file(name), err)
				}
			}
		})
	}
	files, err := filepath.Glob(file("*"))
	if err != nil || len(files) != len(conversations) && !*update {
		t.Errorf("%d transcripts of %d conversations, %v", len(files), len(conversations), err)
	}
}

// The transcripts of version 1 are those that it was frozen with.
func TestFrozen(t *testing.T) {
	t.Parallel()
	sums, err := os.ReadFile(filepath.Join(dir, "version-1.sha256"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(sums)), "\n")
	if len(lines) < 27 {
		t.Errorf("%d transcripts are frozen, there were 27", len(lines))
	}
	for _, line := range lines {
		want, name, _ := strings.Cut(line, "  ")
		text, err := os.ReadFile(filepath.Join(dir, name))
		if got := fmt.Sprintf("%x", sha256.Sum256(text)); err != nil || got != want {
			t.Errorf("%s is not what version 1 was frozen with: %v", name, err)
		}
	}
}

// record writes a transcript, unless there is one.
func record(t *testing.T, name string) {
	t.Helper()
	if _, err := os.Stat(file(name)); err == nil {
		return
	}
	c := conversations[name]
	events, err := transcript.Record(t.Context(), c.plug, c.core)
	if err != nil {
		t.Fatalf("record %s: %v", name, err)
	}
	commit, err := exec.CommandContext(t.Context(), "git", "rev-parse", "HEAD").Output()
	if err != nil {
		t.Fatal(err)
	}
	tr := &transcript.Transcript{About: c.about, Commit: strings.TrimSpace(string(commit)), Events: events}
	if err := os.WriteFile(file(name), tr.Append(nil), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Recorded again, a conversation is the same.
func TestRecordingIsExact(t *testing.T) {
	t.Parallel()
	for name, c := range conversations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			events, err := transcript.Record(t.Context(), c.plug, c.core)
			if err != nil {
				t.Fatal(err)
			}
			tr := load(t, name)
			if got := (&transcript.Transcript{About: tr.About, Commit: tr.Commit, Events: events}).Append(nil); !bytes.Equal(got, tr.Append(nil)) {
				t.Errorf("recorded again:\n%s", got)
			}
		})
	}
}

// No byte of a transcript is there for nothing: with another one in its place the
// code does not keep to it.
func TestAlteredTranscripts(t *testing.T) {
	t.Parallel()
	for _, name := range slices.Sorted(maps.Keys(conversations)) {
		c := conversations[name]
		scripts := map[transcript.Side]transcript.Script{transcript.Plug: c.plug, transcript.Core: c.core}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := load(t, name)
			fails := func(what string, e *transcript.Event) {
				if transcript.Replay(t.Context(), tr, e.From, scripts[e.From]) == nil {
					t.Errorf("%s: the %s keeps to it all the same", what, e.From)
				}
			}
			for i := range tr.Events {
				e := &tr.Events[i]
				if e.Closed() {
					continue
				}
				for _, at := range positions(e.Bytes, testing.Short()) {
					e.Bytes[at] ^= 1
					fails(fmt.Sprintf("event %d, byte %d", i+1, at), e)
					e.Bytes[at] ^= 1
				}
				e.FDs ^= 1
				fails(fmt.Sprintf("event %d, descriptors", i+1), e)
				e.FDs ^= 1
			}
			last := slices.Clone(tr.Events)
			for i := len(last) - 1; i >= 0; i-- { // of each side
				if e := last[i]; !e.Closed() {
					tr.Events = last[:i]
					fails(fmt.Sprintf("without event %d, the last that has bytes", i+1), &e)
					break
				}
			}
		})
	}
}

// header is how much of each event is altered byte by byte; what follows, the
// names and values of JSON, at every stride.
const (
	header      = 12
	stride      = 5
	strideShort = 29
)

func positions(b []byte, short bool) []int {
	step := stride
	if short {
		step = strideShort
	}
	var at []int
	for i := range b {
		if i < header || (i-header)%step == 0 || i == len(b)-1 {
			at = append(at, i)
		}
	}
	return at
}
