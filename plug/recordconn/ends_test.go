package recordconn_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/project-receptor/receptor/plug/recordconn"
	"github.com/project-receptor/receptor/plug/wire"
)

// record encodes one record.
func record(t wire.RecordType, payload string) []byte {
	return append(wire.RecordHeader{Length: uint16(len(payload)), Type: t}.Append(nil), payload...)
}

// stream is what a peer sends: two records of data and an end.
var stream = bytes.Join([][]byte{
	record(wire.RecordData, "hello "),
	record(wire.RecordData, ""),
	record(wire.RecordData, "world"),
	record(wire.RecordEnd, ""),
}, nil)

// readers are the two ways to read a whole stream.
var readers = map[string]func(*recordconn.Conn) ([]byte, error){
	"Read": func(c *recordconn.Conn) ([]byte, error) {
		var b bytes.Buffer
		_, err := io.Copy(&b, struct{ io.Reader }{c})
		return b.Bytes(), err
	},
	"WriteTo": func(c *recordconn.Conn) ([]byte, error) {
		var b bytes.Buffer
		_, err := c.WriteTo(&b)
		return b.Bytes(), err
	},
}

// Wherever the connection is cut, the part never looks like the whole.
func TestCutAtEveryByte(t *testing.T) {
	t.Parallel()
	for name, read := range readers {
		for i := range len(stream) + 1 {
			raw, c := unixPair(t)
			if _, err := raw.Write(stream[:i]); err != nil {
				t.Fatal(err)
			}
			if err := raw.Close(); err != nil {
				t.Fatal(err)
			}
			got, err := read(recordconn.New(c))
			if !bytes.HasPrefix([]byte("hello world"), got) {
				t.Errorf("%s, cut at %d: got %q", name, i, got)
			}
			if i < len(stream) {
				wantReset(t, err, wire.CodeGone)
			} else if err != nil || string(got) != "hello world" {
				t.Errorf("%s, whole: got %q, %v", name, got, err)
			}
		}
	}
}

// Both directions have sent their END, but the peer dies with ours unread. That
// is an abort: only the side that read it all may close in order.
func TestKilledWithTheEndUnread(t *testing.T) {
	t.Parallel()
	raw, y := unixPair(t)
	c := recordconn.New(y)
	_, err := raw.Write(record(wire.RecordEnd, ""))
	check(t, err)
	_, err = c.Write([]byte("the last words"))
	check(t, err)
	check(t, c.CloseWrite())
	check(t, raw.Close())
	if runtime.GOOS == "linux" { // others do not tell
		wantReset(t, c.Wait(), wire.CodeGone)
	}
}

// However the bytes arrive in pieces, the stream is the same.
func TestSplitAtEveryByte(t *testing.T) {
	t.Parallel()
	for name, read := range readers {
		for i := 1; i < len(stream); i++ {
			raw, c := net.Pipe() // one Write is one Read
			go func() {
				_, _ = raw.Write(stream[:i])
				_, _ = raw.Write(stream[i:])
			}()
			got, err := read(recordconn.New(c))
			if err != nil || string(got) != "hello world" {
				t.Errorf("%s, split at %d: got %q, %v", name, i, got, err)
			}
			_ = raw.Close()
			_ = c.Close()
		}
	}
}

func TestHalfClose(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, a, b *recordconn.Conn) {
		// One side ends, and the answer comes after that.
		result := make(chan error, 1)
		go func() {
			question, err := io.ReadAll(b)
			if err == nil {
				_, err = b.Write(append([]byte("re: "), question...))
			}
			result <- errors.Join(err, b.CloseWrite(), b.Wait(), b.Close())
		}()
		_, err := a.Write([]byte("question"))
		if err := errors.Join(err, a.CloseWrite(), a.CloseWrite()); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("Write after CloseWrite = %v", err)
		}
		answer, err := io.ReadAll(a)
		if err != nil || string(answer) != "re: question" {
			t.Errorf("read %q, %v", answer, err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-result; err != nil {
			t.Fatal(err)
		}
	})
}

