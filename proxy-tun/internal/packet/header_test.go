package packet

import (
	"bytes"
	"testing"
)

func TestHeader(t *testing.T) {
	t.Parallel()
	h := Header{Flags: NeedsChecksum, GSOType: GSOTCPv6, HdrLen: 0x0102, GSOSize: 0x0304, CsumStart: 0x0506, CsumOffset: 0x0708}
	b := h.Append([]byte{0xff})
	if want := []byte{0xff, 1, 4, 2, 1, 4, 3, 6, 5, 8, 7}; !bytes.Equal(b, want) {
		t.Fatalf("appended % x, want % x", b, want)
	}
	got, n, err := ParseHeader(append(b[1:], 9, 9))
	if err != nil || n != HeaderLen || got != h {
		t.Errorf("%+v, %d, %v", got, n, err)
	}
	for n := range HeaderLen {
		if _, _, err := ParseHeader(b[1 : 1+n]); err == nil {
			t.Errorf("a header of %d bytes was taken", n)
		}
	}
}
