package forward

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/project-receptor/receptor/netceptor/internal/wire"
)

// scriptConn is a connection that reads from a reader, and keeps each write.
type scriptConn struct {
	net.Conn
	in     io.Reader
	writes [][]byte
}

func (c *scriptConn) Read(b []byte) (int, error) { return c.in.Read(b) }

func (c *scriptConn) Write(b []byte) (int, error) {
	c.writes = append(c.writes, bytes.Clone(b))
	return len(b), nil
}

// frame appends msg with its length.
func frame(b, msg []byte) []byte {
	return append(binary.LittleEndian.AppendUint16(b, uint16(len(msg))), msg...)
}

// readAll runs what arrives through a link and returns the messages it cut.
func readAll(t *testing.T, in io.Reader) ([][]byte, *Link, error) {
	t.Helper()
	l := NewLink(&scriptConn{in: in})
	var got [][]byte
	err := l.Read(func(msg []byte) *Link {
		got = append(got, bytes.Clone(msg))
		return nil
	})
	return got, l, err
}

func TestReadCutsFrames(t *testing.T) {
	t.Parallel()
	sizes := []int{1, 2, 0, 35, 36, 37, 1400, 0, 65535, 3, 65535, 65535, 1}
	var stream []byte
	var want [][]byte
	for i, size := range sizes {
		msg := bytes.Repeat([]byte{byte(i + 1)}, size)
		stream = frame(stream, msg)
		want = append(want, msg)
	}
	readers := map[string]func(io.Reader) io.Reader{
		"at once":        func(r io.Reader) io.Reader { return r },
		"byte by byte":   iotest.OneByteReader,
		"halves":         iotest.HalfReader,
		"data with EOF":  iotest.DataErrReader,
		"runs of primes": func(r io.Reader) io.Reader { return &chunkReader{r: r, sizes: []int{7, 4099, 3, 65537, 131}} },
	}
	for name, wrap := range readers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, l, err := readAll(t, wrap(bytes.NewReader(stream)))
			if !errors.Is(err, io.EOF) {
				t.Errorf("Read ended with %v, want EOF", err)
			}
			if !slices.EqualFunc(got, want, bytes.Equal) {
				t.Errorf("got %d messages, want %d, or they differ", len(got), len(want))
			}
			c := l.Counters()
			if c.FramesIn != uint64(len(sizes)) || c.BytesIn != uint64(len(stream)) {
				t.Errorf("counters %+v for %d frames, %d bytes", c, len(sizes), len(stream))
			}
		})
	}
}

// chunkReader reads at most so many bytes at a time, in turn.
type chunkReader struct {
	r     io.Reader
	sizes []int
	turn  int
}

func (c *chunkReader) Read(b []byte) (int, error) {
	c.turn++
	return c.r.Read(b[:min(len(b), c.sizes[c.turn%len(c.sizes)])])
}

func TestReadEveryTruncation(t *testing.T) {
	t.Parallel()
	stream := frame(frame(nil, []byte("first")), []byte("second"))
	first := wire.LengthSize + len("first")
	for cut := range stream {
		got, _, err := readAll(t, bytes.NewReader(stream[:cut]))
		want := io.ErrUnexpectedEOF
		if cut == 0 || cut == first {
			want = io.EOF
		}
		if err != want {
			t.Errorf("cut at %d: %v, want %v", cut, err, want)
		}
		messages := 0
		if cut >= first {
			messages = 1
		}
		if len(got) != messages {
			t.Errorf("cut at %d: %d messages, want %d", cut, len(got), messages)
		}
	}
}

// Frames behind each other for one link are queued as one run, in order, and
// edited as the handler left them.
func TestReadForwardsRuns(t *testing.T) {
	t.Parallel()
	a, b := NewLink(nil), NewLink(nil)
	var stream, wantA, wantB []byte
	for _, msg := range []string{"a1", "a2", "b1", "-", "b2", "b3", "a3"} {
		stream = frame(stream, []byte(msg))
		edited := append([]byte("x"), msg[1:]...)
		switch msg[0] {
		case 'a':
			wantA = frame(wantA, edited)
		case 'b':
			wantB = frame(wantB, edited)
		}
	}
	l := NewLink(&scriptConn{in: bytes.NewReader(stream)})
	err := l.Read(func(msg []byte) *Link {
		to := msg[0]
		msg[0] = 'x'
		switch to {
		case 'a':
			return a
		case 'b':
			return b
		}
		return nil
	})
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if !bytes.Equal(a.lanes.data, wantA) || !bytes.Equal(b.lanes.data, wantB) {
		t.Errorf("a got %q, want %q; b got %q, want %q", a.lanes.data, wantA, b.lanes.data, wantB)
	}
	if a.Counters().FramesOut != 3 || b.Counters().FramesOut != 3 {
		t.Errorf("frames: a %d, b %d, want 3 each", a.Counters().FramesOut, b.Counters().FramesOut)
	}
}

func TestWriteWritesWhatGathered(t *testing.T) {
	t.Parallel()
	conn := &scriptConn{}
	l := NewLink(conn)
	l.Send([]byte("h"), []byte("aabbc"), 2, 0)
	l.Run(frame(nil, []byte("run")), 1)
	l.Control([]byte("control"))
	l.Close()
	if err := l.Write(); err != nil {
		t.Fatal(err)
	}
	var data []byte
	for _, msg := range []string{"haa", "hbb", "hc", "run"} {
		data = frame(data, []byte(msg))
	}
	want := [][]byte{frame(nil, []byte("control")), data}
	if !slices.EqualFunc(conn.writes, want, bytes.Equal) {
		t.Errorf("wrote %q, want %q", conn.writes, want)
	}
}

// A reader never waits, however long the writer of the next link is blocked.
func TestBlockedLinkDropsAndEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		l := NewLink(near)
		ended := make(chan error, 1)
		go func() { ended <- l.Write() }()
		run := frame(nil, make([]byte, 1400))
		const frames = 10 * LinkQueue / 1400
		for range frames {
			l.Run(run, 1)
		}
		c := l.Counters()
		if c.Dropped == 0 || c.FramesOut+c.Dropped != frames {
			t.Errorf("%d queued and %d dropped of %d", c.FramesOut, c.Dropped, frames)
		}
		l.Close()
		near.Close()
		if err := <-ended; err == nil {
			t.Error("the blocked writer ended without an error")
		}
		far.Close()
	})
}

func FuzzRead(f *testing.F) {
	f.Add([]byte{0, 0}, byte(1))
	f.Add([]byte{1, 0, 7, 0, 0, 2, 0, 1, 2}, byte(3))
	f.Add([]byte{0xff, 0xff, 1}, byte(2))
	f.Fuzz(func(t *testing.T, stream []byte, chunk byte) {
		in := &chunkReader{r: bytes.NewReader(stream), sizes: []int{int(chunk) + 1}}
		got, _, err := readAll(t, in)
		var back []byte
		for rest := stream; ; {
			size := frameSize(rest)
			if size == 0 || size > len(rest) {
				if want := len(rest) > 0; errors.Is(err, io.ErrUnexpectedEOF) != want {
					t.Fatalf("%v with %d bytes left", err, len(rest))
				}
				break
			}
			back = append(back, rest[:size]...)
			rest = rest[size:]
		}
		var cut []byte
		for _, msg := range got {
			cut = frame(cut, msg)
		}
		if !bytes.Equal(cut, back) {
			t.Fatalf("cut %x, want %x", cut, back)
		}
	})
}
