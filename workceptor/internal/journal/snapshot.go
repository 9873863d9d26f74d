package journal

import (
	"bufio"
	"errors"
	"fmt"
	"os"

	"github.com/project-receptor/receptor/workceptor/internal/fsys"
)

// Snapshot replaces all that was written so far by the records that fill puts.
// fill is called later than the last record that is replaced was enqueued, and what
// it puts must hold all of those; it may hold newer ones too, which then come back
// twice. While a snapshot is made records are written as ever. It also ends a
// failure: what was enqueued until fill was called must be in it.
func (j *Journal) Snapshot(fill func(put func(Record) error) error) error {
	j.snapshots.Lock()
	defer j.snapshots.Unlock()

	failed := j.Failed()
	if failed != nil && !errors.Is(failed, ErrFailed) {
		return failed // closed
	}
	var number uint64
	err := j.exclusive(func() error {
		number = j.number
		if failed != nil && j.segment != nil {
			_ = j.segment.Close() // what is in it is not trusted
			j.segment = nil
		}
		return j.finish()
	})
	if err != nil {
		return fmt.Errorf("make snapshot: %w", err)
	}
	if err := j.writeSnapshot(j.path(number, snapshotSuffix), fill); err != nil {
		return fmt.Errorf("make snapshot: %w", err)
	}

	j.mu.Lock()
	j.failed = nil
	j.since = int(j.number - number) //nolint:gosec // a number of files
	j.mu.Unlock()
	if err := j.removeUpTo(number); err != nil {
		return fmt.Errorf("remove what a snapshot has replaced: %w", err)
	}
	return nil
}

// writeSnapshot makes a durable file of the records.
func (j *Journal) writeSnapshot(file string, fill func(put func(Record) error) error) (err error) {
	temp := file + tempSuffix
	f, err := j.o.FS.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fsys.FileMode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), j.o.FS.Remove(temp))
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	var b []byte
	write := func(r Record) error {
		b = r.Append(b[:0])
		_, err := w.Write(b)
		return err
	}
	put := func(r Record) error {
		if err := r.check(); err != nil {
			return err
		}
		return write(r)
	}
	end := Record{Type: typeEnd, Unit: "end"}
	if err := errors.Join(fill(put), write(end), w.Flush(), f.Sync()); err != nil {
		return err
	}
	if err := j.o.FS.Rename(temp, file); err != nil {
		return err
	}
	return errors.Join(j.o.FS.SyncDir(j.o.Dir), f.Close())
}

// removeUpTo removes the segments that a snapshot covers, older snapshots, and
// those that were never finished.
func (j *Journal) removeUpTo(number uint64) error {
	var errs []error
	for suffix, upTo := range map[string]uint64{
		segmentSuffix:               number + 1,
		snapshotSuffix:              number,
		snapshotSuffix + tempSuffix: number + 1,
	} {
		files, err := j.files(suffix)
		errs = append(errs, err)
		for _, n := range files {
			if n < upTo {
				errs = append(errs, j.o.FS.Remove(j.path(n, suffix)))
			}
		}
	}
	return errors.Join(errs...)
}
