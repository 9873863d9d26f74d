package workceptor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/project-receptor/receptor/workceptor/internal/fsys"
	"github.com/project-receptor/receptor/workceptor/internal/store"
)

// Stream is one of the two that a unit writes.
type Stream string

// Streams of a unit.
const (
	Stdout Stream = store.Stdout
	Stderr Stream = store.Stderr
)

// From says where to begin with a unit's results.
type From struct {
	Stdout, Stderr int64 // bytes that the reader has; Skip: it does not want the stream
}

// Skip leaves a stream out.
const Skip = -1

// Chunk is a piece of what a unit has written.
type Chunk struct {
	Stream Stream
	Offset int64
	Data   []byte // valid during the call only
}

// ErrTruncated says that less of a unit's output is there than there was at its end.
var ErrTruncated = errors.New("output of the unit is missing")

const resultsBuffer = 64 << 10

// Results calls each with what a unit has written, and goes on writing, in order of
// each stream, until it has ended and all of it was given out. It returns the unit as
// it ended, with the sizes and digests that all of it together must have. Only then
// it was whole: any error means that something is missing. Any number may read.
func (w *Workceptor) Results(ctx context.Context, id string, from From, each func(Chunk) error) (Status, error) {
	return w.results(ctx, id, from, make([]byte, resultsBuffer), each)
}

// results reads into buf, of which each piece is the beginning.
func (w *Workceptor) results(ctx context.Context, id string, from From, buf []byte, each func(Chunk) error) (Status, error) {
	streams := []*follower{{stream: Stdout, at: from.Stdout}, {stream: Stderr, at: from.Stderr}}
	defer func() {
		for _, f := range streams {
			if f.file != nil {
				f.file.Close() // nothing was written
			}
		}
	}()
	for {
		// What wakes is taken before it is looked, so that nothing comes in between.
		u, changed, err := w.store.Watch(id)
		if err != nil {
			return Status{}, err
		}
		grown, digests := w.watchOutput(u)
		for i, f := range streams {
			f.digest = nil
			if digests != nil {
				f.digest = &digests[i]
			}
			end := int64(-1)
			if u.State.Final() {
				end = u.Stdout.Size
				if f.stream == Stderr {
					end = u.Stderr.Size
				}
			}
			if err := f.read(ctx, w.store, id, end, buf, each); err != nil {
				return Status{}, err
			}
		}
		if u.State.Final() {
			return w.status(u), nil
		}
		select {
		case <-changed:
		case <-grown:
		case <-ctx.Done():
			return Status{}, context.Cause(ctx)
		case <-w.ctx.Done():
			return Status{}, context.Cause(w.ctx)
		}
	}
}

// watchOutput returns what is closed when a unit has written more, or nil, and where
// what is read of its streams goes as well, or nil.
func (w *Workceptor) watchOutput(u store.Unit) (<-chan struct{}, *[2]digest) {
	if u.State != Running {
		return nil, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.liveUnit(u.ID)
	if l.more == nil {
		l.more = make(chan struct{})
	}
	if u.Spec.Remote != nil {
		return l.more, nil // the other node measures it
	}
	return l.more, &l.digests
}

// follower reads one stream of a unit.
type follower struct {
	stream Stream
	file   fsys.File
	at     int64
	digest *digest // of a unit that runs here, or nil
}

// read gives out what is there, up to end unless that is negative.
func (f *follower) read(ctx context.Context, s *store.Store, id string, end int64, buf []byte, each func(Chunk) error) error {
	if f.at < 0 || end >= 0 && f.at >= end {
		return nil
	}
	if f.file == nil {
		file, err := s.OpenFile(id, string(f.stream), os.O_RDONLY)
		if errors.Is(err, fs.ErrNotExist) && end < 0 {
			return nil // not yet
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", f.stream, err)
		}
		f.file = file
	}
	for end < 0 || f.at < end {
		n := int64(len(buf))
		n -= f.at % n // so that what follows are whole pages
		if end >= 0 {
			n = min(n, end-f.at)
		}
		got, err := f.file.ReadAt(buf[:n], f.at)
		if got > 0 {
			b := buf[:got]
			if f.digest != nil {
				f.digest.add(f.at, b)
			}
			if err := each(Chunk{Stream: f.stream, Offset: f.at, Data: b}); err != nil {
				return err
			}
			f.at += int64(got)
		}
		switch {
		case errors.Is(err, io.EOF) && end < 0:
			return nil
		case errors.Is(err, io.EOF) && f.at < end:
			return fmt.Errorf("%w: %s ends at byte %d of %d", ErrTruncated, f.stream, f.at, end)
		case err != nil && !errors.Is(err, io.EOF):
			return fmt.Errorf("read %s: %w", f.stream, err)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
	}
	return nil
}
