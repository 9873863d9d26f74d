package journal

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestRecordRoundTrip(t *testing.T) {
	t.Parallel()
	for _, r := range []Record{
		{Type: 1, Unit: "a"},
		{Type: 200, Unit: strings.Repeat("Z", MaxUnit), Payload: []byte(`{"x":1}`)},
		{Type: 1, Unit: "unit0001", Payload: bytes.Repeat([]byte("x"), 70000)},
	} {
		b := r.Append([]byte("before"))[len("before"):]
		got, n, ok := parse(append(b, "after"...))
		if !ok || n != len(b) || got.Type != r.Type || got.Unit != r.Unit || !bytes.Equal(got.Payload, r.Payload) {
			t.Errorf("%d bytes come back as %v, %d, %v", len(b), got.Unit, n, ok)
		}
		for cut := range min(len(b), 200) {
			if _, _, ok := parse(b[:cut]); ok {
				t.Fatalf("the first %d bytes pass for a record", cut)
			}
		}
	}
}

func TestRecordsThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]Record{
		"no type":      {Unit: "a"},
		"no unit":      {Type: 1},
		"a path":       {Type: 1, Unit: "../a"},
		"a long name":  {Type: 1, Unit: strings.Repeat("a", MaxUnit+1)},
		"a long story": {Type: 1, Unit: "a", Payload: make([]byte, MaxPayload+1)},
	} {
		if r.check() == nil {
			t.Errorf("%s is valid", name)
		}
	}
}

// FuzzScan: whatever is in a file, it is divided without gaps, and sound records
// before and after it are found.
func FuzzScan(f *testing.F) {
	first := Record{Type: 1, Unit: "first", Payload: []byte("{}")}.Append(nil)
	last := Record{Type: 2, Unit: "last", Payload: []byte("{}")}.Append(nil)
	f.Add([]byte{})
	f.Add(make([]byte, 100))
	f.Add(first[:len(first)-1])
	f.Add([]byte{0, 0, 0, 200, 1, 2, 3, 4, 1, 1, 'a'})
	f.Fuzz(func(t *testing.T, noise []byte) {
		b := append(append(append([]byte{}, first...), noise...), last...)
		var units []string
		at := 0
		for _, p := range scan(b) {
			if p.offset != at || p.size <= 0 {
				t.Fatalf("a stretch of %d bytes at %d, after %d", p.size, p.offset, at)
			}
			at += p.size
			if p.sound {
				units = append(units, p.record.Unit)
			}
		}
		if len(units) < 2 || units[0] != "first" || units[len(units)-1] != "last" || at != len(b) {
			t.Fatalf("found %v up to %d of %d", units, at, len(b))
		}
		scan(noise)
	})
}

func ExampleRecord_Append() {
	b := Record{Type: 2, Unit: "Xp6DyYJJ", Payload: []byte(`{}`)}.Append(nil)
	fmt.Printf("%x %x %x %s\n", b[:4], b[4:8], b[8:10], b[10:])
	// Output: 0000000c 9a69e535 0208 Xp6DyYJJ{}
}
