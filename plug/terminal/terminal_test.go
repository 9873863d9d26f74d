package terminal

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

// frames are one of each type, as they are in docs/wire-extensions.md.
var frames = []struct {
	frame Frame
	bytes string
}{
	{Frame{Open, Opening{Size{120, 40, 960, 800}, "xterm"}.Append(nil)}, "\x02\x00\x0d\x00\x78\x00\x28\x03\xc0\x03\x20xterm"},
	{Frame{Resize, Size{80, 24, 0, 0}.Append(nil)}, "\x03\x00\x08\x00\x50\x00\x18\x00\x00\x00\x00"},
	{Frame{Data, []byte("ls\r")}, "\x01\x00\x03ls\r"},
	{Frame{Data, nil}, "\x01\x00\x00"},
	{Frame{Exit, Ending{Code: 3}.Append(nil)}, "\x04\x00\x02\x03\x00"},
}

func TestFrames(t *testing.T) {
	t.Parallel()
	for _, c := range frames {
		b := c.frame.Append([]byte("before"))
		if string(b) != "before"+c.bytes {
			t.Errorf("%+v is %q, expected %q", c.frame, b, c.bytes)
		}
		for n := range len(c.bytes) {
			if _, _, err := ParseFrame([]byte(c.bytes[:n])); !errors.Is(err, ErrShort) {
				t.Errorf("%q: %v, expected that it is short", c.bytes[:n], err)
			}
			_, err := ReadFrame(NewReader(strings.NewReader(c.bytes[:n])))
			want := io.ErrUnexpectedEOF
			if n == 0 {
				want = io.EOF
			}
			if !errors.Is(err, want) {
				t.Errorf("read %q: %v, expected %v", c.bytes[:n], err, want)
			}
		}
		f, n, err := ParseFrame([]byte(c.bytes + "after"))
		if err != nil || n != len(c.bytes) || f.Type != c.frame.Type || !bytes.Equal(f.Payload, c.frame.Payload) {
			t.Errorf("%q: %+v, %d, %v", c.bytes, f, n, err)
		}
	}
	if _, _, err := ParseFrame([]byte{1, 0x40, 1}); !errors.Is(err, ErrMalformed) {
		t.Errorf("a frame that is too long: %v", err)
	}
}

// However the bytes come, the frames are the same; also the largest there are.
func TestReadFrame(t *testing.T) {
	t.Parallel()
	var all []byte
	for _, c := range frames {
		all = c.frame.Append(all)
	}
	text := strings.Repeat("0123456789abcdef", MaxPayload/16) + "rest"
	all = AppendData(all, []byte(text))
	for name, r := range map[string]io.Reader{"at once": bytes.NewReader(all), "bytewise": iotest.OneByteReader(bytes.NewReader(all))} {
		in := NewReader(r)
		for _, c := range frames {
			if f, err := ReadFrame(in); err != nil || f.Type != c.frame.Type || !bytes.Equal(f.Payload, c.frame.Payload) {
				t.Fatalf("%s: %+v, %v; expected %+v", name, f, err, c.frame)
			}
		}
		got := ""
		for range 2 {
			f, err := ReadFrame(in)
			if err != nil || f.Type != Data {
				t.Fatalf("%s: type %d, %v", name, f.Type, err)
			}
			got += string(f.Payload)
		}
		if _, err := ReadFrame(in); got != text || !errors.Is(err, io.EOF) {
			t.Errorf("%s: %d bytes, then %v", name, len(got), err)
		}
	}
}

