package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/project-receptor/receptor/workceptor/internal/fsys"
	"github.com/project-receptor/receptor/workceptor/internal/fsys/crashfs"
	"github.com/project-receptor/receptor/workceptor/internal/state"
)

// witness is somebody who remembers what the store has acknowledged, per unit.
type witness struct {
	units map[string]*promise
}

type promise struct {
	unit       Unit   // as it was last acknowledged to be on the disk
	payload    string // once acknowledged
	output     string // once measured in an end
	released   bool
	releasing  bool
	submission string
}

// life has units live in every way that there is, until something fails.
func (w witness) life(s *Store) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // nobody waits for a crashed disk to recover
	event := func(id string, events ...state.Event) error {
		for _, e := range events {
			u, err := s.Next(ctx, id, e)
			if err != nil {
				return err
			}
			if durable(e.Kind, u.State) {
				w.units[id].unit = u
			}
		}
		return nil
	}
	for n := range 6 {
		submission := ""
		if n%2 == 0 {
			submission = fmt.Sprint("submission ", n)
		}
		u, existing, err := s.Create(state.Spec{WorkType: "w", Submission: submission})
		if err != nil || existing {
			return errors.Join(err, fmt.Errorf("existing: %v", existing))
		}
		p := &promise{unit: u, submission: submission}
		w.units[u.ID] = p
		payload, err := s.Receive(u.ID)
		if err != nil {
			return err
		}
		for i := range n % 3 {
			// One is small, the others need files.
			part := strings.Repeat(fmt.Sprintf("part %d of the payload of %s,", i, u.ID), 1+n%4*40)
			if _, err := payload.Write([]byte(part)); err != nil {
				return err
			}
			p.payload += part
		}
		if p.unit, err = payload.Commit(ctx); err != nil {
			p.unit = u
			return err
		}
		switch n {
		case 0:
			if err := event(u.ID, handed, started); err != nil {
				return err
			}
			f, err := s.OpenFile(u.ID, Stdout, os.O_WRONLY|os.O_CREATE|os.O_APPEND)
			if err != nil {
				return err
			}
			if _, err := f.Write([]byte("output")); err != nil {
				return err
			}
			out, err := s.Measure(u.ID, Stdout, nil, 0)
			if err != nil {
				return err
			}
			p.output = "output"
			if err := event(u.ID, state.Event{Kind: state.Exited, Stdout: out}); err != nil {
				return err
			}
		case 1:
			if err := event(u.ID, handed, started, state.Event{Kind: state.CancelAsked}); err != nil {
				return err
			}
		case 2:
			if err := event(u.ID, handed, started, state.Event{Kind: state.Vanished, Reason: "r"}); err != nil {
				return err
			}
			p.releasing = true
			if err := s.Release(u.ID); err != nil {
				return err
			}
			p.released = true
		case 3:
			if err := event(u.ID, handed, started); err != nil {
				return err
			}
		case 4:
			if err := event(u.ID, state.Event{Kind: state.CancelAsked}); err != nil {
				return err
			}
		}
		if err := s.work(); err != nil {
			return err
		}
		if n == 3 {
			if err := s.snapshot(); err != nil {
				return err
			}
		}
	}
	return nil
}

// check compares a store after a crash with what was promised.
func (w witness) check(t *testing.T, where string, s *Store) {
	t.Helper()
	if alarms := s.Alarms(); alarms != nil {
		t.Fatalf("%s: alarms %q", where, alarms)
	}
	for id, p := range w.units {
		u, err := s.Get(id)
		if p.released && err == nil || !p.releasing && err != nil {
			t.Fatalf("%s: %s was promised as %+v, and is %+v, %v", where, id, p, u, err)
		}
		if err != nil {
			continue
		}
		was := p.unit
		switch {
		case was.State.Final() && !reflect.DeepEqual(plain(was), plain(u)):
			t.Fatalf("%s: %s ended as\n%+v, and is\n%+v", where, id, was.Unit, u.Unit)
		case u.Rev < was.Rev, was.CancelAsked && !u.CancelAsked:
			t.Fatalf("%s: %s went back from\n%+v to\n%+v", where, id, was.Unit, u.Unit)
		case was.Phase != state.Receiving && u.State == state.Pending && len(p.payload) > 0 && read(t, s, id, Stdin) != p.payload:
			t.Fatalf("%s: the payload of %s is %q", where, id, read(t, s, id, Stdin))
		case u.State == state.Succeeded && read(t, s, id, Stdout) != p.output:
			t.Fatalf("%s: the output of %s is %q", where, id, read(t, s, id, Stdout))
		}
		if p.submission != "" {
			if again, existing, err := s.Create(state.Spec{Submission: p.submission}); err != nil || !existing || again.ID != id {
				t.Fatalf("%s: the submission of %s now gives %s, %v, %v", where, id, again.ID, existing, err)
			}
		}
	}
	known := len(w.units)
	for _, u := range s.List() {
		if w.units[u.ID] == nil {
			known++
		}
	}
	if known > len(w.units)+1 { // one may have been made without a word
		t.Fatalf("%s: units nobody has asked for: %v", where, s.List())
	}
}

// plain is a unit without the difference that monotonic clocks make.
func plain(u Unit) string { return string(record(recordState, "x", u.Unit).Payload) }

