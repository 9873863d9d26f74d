package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/project-receptor/receptor/workceptor/internal/fsys"
	"github.com/project-receptor/receptor/workceptor/internal/journal"
	"github.com/project-receptor/receptor/workceptor/internal/state"
)

// Types of records.
const (
	recordSpec     = 1 // state.Spec
	recordState    = 2 // state.Unit
	recordReleased = 3 // tombstone
)

// maxSpec bounds a unit's parameters. A control line brings 1 MiB, which escaping
// may multiply.
const maxSpec = 8 << 20

// tombstone is what is kept of a released unit.
type tombstone struct {
	Submission string `json:"submission,omitempty"`
}

func record(typ uint8, id string, v any) journal.Record {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("store: record of unit %s: %v", id, err)) // plain structs: they can be marshalled
	}
	return journal.Record{Type: typ, Unit: id, Payload: b}
}

// Create makes a unit, which is on the disk when this returns. A submission that
// has made one before gives that one, and existing; ErrReleased if it is gone.
func (s *Store) Create(spec state.Spec) (u Unit, existing bool, err error) {
	if u, err := s.BySubmission(spec.Submission); !errors.Is(err, ErrUnknown) {
		return u, true, err
	}
	if err := s.room(); err != nil {
		return Unit{}, false, err
	}
	if spec.Created.IsZero() {
		spec.Created = s.o.Now()
	}
	if n := len(record(recordSpec, "", spec).Payload); n > maxSpec {
		return Unit{}, false, fmt.Errorf("make unit: its parameters have %d bytes; %d are too many", n, maxSpec)
	}
	id, err := s.makeDir()
	if err != nil {
		return Unit{}, false, fmt.Errorf("make unit: %w", err)
	}
	made := &unit{id: id, spec: spec}
	s.mu.Lock()
	if other := s.submissions[spec.Submission]; spec.Submission != "" && other != nil {
		s.mu.Unlock()
		// The same one came twice at a time.
		if err := s.o.FS.Remove(id); err != nil {
			s.log.Warn("cannot remove a directory", "unit", id, "error", err)
		}
		u, err := s.BySubmission(spec.Submission)
		return u, true, err
	}
	s.units[id] = made
	if spec.Submission != "" {
		s.submissions[spec.Submission] = made
	}
	now := state.New(spec.Created)
	made.latest = &now
	made.entry = s.journal.Enqueue(true, func(err error) { s.created(made, &now, err) },
		record(recordSpec, id, spec), record(recordState, id, now))
	s.mu.Unlock()

	if err := made.entry.Wait(); err != nil {
		return Unit{}, false, errors.Join(fmt.Errorf("make unit: %w", err), s.o.FS.Remove(id))
	}
	u, err = s.Get(id)
	return u, false, err
}

// created is called by the journal.
func (s *Store) created(u *unit, now *state.Unit, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		// It was told to nobody. If a failed journal has it all the same, it comes
		// back as a unit whose payload never arrived.
		delete(s.units, u.id)
		if s.submissions[u.spec.Submission] == u {
			delete(s.submissions, u.spec.Submission)
		}
		s.fail()
		return
	}
	u.shown = now
	s.live++
	s.publish(u)
}

// BySubmission finds the unit that a submission has made, once it is on the disk;
// ErrReleased if it is gone, ErrUnknown if it has made none.
func (s *Store) BySubmission(submission string) (Unit, error) {
	if submission == "" {
		return Unit{}, ErrUnknown
	}
	s.mu.Lock()
	u := s.submissions[submission]
	var entry *journal.Entry
	if u != nil && u.shown == nil {
		entry = u.entry
	}
	s.mu.Unlock()
	switch {
	case u == nil:
		return Unit{}, ErrUnknown
	case entry != nil:
		if err := entry.Wait(); err != nil {
			return Unit{}, fmt.Errorf("make unit: %w", err)
		}
	}
	return s.Get(u.id)
}

// makeDir makes a directory of a fresh name.
func (s *Store) makeDir() (id string, err error) {
	for {
		id := s.o.NewID()
		if !validID.MatchString(id) {
			return "", fmt.Errorf("%q is no name for a unit", id)
		}
		s.mu.Lock()
		taken := s.units[id] != nil
		s.mu.Unlock()
		if taken {
			continue
		}
		// Where the file system knows no difference between letters of either case, a
		// name may be taken that the index does not know.
		if err := s.o.FS.Mkdir(id, fsys.DirMode); !errors.Is(err, fs.ErrExist) {
			return id, err
		}
	}
}

