package differential

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// reading is how both have read the same bytes: what it means, as text, or why it
// was not accepted.
type reading struct {
	ours, model       string
	oursErr, modelErr error
}

// equal tells whether they agree. Their reasons are their own.
func (r reading) equal() bool {
	return (r.oursErr == nil) == (r.modelErr == nil) && (r.oursErr != nil || r.ours == r.model)
}

func (r reading) String() string {
	one := func(s string, err error) string {
		if err != nil {
			return fmt.Sprintf("rejected: %.300q", err)
		}
		return fmt.Sprintf("%.2000q", s)
	}
	return fmt.Sprintf("ours: %s\nthe model: %s", one(r.ours, r.oursErr), one(r.model, r.modelErr))
}

// format is what both can read.
type format struct {
	read       func(b []byte) reading
	deliberate []difference
}

// difference is one that is meant to be.
type difference struct {
	what, why string
	example   string                         // of bytes that are read differently
	is        func(b []byte, r reading) bool // asked when the two differ
}

// check fails if the two read b differently, but for what is deliberate.
func (f format) check(t *testing.T, b []byte) {
	t.Helper()
	r := f.read(b)
	if r.equal() {
		return
	}
	for _, d := range f.deliberate {
		if d.is(b, r) {
			return
		}
	}
	t.Errorf("%.2000q:\n%v", b, r)
}

// fuzz looks for differences, from what was recorded and from the known ones on.
func (f format) fuzz(fz *testing.F, seeds ...[]byte) {
	if len(seeds) == 0 {
		fz.Fatal("no seeds")
	}
	for _, s := range seeds {
		fz.Add(s)
	}
	for _, d := range f.deliberate {
		fz.Add([]byte(d.example))
	}
	fz.Fuzz(func(t *testing.T, b []byte) { f.check(t, b) })
}

// No difference is in the lists that is none any more, or that another one covers.
func TestDeliberate(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]format{"updates": updates, "adverts": adverts, "lines": newLines(t), "tokens": newTokens(t)} {
		for _, d := range f.deliberate {
			t.Run(name+"/"+d.what, func(t *testing.T) {
				r := f.read([]byte(d.example))
				if r.equal() || !d.is([]byte(d.example), r) {
					t.Errorf("the example is none:\n%v", r)
				}
			})
		}
	}
}

// vectors is where the recorded conversations are.
const vectors = "../../../netceptor/internal/wire/testdata/vectors"

// recorded are the messages of the recorded conversations that have this type,
// without the byte that says so; of type -1, the frames of those over TCP.
func recorded(f *testing.F, kind int) (all [][]byte) {
	f.Helper()
	files, err := filepath.Glob(vectors + "/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no vectors: %v", err)
	}
	add := func(key, value string) {
		b, err := hex.DecodeString(value)
		switch {
		case err != nil || len(b) == 0:
		case key == "tcp_frame_hex" && kind < 0:
			all = append(all, b)
		case key == "message_hex" && int(b[0]) == kind:
			all = append(all, b[1:])
		}
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for key, e := range v {
				if s, ok := e.(string); ok {
					add(key, s)
				}
				walk(e)
			}
		}
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			f.Fatal(err)
		}
		walk(v)
	}
	return all
}
