package workceptor

import (
	"bytes"
	"testing"

	"github.com/project-receptor/receptor/workceptor/internal/frame"
)

// FuzzPayload: whatever a client sends, only what ends as it should is whole, and the
// pieces are those that were sent.
func FuzzPayload(f *testing.F) {
	whole := frame.Append(frame.Append(nil, frame.Stdin, []byte("payload")), frame.End, nil)
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(frame.Append(nil, frame.Stdout, []byte("x")))
	f.Fuzz(func(t *testing.T, b []byte) {
		var got bytes.Buffer
		if receiveFrames(&got, bytes.NewReader(b)) != nil {
			return
		}
		r, buf := bytes.NewReader(b), make([]byte, frame.MaxData)
		var again []byte
		for {
			typ, data, err := frame.Read(r, buf)
			if err != nil {
				t.Fatalf("%v in what was whole", err)
			}
			if typ == frame.End {
				break
			}
			again = append(again, data...)
		}
		if !bytes.Equal(got.Bytes(), again) {
			t.Fatal("other pieces")
		}
	})
}