// Whoever closes before both directions have ended has aborted.
func TestEarlyCloseIsAnAbort(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(*testing.T, *recordconn.Conn){
		"nothing ended":  func(*testing.T, *recordconn.Conn) {},
		"writing ended":  func(t *testing.T, c *recordconn.Conn) { check(t, c.CloseWrite()) },
		"data, no end":   func(t *testing.T, c *recordconn.Conn) { _, err := c.Write([]byte("x")); check(t, err) },
		"data and reset": func(t *testing.T, c *recordconn.Conn) { check(t, c.Reset(wire.Reset{Code: wire.CodeCanceled})) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x, y := unixPair(t)
			a, b := recordconn.New(x), recordconn.New(y)
			before(t, a)
			check(t, a.Close())
			check(t, a.Close())
			// b's own direction has not ended: it has to hear that nobody listens,
			// even where all data came.
			wantReset(t, b.Wait(), wire.CodeCanceled)
			_, err := b.Write([]byte("x"))
			wantReset(t, err, wire.CodeCanceled)
			if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Read after Close = %v", err)
			}
			if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Write after Close = %v", err)
			}
			if err := a.CloseWrite(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("CloseWrite after Close = %v", err)
			}
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The reason of a reset is found by a Write too, behind data that nobody reads.
func TestWriteFindsTheReason(t *testing.T) {
	t.Parallel()
	x, y := unixPair(t)
	a, b := recordconn.New(x), recordconn.New(y)
	_, err := b.Write(pattern(10_000))
	check(t, err)
	check(t, b.Reset(wire.Reset{Code: wire.CodeRefused, Msg: "no"}))
	_, err = a.Write([]byte("x"))
	wantReset(t, err, wire.CodeRefused)
	wantReset(t, a.CloseWrite(), wire.CodeRefused)
	got, err := io.ReadAll(a)
	if !bytes.Equal(got, pattern(10_000)) {
		t.Errorf("%d bytes are left to read, want those that came before the reset", len(got))
	}
	wantReset(t, err, wire.CodeRefused)
}

// One that answers, ends and closes while it is still written to has its whole
// answer read, however early a Write fails.
func TestFailedWriteTakesNothingFromRead(t *testing.T) {
	t.Parallel()
	for name, readAll := range readers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x, y := unixPair(t)
			a, b := recordconn.New(x), recordconn.New(y)
			_, err := b.Write(pattern(100_000))
			check(t, err)
			check(t, b.CloseWrite())
			check(t, b.Close())
			for err == nil {
				_, err = a.Write(pattern(1000))
			}
			got, err := readAll(a)
			if !bytes.Equal(got, pattern(100_000)) || err != nil {
				t.Errorf("%d bytes and %v, want 100000 and a clean end", len(got), err)
			}
		})
	}
}

// A killed peer closes without a word, whether or not it was writing.
func TestPeerKilled(t *testing.T) {
	t.Parallel()
	for name, sent := range map[string][]byte{
		"silent":       nil,
		"between":      record(wire.RecordData, "x"),
		"in a record":  record(wire.RecordData, "xyz")[:9],
		"after an end": record(wire.RecordEnd, ""),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw, y := unixPair(t)
			c := recordconn.New(y)
			_, err := raw.Write(sent)
			check(t, err)
			check(t, raw.Close())
			wantReset(t, c.Wait(), wire.CodeGone)
			_, err = c.Write([]byte("x"))
			wantReset(t, err, wire.CodeGone)
		})
	}
}

func TestCloseUnblocks(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, a, _ *recordconn.Conn) {
		ended := make(chan error, 2)
		go func() {
			_, err := a.Read(make([]byte, 1))
			ended <- err
		}()
		writing := make(chan struct{})
		go func() {
			close(writing)
			for {
				if _, err := a.Write(pattern(100_000)); err != nil {
					ended <- err
					return
				}
			}
		}()
		<-writing
		check(t, a.Close())
		for range 2 {
			if err := <-ended; !errors.Is(err, net.ErrClosed) {
				t.Errorf("got %v, want net.ErrClosed", err)
			}
		}
	})
}

// A deadline cuts a record; later writes go on where it was cut, and the other
// side sees one unbroken stream.
func TestWriteDeadline(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, a, b *recordconn.Conn) {
		want := pattern(2_000_000)
		n := 0
		check(t, a.SetWriteDeadline(time.Now().Add(time.Millisecond)))
		for {
			k, err := a.Write(want[n:])
			n += k
			if isTimeout(err) {
				break
			}
			check(t, err)
		}
		check(t, a.SetWriteDeadline(time.Time{}))
		sent := make(chan error, 1)
		go func() {
			for n < len(want) { // by small steps, across the cut
				k, err := a.Write(want[n:min(n+10_000, len(want))])
				n += k
				if err != nil {
					sent <- err
					return
				}
			}
			sent <- a.CloseWrite()
		}()
		got, err := io.ReadAll(b)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("read %d bytes of %d, %v", len(got), len(want), err)
		}
		check(t, <-sent)
	})
}

// What a deadline has cut and nobody goes on with has no clean end.
func TestCutWriteCannotEnd(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, a, b *recordconn.Conn) {
		check(t, a.SetWriteDeadline(time.Now().Add(time.Millisecond)))
		for {
			_, err := a.Write(pattern(1_000_000))
			if isTimeout(err) {
				break
			}
			check(t, err)
		}
		check(t, a.SetWriteDeadline(time.Time{}))
		if err := a.CloseWrite(); err == nil {
			t.Error("CloseWrite of a cut stream succeeded")
		}
		if _, err := io.ReadAll(b); err == nil {
			t.Error("a cut stream looks complete")
		}
	})
}

