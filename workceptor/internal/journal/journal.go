// Package journal is the memory of the unit store: an append-only log of records,
// in segments, with a snapshot in place of those that have become many.
//
// What it promises:
//
//   - A record whose Wait returned nil is written: the death of the process does
//     not lose it. If sync was asked for, neither does the death of the machine.
//   - Records come back in the order of Enqueue. Damage is passed over: it never
//     keeps a journal from opening. It is reported unless a crash of the machine
//     explains it: what was being written then was promised to nobody.
//   - After a write or sync has failed, nobody knows what is on the disk. So
//     everything fails from there on, until a Snapshot has written all of it anew.
//
// There is no goroutine in here: of those who wait for records, one writes for
// all (group commit), and the next one what came meanwhile.
package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/project-receptor/receptor/workceptor/internal/fsys"
)

// Options are what a journal is made of.
type Options struct {
	FS  fsys.FS
	Dir string // in FS, made if it is not there

	// SegmentSize is what a segment takes on the disk, in bytes, from the start: a
	// record in it needs no more room, and syncing it no change of the file's size.
	// 0: 4 MiB, some 6,000 records.
	SegmentSize int64
}

const segmentSize = 4 << 20

// Journal is an open journal. Its methods may be called concurrently.
type Journal struct {
	o Options

	snapshots sync.Mutex // one at a time

	mu      sync.Mutex
	turn    sync.Cond // signalled when writing becomes false
	queue   []*Entry
	writing bool
	failed  error  // what made everything fail
	number  uint64 // of the last segment that was begun
	since   int    // segments begun since the last snapshot

	// These belong to who writes.
	segment fsys.File // nil: the next record begins one
	offset  int64
	size    int64 // of the segment
	dirty   bool  // written and not synced
	synced  bool  // all of it is durable, and does not say so yet
}

// Entry is a record, or several, on the way to the disk.
type Entry struct {
	j       *Journal
	records []Record
	sync    bool
	done    func(error)
	ended   bool
	err     error
}

// ErrFailed says that an earlier write has failed, and what is to be done about it.
var ErrFailed = errors.New("the journal has failed and needs a snapshot")

