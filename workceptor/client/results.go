package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"iter"

	"github.com/project-receptor/receptor/workceptor/internal/frame"
	"github.com/project-receptor/receptor/workceptor/internal/state"
)

// Stream is one of the two that a unit writes.
type Stream string

// Streams of a unit.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// From says where to begin with a unit's results.
type From struct {
	Stdout, Stderr int64 // bytes that are known already; Skip: the stream is not wanted

	// Known bytes that have gone through a SHA-256 each, which goes on with what comes,
	// so that the digest of all can be checked. Nil: only what is read from its
	// beginning is checked.
	StdoutHash, StderrHash hash.Hash

	// Unchecked: what is read from its beginning is not put through a hash. That is for
	// whoever hands it on to somebody who checks it, with the digest; sizes are checked.
	Unchecked bool
}

// Skip leaves a stream out.
const Skip = -1

// Chunk is a piece of what a unit has written.
type Chunk struct {
	Stream Stream
	Offset int64
	Data   []byte // valid during the call only
}

// Results calls each with what a unit has written, and goes on writing, in order of
// each stream, until it has ended. It returns the unit as it ended. Then each stream
// has the size that the node has measured, and one that was read from its beginning, or
// whose known bytes have gone through a hash, the digest; else it is ErrDamaged. An error
// of each ends it, and is returned.
func (c *Client) Results(ctx context.Context, unit string, from From, each func(Chunk) error) (u Status, err error) {
	r := &reader{unit: unit, out: newTrack(Stdout, from.Stdout, from.StdoutHash), err: newTrack(Stderr, from.Stderr, from.StderrHash), each: each}
	if !from.Unchecked {
		r.out.check()
		r.err.check()
	}
	err = c.persist(ctx, func(t *try) (err error) {
		before := r.out.at + r.err.at
		u, err = c.resultsOnce(ctx, r, t)
		t.progress = r.out.at+r.err.at > before
		return err
	})
	return u, err
}

// reader is how far a unit's results have got.
type reader struct {
	unit     string
	out, err *track
	each     func(Chunk) error
}

// resultsOnce goes on over one connection.
func (c *Client) resultsOnce(ctx context.Context, r *reader, t *try) (Status, error) {
	a := args{Sub: "results", Unit: r.unit, Stdout: r.out.at, Stderr: r.err.at}
	if err := c.sign(ctx, &a); err != nil {
		return Status{}, err
	}
	v, err := c.begin(ctx)
	if err != nil {
		return Status{}, err
	}
	defer v.close()
	if err := v.call(a, &struct{}{}); err != nil {
		return Status{}, err
	}
	t.answered = true
	buf := make([]byte, frame.MaxData)
	for {
		typ, data, err := frame.Read(v.in, buf)
		switch {
		case errors.Is(err, frame.ErrFrame):
			return Status{}, fmt.Errorf("read results: %w", err)
		case err != nil:
			// Else results would not get on where connections last for less than a frame.
			if more := r.partial(typ, data); more != nil {
				return Status{}, more
			}
			return Status{}, lost("read results", noEOF(err))
		case typ == frame.Stdout:
			err = r.out.take(data, r.each)
		case typ == frame.Stderr:
			err = r.err.take(data, r.each)
		case typ == frame.End:
			u, err := end(data)
			if err == nil {
				err = errors.Join(r.out.compare(u.Stdout), r.err.compare(u.Stderr))
			}
			return u, err
		default:
			err = fmt.Errorf("read results: %w: type %d", frame.ErrFrame, typ)
		}
		if err != nil {
			return Status{}, err
		}
	}
}

// partial takes what has come of a frame that was cut off.
func (r *reader) partial(typ byte, data []byte) error {
	switch {
	case len(data) == 0:
		return nil
	case typ == frame.Stdout:
		return r.out.take(data, r.each)
	case typ == frame.Stderr:
		return r.err.take(data, r.each)
	default:
		return nil
	}
}

// track is how far one stream has got.
type track struct {
	stream    Stream
	begun, at int64
	hash      hash.Hash // of all up to at; nil: its digest is not checked
}

func newTrack(s Stream, from int64, known hash.Hash) *track {
	from = max(from, Skip)
	return &track{stream: s, begun: from, at: from, hash: known}
}