func TestReadDeadline(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, a, b *recordconn.Conn) {
		check(t, b.SetDeadline(time.Now().Add(-time.Second)))
		if _, err := b.Read(make([]byte, 1)); !isTimeout(err) {
			t.Errorf("Read = %v, want a timeout", err)
		}
		check(t, b.SetReadDeadline(time.Time{}))
		go func() { _, _ = a.Write([]byte("x")) }()
		if n, err := b.Read(make([]byte, 9)); n != 1 || err != nil {
			t.Errorf("Read after a timeout = %d, %v", n, err)
		}
	})
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	for name, b := range map[string][]byte{
		"type":         record(9, ""),
		"packet":       record(wire.RecordPeer, "{}"),
		"end length":   record(wire.RecordEnd, "x"),
		"flags":        {0, 0, 1, 1, 0, 0, 0, 0},
		"peer":         {0, 0, 1, 0, 0, 0, 0, 1},
		"long reset":   {0xff, 0xff, 3, 0, 0, 0, 0, 0},
		"more data":    bytes.Join([][]byte{record(wire.RecordEnd, ""), record(wire.RecordData, "x")}, nil),
		"ended twice":  bytes.Join([][]byte{record(wire.RecordEnd, ""), record(wire.RecordEnd, "")}, nil),
		"data no more": bytes.Join([][]byte{record(wire.RecordData, "x"), record(7, "")}, nil),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw, y := unixPair(t)
			c := recordconn.New(y)
			_, err := raw.Write(b)
			check(t, err)
			wantReset(t, c.Wait(), wire.CodeInvalid)
			_, err = c.Write([]byte("x"))
			wantReset(t, err, wire.CodeInvalid)
		})
	}
}

// The reason of RESET may be nonsense, or come in pieces; a reset it is.
func TestResetPayload(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ payload, code, msg string }{
		"whole":          {`{"code":"busy","msg":"m","new":1}`, wire.CodeBusy, "m"},
		"empty":          {``, wire.CodeInternal, "reset without a reason"},
		"no JSON":        {`{"code":`, wire.CodeInternal, "reset without a reason"},
		"without a code": {`{"msg":"m"}`, wire.CodeInternal, "reset without a reason"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw, y := net.Pipe()
			conn := recordconn.New(y)
			go func() {
				for _, b := range record(wire.RecordReset, c.payload) {
					_, _ = raw.Write([]byte{b})
				}
			}()
			_, err := conn.Read(make([]byte, 1))
			wantReset(t, err, c.code)
			var r *recordconn.ResetError
			if errors.As(err, &r) && r.Msg != c.msg {
				t.Errorf("got %q, want %q", r.Msg, c.msg)
			}
			_ = raw.Close()
			_ = conn.Close()
		})
	}
}

// A reason that does not fit is replaced: the reset must not fail for it.
func TestLongReason(t *testing.T) {
	t.Parallel()
	x, y := unixPair(t)
	a, b := recordconn.New(x), recordconn.New(y)
	check(t, a.Reset(wire.Reset{Code: wire.CodeGone, Msg: string(pattern(9000))}))
	wantReset(t, b.Wait(), wire.CodeInternal)
}

// FuzzRead: no input makes a part look like a whole, and Read and WriteTo agree.
func FuzzRead(f *testing.F) {
	f.Add(stream)
	f.Add(record(wire.RecordReset, `{"code":"gone"}`))
	f.Add(bytes.Join([][]byte{record(wire.RecordEnd, ""), record(wire.RecordReset, `{}`)}, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var got [2][]byte
		var errs [2]error
		for i, name := range []string{"Read", "WriteTo"} {
			got[i], errs[i] = readers[name](recordconn.New(&scripted{b: b, step: i + 1}))
		}
		if !bytes.Equal(got[0], got[1]) || (errs[0] == nil) != (errs[1] == nil) {
			t.Errorf("Read %q, %v; WriteTo %q, %v", got[0], errs[0], got[1], errs[1])
		}
		if errs[0] == nil && !bytes.Contains(b, record(wire.RecordEnd, "")) {
			t.Errorf("%q without END looks whole", b)
		}
	})
}

// scripted is a connection that yields b by steps, and then ends.
type scripted struct {
	net.Conn
	b    []byte
	step int
}

func (s *scripted) Read(p []byte) (int, error) {
	if len(s.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.b[:min(len(s.b), s.step)])
	s.b = s.b[n:]
	return n, nil
}