// TestCrashAnywhere stops the store at each change of the disk, has the disk forget
// what it may, and compares what comes back with what was promised.
func TestCrashAnywhere(t *testing.T) {
	t.Parallel()
	crashes, points := 0, 0
	for at := 2; ; at++ {
		disk := crashfs.New()
		disk.CrashAt(at/2, at%2 == 0)
		w := witness{units: make(map[string]*promise)}
		if s, err := Open(options(disk)); err == nil {
			if err := w.life(s); err != nil && !disk.Crashed() {
				t.Fatal(err)
			}
		}
		if !disk.Crashed() {
			break
		}
		points++
		for i := range 2 {
			seed := uint64(2*at + i)
			crashes++
			where := fmt.Sprintf("crash %d, seed %d", at, seed)
			after := disk.Restart(seed)
			o := options(after)
			o.NewID = func() string { return fmt.Sprintf("after%03d", crashes) }
			s, err := Open(o)
			if err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			w.check(t, where, s)
			// It goes on: another unit lives, and the first ones still stand, after
			// another crash, too.
			u := create(t, s, state.Spec{WorkType: "w"})
			commit(t, s, u.ID, "more")
			next(t, s, u.ID, handed, started, exited)
			if err := s.work(); err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			again, err := Open(options(after.Restart(seed + 1)))
			if err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			if v, err := again.Get(u.ID); err != nil || v.State != state.Succeeded {
				t.Fatalf("%s: the unit after it is %+v, %v", where, v, err)
			}
			if err := again.Release(u.ID); err != nil {
				t.Fatal(err)
			}
			w.check(t, where+", and another", again)
		}
	}
	t.Logf("%d crashes at %d points", crashes, points)
}

// TestAnyBitFlips: one bad bit in the journal costs one unit at most, never hides
// one, is told of, and keeps nothing from opening.
func TestAnyBitFlips(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	o := options(disk)
	o.SegmentSize = 1 << 10
	names := []string{"alphaalpha", "bravoBRAVO", "Charlie999"}
	o.NewID = func() string { n := names[0]; names = names[1:]; return n }
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	a, b, c := create(t, s, state.Spec{WorkType: "w"}), create(t, s, state.Spec{WorkType: "w"}), create(t, s, state.Spec{WorkType: "w"})
	commit(t, s, a.ID, "a")
	next(t, s, a.ID, handed, started, exited)
	if err := s.snapshot(); err != nil {
		t.Fatal(err)
	}
	commit(t, s, b.ID, "b")
	commit(t, s, c.ID, "c")
	next(t, s, b.ID, handed, started, exited)
	next(t, s, c.ID, handed, started)
	truth := s.List()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := disk.ReadDir(journalDir)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]int) // bytes that are not the zeros after the end
	for _, e := range entries {
		content, err := fsys.ReadFile(disk, journalDir+"/"+e.Name())
		if err != nil {
			t.Fatal(err)
		}
		files[journalDir+"/"+e.Name()] = len(strings.TrimRight(string(content), "\x00"))
	}
	quarantined := 0
	for file, size := range files {
		for offset := range size {
			bit := offset*8 + offset*5%8
			flipped := disk.Restart(0)
			if err := flipped.Flip(file, int64(bit)); err != nil {
				t.Fatal(err)
			}
			s, err := Open(options(flipped))
			if err != nil {
				t.Fatalf("%s, bit %d: %v", file, bit, err)
			}
			wrong := 0
			for _, was := range truth {
				u, err := s.Get(was.ID)
				if err != nil {
					t.Fatalf("%s, bit %d: %s is gone: %v", file, bit, was.ID, err)
				}
				if plain(u) == plain(was) {
					continue
				}
				wrong++
				if u.State == state.Lost && strings.Contains(u.Reason, "quarantined") {
					quarantined++
				}
			}
			if wrong > 1 || wrong == 1 && len(s.Alarms()) == 0 || len(s.List()) != len(truth) {
				t.Fatalf("%s, bit %d: %d units are wrong, alarms %q, %d units", file, bit, wrong, s.Alarms(), len(s.List()))
			}
			create(t, s, state.Spec{WorkType: "w"})
			// What was found is found once.
			again, err := Open(options(flipped))
			if err != nil || again.Alarms() != nil {
				t.Fatalf("%s, bit %d: alarms at the next start: %q, %v", file, bit, again.Alarms(), err)
			}
		}
	}
	if quarantined == 0 {
		t.Error("no unit was ever put aside")
	}
}

// FuzzReplay: whatever is in the journal, the store opens and works.
func FuzzReplay(f *testing.F) {
	disk := crashfs.New()
	s, err := Open(options(disk))
	if err != nil {
		f.Fatal(err)
	}
	u, _, err := s.Create(state.Spec{WorkType: "w", Submission: "x"})
	if err != nil {
		f.Fatal(err)
	}
	if err := s.Release(u.ID); err != nil {
		f.Fatal(err)
	}
	entries, err := disk.ReadDir(journalDir)
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range entries {
		b, err := fsys.ReadFile(disk, journalDir+"/"+e.Name())
		if err != nil {
			f.Fatal(err)
		}
		b = []byte(strings.TrimRight(string(b), "\x00"))
		f.Add(b)
		f.Add(b[:len(b)/2])
		f.Add(slices.Concat(b, b))
		f.Add(slices.Concat(b[len(b)/2:], b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		disk := crashfs.New()
		if err := disk.Mkdir(journalDir, fsys.DirMode); err != nil {
			t.Fatal(err)
		}
		if err := fsys.WriteFile(disk, journalDir+"/0000000000000001.log", b); err != nil {
			t.Fatal(err)
		}
		o := options(disk)
		o.NewID = nil
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range s.List() {
			if !u.Valid() || !validID.MatchString(u.ID) {
				t.Fatalf("unit %+v", u)
			}
		}
		u := create(t, s, state.Spec{WorkType: "w"})
		commit(t, s, u.ID, "x")
		if err := s.work(); err != nil {
			t.Fatal(err)
		}
		if err := s.Release(u.ID); err != nil {
			t.Fatal(err)
		}
	})
}