// Open opens a journal and gives back what it holds: each is called with every
// record, in order, and damaged with what could not be read. Payloads are valid
// during the call only.
func Open(o Options, each func(Record), damaged func(Damage)) (*Journal, error) {
	if o.SegmentSize == 0 {
		o.SegmentSize = segmentSize
	}
	j := &Journal{o: o}
	j.turn.L = &j.mu
	if err := o.FS.Mkdir(o.Dir, fsys.DirMode); err == nil {
		if err := o.FS.SyncDir(path.Dir(o.Dir)); err != nil {
			return nil, fmt.Errorf("make journal: %w", err)
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make journal: %w", err)
	}
	if err := j.replay(each, damaged); err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	return j, nil
}

// Enqueue puts records into the journal's queue, which keep their order and stay
// together. It does not block. Somebody has to Wait. done is called, if it is not
// nil, before Wait returns, in the order of Enqueue and never concurrently.
func (j *Journal) Enqueue(sync bool, done func(error), records ...Record) *Entry {
	e := &Entry{j: j, records: records, sync: sync, done: done}
	for _, r := range records {
		e.err = errors.Join(e.err, r.check())
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.queue = append(j.queue, e)
	return e
}

// Wait returns once the records are on the disk, or cannot be brought there.
func (e *Entry) Wait() error {
	j := e.j
	j.mu.Lock()
	defer j.mu.Unlock()
	for !e.ended {
		if j.writing {
			j.turn.Wait()
			continue
		}
		j.writeQueue()
	}
	return e.err
}

// writeQueue writes what is in the queue. The caller holds j.mu, which is released
// meanwhile.
func (j *Journal) writeQueue() {
	batch, err := j.queue, j.failed
	j.queue, j.writing = nil, true
	j.mu.Unlock()

	if err == nil {
		err = j.write(batch)
	}
	for _, e := range batch {
		if e.err == nil {
			e.err = err
		}
		if e.done != nil {
			e.done(e.err)
		}
	}

	j.mu.Lock()
	for _, e := range batch {
		e.ended = true
	}
	if err != nil && j.failed == nil {
		j.failed = fmt.Errorf("%w: %w", ErrFailed, err)
	}
	j.writing = false
	j.turn.Broadcast()
}

// write writes a batch with one write, and one sync if any of it asks for that.
func (j *Journal) write(batch []*Entry) error {
	var b []byte
	sync := false
	for _, e := range batch {
		if e.err != nil {
			continue
		}
		sync = sync || e.sync
		for _, r := range e.records {
			b = r.Append(b)
		}
	}
	if len(b) == 0 {
		return nil
	}
	if err := j.append(b); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if sync {
		return j.sync()
	}
	return nil
}

// append writes encoded records to the segment, or to a new one, after the word
// that what is there was durable, if it was.
func (j *Journal) append(b []byte) error {
	synced := Record{Type: typeSynced, Unit: "synced"}.Append(nil)
	if n := int64(len(synced) + len(b)); j.segment == nil || j.offset+n > j.size {
		if err := j.begin(n); err != nil {
			return err
		}
	}
	if j.synced {
		b = append(synced, b...)
	}
	if _, err := j.segment.WriteAt(b, j.offset); err != nil {
		return err
	}
	j.offset += int64(len(b))
	j.dirty, j.synced = true, false
	return nil
}

// sync makes the segment durable.
func (j *Journal) sync() error {
	if err := j.segment.Sync(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	j.dirty, j.synced = false, true
	return nil
}

// begin begins a segment with room for n bytes at least. The one before is durable
// by then: so only the last segment with anything in it can be torn.
func (j *Journal) begin(n int64) error {
	if err := j.finish(); err != nil {
		return err
	}
	size := max(n, j.o.SegmentSize)
	file := j.path(j.number+1, segmentSuffix)
	f, err := j.o.FS.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_TRUNC, fsys.FileMode)
	if err != nil {
		return err
	}
	if err := errors.Join(fill(f, size), f.Sync(), j.o.FS.SyncDir(j.o.Dir)); err != nil {
		return errors.Join(err, f.Close(), j.o.FS.Remove(file))
	}
	j.segment, j.offset, j.size, j.synced = f, 0, size, false
	j.mu.Lock()
	defer j.mu.Unlock()
	j.number++
	j.since++
	return nil
}

// fill writes zeros: a disk that has taken them has room for what replaces them.
func fill(f fsys.File, size int64) error {
	zeros := make([]byte, min(size, 1<<20))
	for at := int64(0); at < size; {
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at)
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}

// finish makes the segment durable and lets go of it.
func (j *Journal) finish() error {
	if j.segment == nil {
		return nil
	}
	if j.dirty {
		if err := j.sync(); err != nil {
			return err
		}
	}
	err := j.segment.Close()
	j.segment = nil
	return err
}

// Segments is the number of segments begun since the last snapshot.
func (j *Journal) Segments() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.since
}

// Failed is why everything fails, or nil.
func (j *Journal) Failed() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.failed
}

// exclusive has f do what only the writer may.
func (j *Journal) exclusive(f func() error) error {
	j.mu.Lock()
	for j.writing {
		j.turn.Wait()
	}
	j.writing = true
	j.mu.Unlock()

	err := f()

	j.mu.Lock()
	j.writing = false
	j.turn.Broadcast()
	j.mu.Unlock()
	return err
}

// Close ends the journal. What is in the queue is written.
func (j *Journal) Close() error {
	last := j.Enqueue(true, nil)
	if err := last.Wait(); err != nil && !errors.Is(err, ErrFailed) {
		return err
	}
	return j.exclusive(func() error {
		var err error
		if j.segment != nil && j.Failed() == nil {
			if err = j.sync(); err == nil {
				err = j.append(nil) // the last word is that all of it is durable
			}
		}
		err = errors.Join(err, j.finish())
		j.mu.Lock()
		defer j.mu.Unlock()
		if j.failed == nil {
			j.failed = fs.ErrClosed
		}
		return err
	})
}

const (
	segmentSuffix  = ".log"
	snapshotSuffix = ".snapshot"
	tempSuffix     = ".tmp"
)

func (j *Journal) path(number uint64, suffix string) string {
	return fmt.Sprintf("%s/%016x%s", j.o.Dir, number, suffix)
}

// files are the numbers of the journal's files of a kind, in order.
func (j *Journal) files(suffix string) ([]uint64, error) {
	entries, err := j.o.FS.ReadDir(j.o.Dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, e := range entries {
		var n uint64
		base, ok := strings.CutSuffix(e.Name(), suffix)
		if _, err := fmt.Sscanf(base, "%016x", &n); ok && err == nil && path.Base(j.path(n, suffix)) == e.Name() {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}
