package journal

import (
	"bytes"
	"errors"
	"os"

	"github.com/project-receptor/receptor/workceptor/internal/fsys"
)

// Damage is a stretch of a file that holds no sound record, though one was written.
type Damage struct {
	File         string
	Offset, Size int64
	Unit         string // whose record it seems to be; empty: nobody knows
}

// replay reads the last snapshot and the segments after it, and mends what a crash
// has torn. New records will go to a new segment.
func (j *Journal) replay(each func(Record), damaged func(Damage)) error {
	snapshots, err := j.files(snapshotSuffix)
	if err != nil {
		return err
	}
	if n := len(snapshots); n > 0 {
		j.number = snapshots[n-1]
		if err := j.replaySnapshot(j.path(j.number, snapshotSuffix), each, damaged); err != nil {
			return err
		}
	}
	numbers, err := j.files(segmentSuffix)
	if err != nil {
		return err
	}
	var segments []segment
	last := -1 // the last one with a sound record
	for _, n := range numbers {
		if n <= j.number {
			continue // the snapshot has it
		}
		s := segment{file: j.path(n, segmentSuffix)}
		b, err := fsys.ReadFile(j.o.FS, s.file)
		if err != nil {
			return err
		}
		s.read(b)
		if s.sound {
			last = len(segments)
		}
		segments = append(segments, s)
	}
	if len(numbers) > 0 {
		j.number = max(j.number, numbers[len(numbers)-1])
	}
	j.since = len(segments)
	for i, s := range segments {
		if i < last {
			// It was durable, whole, when the next one was begun.
			s.durable = len(s.stretches)
		}
		if err := j.replaySegment(s, each, damaged); err != nil {
			return err
		}
	}
	return nil
}

// segment is one that was read.
type segment struct {
	file      string
	stretches []stretch
	durable   int  // so many of them were durable once
	sound     bool // there is a record in it
}

func (s *segment) read(b []byte) {
	s.stretches = scan(b)
	for i, p := range s.stretches {
		if !p.sound {
			continue
		}
		s.sound = true
		if p.record.Type == typeSynced {
			s.durable = i
		}
	}
}

// replaySegment gives out what is in a segment, reports the damage to what was
// durable, and mends the rest, so that it is not taken for damage next time.
func (j *Journal) replaySegment(s segment, each func(Record), damaged func(Damage)) error {
	for i, p := range s.stretches {
		switch {
		case p.sound && p.record.Type < firstOwn:
			each(p.record)
		case p.sound:
		case i < s.durable:
			damaged(Damage{File: s.file, Offset: int64(p.offset), Size: int64(p.size), Unit: p.unit})
		default:
			if err := j.mend(s.file, p, i == len(s.stretches)-1); err != nil {
				return err
			}
		}
	}
	return nil
}

// mend does away with a torn stretch: at the end it is cut off, else it is filled.
func (j *Journal) mend(file string, p stretch, atEnd bool) error {
	f, err := j.o.FS.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	switch {
	case atEnd:
		err = f.Truncate(int64(p.offset))
	case p.size >= minRecord: // as whole records always are
		filler := Record{Type: typeFiller, Unit: "x", Payload: bytes.Repeat([]byte(" "), p.size-minRecord)}
		_, err = f.WriteAt(filler.Append(nil), int64(p.offset))
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// replaySnapshot reads a snapshot, which is whole unless the disk is bad.
func (j *Journal) replaySnapshot(file string, each func(Record), damaged func(Damage)) error {
	b, err := fsys.ReadFile(j.o.FS, file)
	if err != nil {
		return err
	}
	complete := false
	for _, p := range scan(b) {
		switch {
		case !p.sound:
			damaged(Damage{File: file, Offset: int64(p.offset), Size: int64(p.size), Unit: p.unit})
			complete = true // or not: it is reported anyway
		case p.record.Type == typeEnd:
			complete = true
		default:
			each(p.record)
		}
	}
	if !complete {
		damaged(Damage{File: file, Offset: int64(len(b))})
	}
	return nil
}