// Next has e happen to a unit, and returns it as it then is, once that is written.
// While the journal cannot be written that takes until it can, or ctx is done: what
// has happened is not forgotten meanwhile, and written when the disk has recovered.
func (s *Store) Next(ctx context.Context, id string, e state.Event) (Unit, error) {
	if e.At.IsZero() {
		e.At = s.o.Now()
	}
	s.mu.Lock()
	u, err := s.find(id)
	if err != nil {
		s.mu.Unlock()
		return Unit{}, err
	}
	next, err := u.latest.Next(e)
	if err != nil {
		s.mu.Unlock()
		return Unit{}, fmt.Errorf("unit %s: %w", id, err)
	}
	if next.Rev != u.latest.Rev {
		u.latest = &next
		u.entry = s.journal.Enqueue(durable(e.Kind, next.State), func(err error) { s.changed(u, &next, err) },
			record(recordState, id, next))
	}
	entry := u.entry
	s.mu.Unlock()

	if entry == nil || entry.Wait() == nil {
		return s.Get(id)
	}
	return s.wait(ctx, u, next.Rev)
}

// durable tells whether an event is on the disk before anybody hears of it.
func durable(k state.Kind, now state.State) bool {
	return k == state.Received || k == state.CancelAsked || now.Final()
}

// changed is called by the journal.
func (s *Store) changed(u *unit, now *state.Unit, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.fail()
		return
	}
	s.show(u, now)
}

// show lets others see a state. The caller holds s.mu.
func (s *Store) show(u *unit, now *state.Unit) {
	if u.released || u.shown.Rev >= now.Rev {
		return
	}
	u.shown = now
	if now.State.Final() {
		u.spec = u.spec.WithoutSecrets()
	}
	s.publish(u)
}

// wait returns a unit when it is written up to rev.
func (s *Store) wait(ctx context.Context, u *unit, rev uint64) (Unit, error) {
	for {
		s.mu.Lock()
		view, more := u.view(), s.watch(u)
		s.mu.Unlock()
		switch {
		case view.Released:
			return Unit{}, ErrReleased
		case view.Rev >= rev:
			return view, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return Unit{}, fmt.Errorf("unit %s cannot be written: %w", u.id, context.Cause(ctx))
		}
	}
}

// Release ends a unit's time here: it is unknown from then on, and its files are
// deleted. Whether it has ended is the caller's business.
func (s *Store) Release(id string) error {
	s.mu.Lock()
	u, err := s.find(id)
	if err != nil {
		s.mu.Unlock()
		return err
	}
	entry := s.journal.Enqueue(true, func(err error) { s.gone(u, err) },
		record(recordReleased, id, tombstone{Submission: u.spec.Submission}))
	s.mu.Unlock()
	if err := entry.Wait(); err != nil {
		return fmt.Errorf("release unit %s: %w", id, err)
	}
	// If this fails, the directory is swept up at the next start.
	if err := s.discard(id); err != nil {
		s.log.Warn("cannot remove the files of a released unit", "unit", id, "error", err)
	}
	return nil
}

// gone is called by the journal.
func (s *Store) gone(u *unit, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
		s.fail()
	case !u.released:
		s.live--
		s.bury(u)
		s.publish(u)
	}
}

// bury makes a released unit of u, and forgets the oldest if there are too many.
func (s *Store) bury(u *unit) {
	u.released = true
	u.latest, u.shown, u.entry = nil, nil, nil
	u.spec = state.Spec{Submission: u.spec.Submission}
	delete(s.stale, u.id)
	s.released = append(s.released, u)
	if len(s.released) <= maxReleased {
		return
	}
	old := s.released[0]
	s.released = s.released[1:]
	delete(s.units, old.id)
	if old.spec.Submission != "" {
		delete(s.submissions, old.spec.Submission)
	}
	if old.element != nil {
		s.recent.Remove(old.element)
	}
}

// fail notes that the journal could not take something. The caller holds s.mu.
func (s *Store) fail() {
	s.unwritten = true
	s.poke()
}

// poke wakes Run.
func (s *Store) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
