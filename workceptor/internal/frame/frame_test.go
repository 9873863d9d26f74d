package frame

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestFrames(t *testing.T) {
	t.Parallel()
	var b []byte
	datas := [][]byte{[]byte("payload"), nil, bytes.Repeat([]byte("x"), MaxData)}
	for i, data := range datas {
		b = Append(b, byte(i), data)
	}
	r := bytes.NewReader(b)
	buf := make([]byte, MaxData)
	for i, want := range datas {
		if typ, data, err := Read(r, buf); err != nil || typ != byte(i) || !bytes.Equal(data, want) {
			t.Errorf("frame %d: type %d, %d bytes, %v", i, typ, len(data), err)
		}
	}
	if _, _, err := Read(r, buf); !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("at the end: %v", err)
	}
	one := Append(nil, Stdout, []byte("data"))
	for n := 1; n < len(one); n++ {
		_, data, err := Read(bytes.NewReader(one[:n]), buf)
		if come := one[min(n, Header):n]; !bytes.Equal(data, come) {
			t.Errorf("%q of %q came with the error", data, come)
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	for name, bad := range map[string][]byte{"type": {4, 0, 0, 0, 0}, "length": {0, 0, 1, 0, 1}} {
		if _, _, err := Read(bytes.NewReader(bad), buf); !errors.Is(err, ErrFrame) {
			t.Errorf("bad %s: %v", name, err)
		}
	}
}
