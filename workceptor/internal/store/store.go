// Package store keeps units of work so that what was acknowledged is never lost.
//
// The journal is the truth. A unit is two kinds of records in it: what was asked for,
// once, and its state, whole, after every change; the last one counts. All units are
// in memory, too, where lists and lookups are answered from.
//
// Everybody sees a unit as it was last written: what has not reached the journal has
// not happened. Creation, the payload's arrival, a wish to cancel, an end and a release
// are on the disk before anybody hears of them; that it runs is written, not synced.
//
// Each unit has a directory, named by its ID, with stdin, stdout and stderr. The file
// status in it is for people and tools that know legacy nodes. It is derived, a moment
// later, and nothing is ever read from it.
//
//	.journal/            the journal
//	.trash/ID            released, about to be deleted
//	ID/status            {"State":2,"Detail":"exit status 0",...}
//	ID/stdin             the payload, when it is whole; a small one when it is needed
//	ID/stdout, stderr    what the unit writes
package store

import (
	"container/list"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/project-receptor/receptor/workceptor/internal/fsys"
	"github.com/project-receptor/receptor/workceptor/internal/journal"
	"github.com/project-receptor/receptor/workceptor/internal/state"
)

// Options are what a store is made of. FS is needed.
type Options struct {
	FS     fsys.FS
	Logger hclog.Logger     // nil: none
	Now    func() time.Time // nil: time.Now
	NewID  func() string    // nil: 8 random letters and digits

	// Reserve is what must be free on the disk, in bytes, for new work to be taken.
	// 0: 5 % of the disk, 1 GiB at most.
	Reserve uint64

	SegmentSize int64 // of the journal; 0: its default
}

// Errors that callers tell apart.
var (
	ErrUnknown  = errors.New("unknown work unit")
	ErrReleased = errors.New("the unit has been released")
	ErrFull     = errors.New("no room for new work")
)

const (
	journalDir = ".journal"
	trashDir   = ".trash"

	// maxUnits bounds the index: some 3 kB of memory each. A node with that many has
	// submitters that do not release what they have seen.
	maxUnits = 100_000

	// maxReleased is how many released units are remembered: whoever watches learns
	// of the release, and a late repetition of a submission makes no second unit.
	maxReleased = 4096

	idLength = 8
)

var validID = regexp.MustCompile(`^[A-Za-z0-9]{8,64}$`)

// Store is an open store. Its methods may be called concurrently.
type Store struct {
	o       Options
	log     hclog.Logger
	journal *journal.Journal
	wake    chan struct{} // there is something to do for Run

	mu          sync.Mutex
	units       map[string]*unit
	submissions map[string]*unit
	live        int        // units that are shown and not released
	recent      *list.List // of *unit, in the order of their last change, the newest last
	released    []*unit    // oldest first
	seq         uint64
	more        chan struct{}       // closed at the next change
	stale       map[string]struct{} // units whose status file is to be written
	unwritten   bool                // something has happened that the journal could not take
	alarms      []string
}

// unit is a unit in the index. Its fields are guarded by the store's mutex; what
// the pointers point to never changes.
type unit struct {
	id       string
	spec     state.Spec
	latest   *state.Unit    // with all that has happened
	shown    *state.Unit    // as far as it is written; nil: nobody knows of the unit
	entry    *journal.Entry // of latest
	released bool
	payloads int  // that were begun
	claimed  bool // one of them is becoming the unit's

	seq     uint64 // of its last change that was shown
	element *list.Element
	more    chan struct{} // closed at its next change; nil: nobody waits
}

// Unit is a unit as others see it.
type Unit struct {
	ID       string
	Spec     state.Spec
	Released bool // then there is nothing else
	state.Unit
}

func (u *unit) view() Unit {
	v := Unit{ID: u.id, Spec: u.spec, Released: u.released}
	if u.shown != nil {
		v.Unit = *u.shown
	}
	return v
}

// Open opens a store. Nothing in it keeps it from opening but a disk that cannot be
// read; what was damaged is logged and in Alarms. Run is to be called.
func Open(o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.NewID == nil {
		o.NewID = newID
	}
	s := &Store{
		o: o, log: o.Logger,
		wake:  make(chan struct{}, 1),
		units: make(map[string]*unit), submissions: make(map[string]*unit),
		recent: list.New(), more: make(chan struct{}), stale: make(map[string]struct{}),
		// Beyond all of an earlier run: nobody makes a million changes a second for long.
		seq: uint64(max(0, o.Now().UnixMicro())),
	}
	if err := s.replay(); err != nil {
		return nil, fmt.Errorf("open unit store: %w", err)
	}
	if err := s.sweep(); err != nil {
		return nil, fmt.Errorf("open unit store: %w", err)
	}
	return s, nil
}

// newID is a fresh ID as legacy nodes make them.
func newID() string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	id := make([]byte, 0, idLength)
	var b [4 * idLength]byte
	for len(id) < idLength {
		_, _ = rand.Read(b[:]) // never fails
		for _, c := range b {
			if c < byte(256/len(alphabet)*len(alphabet)) && len(id) < idLength { // no letter is likelier
				id = append(id, alphabet[int(c)%len(alphabet)])
			}
		}
	}
	return string(id)
}

// Close ends the store. Run has returned by then.
func (s *Store) Close() error { return s.journal.Close() }

// Get returns a unit.
func (s *Store) Get(id string) (Unit, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.find(id)
	if err != nil {
		return Unit{}, err
	}
	return u.view(), nil
}

// find returns a unit that is shown. The caller holds s.mu.
func (s *Store) find(id string) (*unit, error) {
	u := s.units[id]
	switch {
	case u == nil || u.shown == nil && !u.released:
		return nil, ErrUnknown
	case u.released:
		return nil, ErrReleased
	}
	return u, nil
}

// List returns all units, the one that changed last at the end.
func (s *Store) List() []Unit {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Unit, 0, s.live)
	for e := s.recent.Front(); e != nil; e = e.Next() {
		if u := e.Value.(*unit); !u.released {
			all = append(all, u.view())
		}
	}
	return all
}

// Alarms tells what was found damaged, and is for somebody to look at.
func (s *Store) Alarms() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.alarms...)
}