// check has the digest checked where its beginning is seen.
func (t *track) check() {
	if t.begun == 0 && t.hash == nil {
		t.hash = sha256.New()
	}
}

func (t *track) take(data []byte, each func(Chunk) error) error {
	if t.at < 0 {
		return fmt.Errorf("read results: %w: %s is not wanted", frame.ErrFrame, t.stream)
	}
	if err := each(Chunk{Stream: t.stream, Offset: t.at, Data: data}); err != nil {
		return err
	}
	t.at += int64(len(data))
	if t.hash != nil {
		t.hash.Write(data) // never fails
	}
	return nil
}

// compare compares what has come with what the node has measured.
func (t *track) compare(want state.Output) error {
	switch {
	case t.at < 0:
		return nil
	case t.hash == nil && t.begun > want.Size:
		return nil // it was begun behind the end
	case t.at != want.Size:
		return fmt.Errorf("%w: %s has %d bytes, not %d", ErrDamaged, t.stream, t.at, want.Size)
	case t.hash == nil || t.at == 0:
		return nil
	}
	if got := hex.EncodeToString(t.hash.Sum(nil)); got != want.SHA256 {
		return fmt.Errorf("%w: SHA-256 of %s is %s, not %s", ErrDamaged, t.stream, got, want.SHA256)
	}
	return nil
}

// Response is a line that a unit has written.
type Response struct {
	Stream Stream
	Offset int64  // of the line in its stream
	Next   int64  // where to go on after it
	Line   []byte // without its end; valid until the next one
	More   bool   // it is longer than MaxLine, and goes on with the next response
}

// MaxLine bounds a line in memory.
const MaxLine = 1 << 20

// Responses are the lines that a unit has written, and goes on writing, as Results has
// them: each when it is there, what is left without an end at the end. The last error
// ends them. Without one, *end is the unit as it ended, Failed or not; end may be nil.
// While the loop is busy nothing is read, and the node keeps what comes; whoever breaks
// off leaves the unit as it is, and may go on from the Next of each stream.
func (c *Client) Responses(ctx context.Context, unit string, from From, end *Status) iter.Seq2[Response, error] {
	return func(yield func(Response, error) bool) {
		stop := errors.New("no more is wanted")
		lines := map[Stream]*splitter{}
		give := func(r Response) error {
			if !yield(r, nil) {
				return stop
			}
			return nil
		}
		u, err := c.Results(ctx, unit, from, func(chunk Chunk) error {
			s := lines[chunk.Stream]
			if s == nil {
				s = &splitter{stream: chunk.Stream, at: chunk.Offset}
				lines[chunk.Stream] = s
			}
			return s.add(chunk.Data, give)
		})
		for _, stream := range []Stream{Stdout, Stderr} {
			if s := lines[stream]; s != nil && err == nil && len(s.rest) > 0 {
				err = s.give(s.rest, 0, false, give)
			}
		}
		switch {
		case errors.Is(err, stop):
		case err != nil:
			yield(Response{}, err)
		case end != nil:
			*end = u
		}
	}
}

// splitter makes lines of a stream.
type splitter struct {
	stream Stream
	at     int64  // of the line that is begun
	rest   []byte // of that line, so far
}

func (s *splitter) add(data []byte, give func(Response) error) error {
	for len(data) > 0 {
		i := bytes.IndexByte(data, '\n')
		if i < 0 && len(s.rest)+len(data) < MaxLine {
			s.rest = append(s.rest, data...)
			return nil
		}
		n, ended := i, 1
		if i < 0 || len(s.rest)+i > MaxLine {
			n, ended = MaxLine-len(s.rest), 0
		}
		line := data[:n]
		if len(s.rest) > 0 {
			line = append(s.rest, line...)
		}
		s.rest = s.rest[:0]
		data = data[n+ended:]
		if err := s.give(line, ended, ended == 0, give); err != nil {
			return err
		}
	}
	return nil
}

func (s *splitter) give(line []byte, ended int, more bool, give func(Response) error) error {
	r := Response{Stream: s.stream, Offset: s.at, Next: s.at + int64(len(line)+ended), Line: line, More: more}
	s.at = r.Next
	return give(r)
}
