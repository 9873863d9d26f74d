package wire

import (
	"bytes"
	"testing"
)

func TestVectorsNotice(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, v := range vectors(t) {
		d, err := AsData(v.message)
		if err != nil || d.ToService().String() != ServiceUnreach {
			continue
		}
		seen++
		n, err := ParseNotice(d.Payload())
		if err != nil {
			t.Errorf("%s: %v", v.name, err)
			continue
		}
		if n.Problem != ProblemServiceUnknown && n.Problem != ProblemExpired && n.Problem != ProblemFirewall {
			t.Errorf("%s: problem %q", v.name, n.Problem)
		}
		if got := n.Append(nil); !bytes.Equal(got, d.Payload()) {
			t.Errorf("%s:\n got %s\nwant %s", v.name, got, d.Payload())
		}
		for i := range d.Payload() {
			if _, err := ParseNotice(d.Payload()[:i]); err == nil {
				t.Errorf("%s: the first %d bytes were accepted", v.name, i)
			}
		}
	}
	if seen == 0 {
		t.Error("no notice in the vectors")
	}
}

func FuzzNotice(f *testing.F) {
	f.Add([]byte(`{"FromNode":"u2","ToNode":"u3","FromService":"2KjBbnI0","ToService":"ping","Problem":"message expired"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := ParseNotice(b)
		if err != nil {
			return
		}
		again, err := ParseNotice(n.Append(nil))
		if err != nil || *again != *n {
			t.Fatalf("round trip of %+v: %+v, %v", n, again, err)
		}
	})
}
