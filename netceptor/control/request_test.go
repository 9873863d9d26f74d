package control

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// FuzzLines compares the reader with the rules in their shortest form, whatever
// pieces the bytes come in.
func FuzzLines(f *testing.F) {
	f.Add([]byte("ping beta\r\n\n\r\n{\"a\":1}\nhalf"))
	f.Add(bytes.Repeat([]byte("x\r"), 5000))
	f.Fuzz(func(t *testing.T, in []byte) {
		var want []string
		clean := strings.ReplaceAll(string(in), "\r", "")
		parts := strings.Split(clean, "\n")
		for _, p := range parts[:len(parts)-1] {
			if p != "" {
				want = append(want, p)
			}
		}
		for _, r := range []io.Reader{bytes.NewReader(in), iotest.OneByteReader(bytes.NewReader(in)), iotest.DataErrReader(bytes.NewReader(in))} {
			lines := newLineReader(r)
			for i := 0; ; i++ {
				line, err := lines.next()
				if err == io.EOF && i == len(want) {
					break
				}
				if err != nil || i >= len(want) || string(line) != want[i] {
					t.Fatalf("line %d: %q, %v; want %q", i, line, err, want)
				}
				if _, err := parseRequest(line); err != nil && line[0] != '{' {
					t.Fatalf("plain %q: %v", line, err)
				}
			}
		}
	})
}

// What follows a line can be read as it is.
func TestReadAhead(t *testing.T) {
	t.Parallel()
	lines := newLineReader(strings.NewReader("a\nb\r\n\r\nrest"))
	if line, err := lines.next(); err != nil || string(line) != "a" {
		t.Fatalf("%q, %v", line, err)
	}
	if rest, err := io.ReadAll(lines); err != nil || string(rest) != "b\r\n\r\nrest" {
		t.Fatalf("%q, %v", rest, err)
	}
}

// The memory of a long line is not kept for the rest of the conversation.
func TestLongLineIsForgotten(t *testing.T) {
	t.Parallel()
	lines := newLineReader(bufio.NewReader(strings.NewReader(strings.Repeat("x", MaxLine-1) + "\na\n")))
	for _, want := range []int{MaxLine - 1, 1} {
		if line, err := lines.next(); err != nil || len(line) != want {
			t.Fatalf("%d bytes, %v; want %d", len(line), err, want)
		}
	}
	if cap(lines.buf) > writeChunk {
		t.Errorf("still holds %d bytes", cap(lines.buf))
	}
}