func TestPayloads(t *testing.T) {
	t.Parallel()
	o := Opening{Size{1, 2, 3, 65535}, "screen.xterm-256color"}
	if got, err := ParseOpening(o.Append(nil)); err != nil || got != o {
		t.Errorf("%+v, %v; expected %+v", got, err, o)
	}
	e := Ending{1, 2, "why"}
	if got, err := ParseEnding(e.Append(nil)); err != nil || got != e {
		t.Errorf("%+v, %v; expected %+v", got, err, e)
	}
	if got, err := ParseEnding(Ending{Reason: strings.Repeat("x", 9999)}.Append(nil)); err != nil || len(got.Reason) != maxReason {
		t.Errorf("a long reason: %d bytes, %v", len(got.Reason), err)
	}
	size := DefaultSize.Append(nil)
	for n := range len(size) {
		if _, err := ParseSize(size[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes of a size: %v", n, err)
		}
		if _, err := ParseOpening(size[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes of an opening: %v", n, err)
		}
	}
	if _, err := ParseSize(append(size, 0)); !errors.Is(err, ErrMalformed) {
		t.Errorf("more than a size: %v", err)
	}
	for _, term := range []string{"a=b", "../x", "..", "x\x00", "x\ny", "x y", "ä", strings.Repeat("x", MaxTerm+1)} {
		if _, err := ParseOpening(append(size, term...)); !errors.Is(err, ErrMalformed) || KnownTerm(term) != "" {
			t.Errorf("terminal %q: %v", term, err)
		}
	}
	for n := range 2 {
		if _, err := ParseEnding(make([]byte, n)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes of an ending: %v", n, err)
		}
	}
	for want, e := range map[int]Ending{0: {}, 7: {Code: 7}, 130: {Signal: 2}, 137: {Code: 1, Signal: 9}} {
		if got := e.Status(); got != want {
			t.Errorf("%+v is status %d, expected %d", e, got, want)
		}
	}
}

// Only all of Magic at the beginning is Magic, and nothing is lost of anything else.
func TestTakeMagic(t *testing.T) {
	t.Parallel()
	for n := range len(Magic) + 1 {
		for _, tail := range []string{"", "x"} {
			text := Magic[:n] + tail
			r := NewReader(iotest.OneByteReader(strings.NewReader(text)))
			took := TakeMagic(r)
			rest, err := io.ReadAll(r)
			want := text
			if n == len(Magic) {
				want = tail
			}
			if took != (n == len(Magic)) || string(rest) != want || err != nil {
				t.Errorf("%q: %v, then %q, %v", text, took, rest, err)
			}
		}
	}
}

// An ordinary first byte is enough to know: who types it waits for nothing.
func TestTakeMagicReadsNoMoreThanItNeeds(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	defer r.Close()
	go func() { _, _ = w.Write([]byte("l")) }() // and no more
	if in := NewReader(r); TakeMagic(in) || in.Buffered() != 1 {
		t.Error("took something")
	}
}

func TestCopyPlain(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("text \xff and \xffreceptor \r\n", 5000)
	for name, plain := range map[string]string{"nothing": "", "text": "$ ", "much that is like it": long + Magic[:7], "its first byte": "\xff", "twice": "\xff\xff"} {
		for _, rest := range []string{"", Magic, Magic + "and so on"} {
			for how, wrap := range map[string]func(io.Reader) io.Reader{
				"at once": func(r io.Reader) io.Reader { return r }, "bytewise": iotest.OneByteReader,
			} {
				var got bytes.Buffer
				r := NewReader(wrap(strings.NewReader(plain + rest)))
				framed, err := CopyPlain(&got, r)
				tail, _ := io.ReadAll(r)
				if err != nil || framed != (rest != "") || got.String() != plain || Magic[:min(len(rest), len(Magic))]+string(tail) != rest {
					t.Errorf("%s, %s, then %q: %v, %v, %d bytes, then %q", name, how, rest, framed, err, got.Len(), tail)
				}
			}
		}
	}
	broken := errors.New("broken")
	if _, err := CopyPlain(io.Discard, NewReader(iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("%v, expected %v", err, broken)
	}
}

func FuzzFrame(f *testing.F) {
	for _, c := range frames {
		f.Add([]byte(c.bytes))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, n, err := ParseFrame(b)
		if err != nil {
			return
		}
		if again := frame.Append(nil); !bytes.Equal(again, b[:n]) {
			t.Errorf("%q became %q", b[:n], again)
		}
		if o, err := ParseOpening(frame.Payload); err == nil {
			if again := o.Append(nil); !bytes.Equal(again, frame.Payload) {
				t.Errorf("opening %q became %q", frame.Payload, again)
			}
		}
		if s, err := ParseSize(frame.Payload); err == nil {
			if again, err := ParseSize(s.Append(nil)); err != nil || again != s {
				t.Errorf("size %+v became %+v, %v", s, again, err)
			}
		}
		if e, err := ParseEnding(frame.Payload); err == nil {
			if again, err := ParseEnding(e.Append(nil)); err != nil || !reflect.DeepEqual(again, e) {
				t.Errorf("ending %+v became %+v, %v", e, again, err)
			}
		}
	})
}
