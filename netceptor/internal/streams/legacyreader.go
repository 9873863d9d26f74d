package streams

import (
	"errors"
	"io"
	"sync"

	"github.com/quic-go/quic-go"
)

// legacyReader reads the stream of a netceptor connection. An existing node may
// close the whole connection at any time once it has what it wants, and quic-go
// then forgets what it holds but nobody has read. So what is left is fetched as
// soon as the end of the stream has arrived: at most a stream's window. And when
// the connection is closed just as everything has been read, that is an end.
type legacyReader struct {
	str *quic.Stream

	mu    sync.Mutex
	final int64 // length of the stream, -1 while unknown
	read  int64 // bytes taken from str

	reading sync.Mutex // held while str is read; guards tail
	tail    []byte     // fetched, not yet read by the user
}

// newLegacyReader reads a stream of which some bytes were read already. It uses
// spawn to start a goroutine that somebody waits for.
func newLegacyReader(str *quic.Stream, read int64, spawn func(func()) bool) *legacyReader {
	r := &legacyReader{str: str, final: -1, read: read}
	str.SetReceiveFinalSizeCallback(func(size int64) {
		r.mu.Lock()
		r.final = size
		r.mu.Unlock()
		spawn(r.fetch) // ends with the stream, at the latest with its connection
	})
	return r
}

func (r *legacyReader) Read(p []byte) (int, error) {
	r.reading.Lock()
	defer r.reading.Unlock()
	if len(r.tail) > 0 {
		n := copy(p, r.tail)
		r.tail = r.tail[n:]
		return n, nil
	}
	n, err := r.str.Read(p)
	if r.count(n) && err != nil && normallyClosed(err) {
		err = io.EOF
	}
	return n, err
}

// count adds to what was taken and tells whether that is all.
func (r *legacyReader) count(n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read += int64(n)
	return r.read == r.final
}

// fetch takes what is left. A deadline of the user's or an abort ends it early,
// which only means that reading goes on as before.
func (r *legacyReader) fetch() {
	r.reading.Lock()
	defer r.reading.Unlock()
	r.mu.Lock()
	left := r.final - r.read
	r.mu.Unlock()
	tail := make([]byte, max(0, left))
	n, _ := io.ReadFull(r.str, tail)
	r.count(n)
	r.tail = tail[:n]
}

// normallyClosed tells that the far side closed the connection in order.
func normallyClosed(err error) bool {
	var a *quic.ApplicationError
	return errors.As(err, &a) && a.Remote && a.ErrorCode == connNormal
}
