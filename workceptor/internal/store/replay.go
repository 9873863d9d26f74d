package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/project-receptor/receptor/workceptor/internal/fsys"
	"github.com/project-receptor/receptor/workceptor/internal/journal"
	"github.com/project-receptor/receptor/workceptor/internal/state"
)

// replay fills the index from the journal.
func (s *Store) replay() error {
	r := replayer{s: s, specs: make(map[string]bool), damaged: make(map[string]string)}
	j, err := journal.Open(journal.Options{FS: s.o.FS, Dir: journalDir, SegmentSize: s.o.SegmentSize}, r.record, r.damage)
	if err != nil {
		return err
	}
	s.journal = j
	r.finish()
	if len(s.alarms) == 0 {
		return nil
	}
	// Written anew, the journal is sound, and what was found is found only once.
	if err := s.snapshot(); err != nil {
		s.log.Warn("the journal is damaged, and cannot be written anew yet", "error", err)
	}
	return nil
}

// replayer is the state of a replay.
type replayer struct {
	s       *Store
	specs   map[string]bool   // units of which it is known what was asked for
	damaged map[string]string // units with a damaged record after their last sound one: where
}

func (r *replayer) record(rec journal.Record) {
	if !validID.MatchString(rec.Unit) {
		r.alarm(fmt.Sprintf("record of %.80q, which is no unit", rec.Unit))
		return
	}
	u := r.s.units[rec.Unit]
	if u == nil {
		u = &unit{id: rec.Unit}
		r.s.units[u.id] = u
	}
	var err error
	switch rec.Type {
	case recordSpec:
		var spec state.Spec
		if err = json.Unmarshal(rec.Payload, &spec); err == nil {
			u.spec = spec
			r.specs[u.id] = true
		}
	case recordState:
		var now state.Unit
		if err = json.Unmarshal(rec.Payload, &now); err == nil && !now.Valid() {
			err = errors.New("it makes no sense")
		}
		if err == nil {
			if u.latest == nil || u.latest.Rev < now.Rev {
				u.latest = &now
			}
			delete(r.damaged, u.id)
		}
	case recordReleased:
		var t tombstone
		if err = json.Unmarshal(rec.Payload, &t); err == nil {
			u.released = true
			u.spec.Submission = t.Submission
		}
	default:
		err = fmt.Errorf("type %d is not known here", rec.Type)
	}
	if err != nil {
		r.damaged[u.id] = "a record of it cannot be read: " + err.Error()
		r.alarm(fmt.Sprintf("unit %s: %s", u.id, r.damaged[u.id]))
	}
}

func (r *replayer) damage(d journal.Damage) {
	where := fmt.Sprintf("%s is damaged at byte %d", d.File, d.Offset)
	if validID.MatchString(d.Unit) {
		r.damaged[d.Unit] = where
		where += ", in a record of unit " + d.Unit
	}
	r.alarm(where)
}

func (r *replayer) alarm(text string) {
	const most = 100 // the log has them all
	r.s.log.Error("the unit store is damaged", "reason", text)
	if len(r.s.alarms) < most {
		r.s.alarms = append(r.s.alarms, text)
	}
}

// finish puts aside units that are not whole, and makes the index of the rest.
func (r *replayer) finish() {
	s := r.s
	for _, id := range slices.Sorted(maps.Keys(s.units)) {
		u := s.units[id]
		if u.released {
			if u.spec.Submission != "" {
				s.submissions[u.spec.Submission] = u
			}
			s.bury(u)
			continue
		}
		why, bad := r.damaged[id]
		switch {
		case bad:
		case u.latest != nil && r.specs[id]:
		case len(s.alarms) == 0:
			// A crash has torn its creation, of which nobody was told.
			delete(s.units, id)
			continue
		default:
			why, bad = "its records are not complete", true
			r.alarm(fmt.Sprintf("unit %s: %s", id, why))
		}
		if u.latest == nil {
			now := state.New(s.o.Now())
			u.latest = &now
		}
		if bad {
			now := u.latest.Quarantined(s.o.Now(), "quarantined: "+why)
			u.latest = &now
		}
		u.shown = u.latest
		if u.shown.State.Final() {
			u.spec = u.spec.WithoutSecrets()
		}
		if u.spec.Submission != "" {
			s.submissions[u.spec.Submission] = u
		}
		s.live++
	}
	// The order of the last changes is that of their times, as far as one knows.
	var all []*unit
	for _, u := range s.units {
		if !u.released {
			all = append(all, u)
		}
	}
	slices.SortFunc(all, func(a, b *unit) int { return a.lastChange().Compare(b.lastChange()) })
	for _, u := range all {
		s.publish(u)
	}
}

// lastChange is when the unit last changed.
func (u *unit) lastChange() time.Time { return u.shown.History[len(u.shown.History)-1].At }

// sweep puts into the trash what a crash has left: directories of units that are
// released, or were never acknowledged. What was not made here is left alone.
func (s *Store) sweep() error {
	if err := s.o.FS.Mkdir(trashDir, fsys.DirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	entries, err := s.o.FS.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		id := e.Name()
		if !e.IsDir() || !validID.MatchString(id) {
			continue
		}
		u := s.units[id]
		if u != nil && !u.released {
			continue
		}
		if u == nil && s.foreign(id) {
			s.log.Warn("a directory among the units is none of ours", "unit", id)
			continue
		}
		if err := s.discard(id); err != nil {
			s.log.Warn("cannot remove what a crash has left", "unit", id, "error", err)
		}
	}
	return nil
}

// foreign tells whether a directory that no record speaks of is somebody else's: a
// legacy node's unit has a status, a unit of ours that nobody was told of does not.
// Nothing is opened there: it could be a pipe, and be read for ever.
func (s *Store) foreign(id string) bool {
	entries, err := s.o.FS.ReadDir(id)
	if err != nil {
		return true // whatever it is, it stays
	}
	for _, e := range entries {
		if e.Name() != statusFile {
			continue
		}
		info, err := e.Info()
		return err != nil || !info.Mode().IsRegular() || info.Size() > 0
	}
	return false
}
