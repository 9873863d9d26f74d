package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/project-receptor/receptor/workceptor/internal/fsys"
	"github.com/project-receptor/receptor/workceptor/internal/journal"
	"github.com/project-receptor/receptor/workceptor/internal/state"
)

const (
	// derivePause is how long status files may lag behind: a unit that ends at once
	// is written down once.
	derivePause = 100 * time.Millisecond

	// retryPause is how long after a failure it is tried again to write.
	retryPause = time.Second

	// maxSegments is how many segments of the journal are replayed at most, about,
	// before a snapshot takes their place.
	maxSegments = 4
)

// Run does what nobody waits for, until ctx is done: status files, snapshots, the
// trash, and writing anew what the disk would not take.
func (s *Store) Run(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for failing := false; ; {
		select {
		case <-ctx.Done():
			_ = s.work()
			return
		case <-pause.C:
		}
		err := s.work()
		switch {
		case err != nil && !failing:
			s.log.Error("cannot write to the state directory, trying on", "error", err)
		case err == nil && failing:
			s.log.Info("the state directory can be written again")
		}
		failing = err != nil
		if failing {
			pause.Reset(retryPause)
			continue
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		}
		pause.Reset(derivePause)
	}
}

// work does what there is to do.
func (s *Store) work() error {
	s.mu.Lock()
	unwritten := s.unwritten
	s.mu.Unlock()
	var err error
	switch {
	case unwritten:
		err = s.heal()
	case s.journal.Segments() >= maxSegments:
		err = s.snapshot()
	}
	return errors.Join(err, s.derive(), s.emptyTrash())
}

// heal writes all that is known anew, after the journal has failed, so that it can
// go on.
func (s *Store) heal() error {
	s.mu.Lock()
	s.unwritten = false // what fails from here on needs the next one
	s.mu.Unlock()
	err := s.snapshot()
	if err != nil {
		s.mu.Lock()
		s.unwritten = true
		s.mu.Unlock()
	}
	return err
}

// snapshot has the journal replaced by what is known. What could not be written
// before is written then, and shown.
func (s *Store) snapshot() error {
	type known struct {
		u     *unit
		id    string
		spec  state.Spec
		state *state.Unit // nil: released
	}
	var all []known
	err := s.journal.Snapshot(func(put func(journal.Record) error) error {
		s.mu.Lock()
		for _, u := range s.released { // in order: the oldest are forgotten first
			all = append(all, known{id: u.id, spec: u.spec})
		}
		for _, u := range s.units {
			if !u.released {
				all = append(all, known{u, u.id, u.spec, u.latest})
			}
		}
		s.mu.Unlock()
		for _, k := range all {
			if k.state == nil {
				if err := put(record(recordReleased, k.id, tombstone{Submission: k.spec.Submission})); err != nil {
					return err
				}
				continue
			}
			if k.state.State.Final() {
				k.spec = k.spec.WithoutSecrets()
			}
			if err := errors.Join(put(record(recordSpec, k.id, k.spec)), put(record(recordState, k.id, k.state))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range all {
		if k.u != nil && k.u.shown != nil {
			s.show(k.u, k.state)
		}
	}
	return nil
}

// derive writes the status files of units that have changed.
func (s *Store) derive() error {
	for {
		s.mu.Lock()
		var u Unit
		for id := range s.stale {
			u = s.units[id].view()
			delete(s.stale, id)
			break
		}
		s.mu.Unlock()
		if u.ID == "" {
			return nil
		}
		if err := s.writeStatus(u); err != nil {
			s.mu.Lock()
			if now := s.units[u.ID]; now != nil && !now.released {
				s.stale[u.ID] = struct{}{}
			}
			s.mu.Unlock()
			return err
		}
	}
}

// writeStatus writes a unit's status file, unless it is right already.
func (s *Store) writeStatus(u Unit) error {
	content, err := json.Marshal(u.Legacy(u.Spec.WithoutSecrets(), u.Stdout.Size))
	if err != nil {
		return err
	}
	content = append(content, '\n')
	file := u.ID + "/" + statusFile
	if there, err := fsys.ReadFile(s.o.FS, file); err == nil && bytes.Equal(there, content) {
		return nil
	}
	if _, gone := s.Get(u.ID); gone != nil {
		return nil //nolint:nilerr // no unit, no status
	}
	err = s.writeFile(u.ID, statusFile, content)
	if _, gone := s.Get(u.ID); gone != nil {
		return s.discard(u.ID) // it was released just now, and the directory made again
	}
	return err
}

// emptyTrash deletes what was released.
func (s *Store) emptyTrash() error {
	entries, err := s.o.FS.ReadDir(trashDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := fsys.RemoveAll(s.o.FS, trashDir+"/"+e.Name()); err != nil {
			return err
		}
	}
	return nil
}
