package workceptor

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestFrames(t *testing.T) {
	t.Parallel()
	var b []byte
	datas := [][]byte{[]byte("payload"), nil, bytes.Repeat([]byte("x"), frameData)}
	for i, data := range datas {
		b = appendFrame(b, byte(i), data)
	}
	r := bytes.NewReader(b)
	buf := make([]byte, frameData)
	for i, want := range datas {
		if typ, data, err := readFrame(r, buf); err != nil || typ != byte(i) || !bytes.Equal(data, want) {
			t.Errorf("frame %d: type %d, %d bytes, %v", i, typ, len(data), err)
		}
	}
	if _, _, err := readFrame(r, buf); !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("at the end: %v", err)
	}
	one := appendFrame(nil, frameStdout, []byte("data"))
	for n := 1; n < len(one); n++ {
		if _, _, err := readFrame(bytes.NewReader(one[:n]), buf); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	for name, bad := range map[string][]byte{"type": {4, 0, 0, 0, 0}, "length": {0, 0, 1, 0, 1}} {
		if _, _, err := readFrame(bytes.NewReader(bad), buf); !errors.Is(err, errFrame) {
			t.Errorf("bad %s: %v", name, err)
		}
	}
}

// FuzzPayload: whatever a client sends, only what ends as it should is whole, and the
// pieces are those that were sent.
func FuzzPayload(f *testing.F) {
	whole := appendFrame(appendFrame(nil, frameStdin, []byte("payload")), frameEnd, nil)
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(appendFrame(nil, frameStdout, []byte("x")))
	f.Fuzz(func(t *testing.T, b []byte) {
		var got bytes.Buffer
		if receiveFrames(&got, bytes.NewReader(b)) != nil {
			return
		}
		r, buf := bytes.NewReader(b), make([]byte, frameData)
		var again []byte
		for {
			typ, data, err := readFrame(r, buf)
			if err != nil {
				t.Fatalf("%v in what was whole", err)
			}
			if typ == frameEnd {
				break
			}
			again = append(again, data...)
		}
		if !bytes.Equal(got.Bytes(), again) {
			t.Fatal("other pieces")
		}
	})
}
