package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/project-receptor/receptor/workceptor/internal/fsys"
	"github.com/project-receptor/receptor/workceptor/internal/fsys/crashfs"
	"github.com/project-receptor/receptor/workceptor/internal/state"
)

var t0 = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// options are those of a store whose IDs and times are known.
func options(disk fsys.FS) Options {
	n := 0
	return Options{
		FS:          disk,
		Now:         func() time.Time { return t0 },
		SegmentSize: 4 << 10,
		NewID: func() string {
			n++
			return fmt.Sprintf("unit%04d", n)
		},
	}
}

func open(t *testing.T, disk fsys.FS) *Store {
	t.Helper()
	s, err := Open(options(disk))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func create(t *testing.T, s *Store, spec state.Spec) Unit {
	t.Helper()
	u, existing, err := s.Create(spec)
	if err != nil || existing {
		t.Fatalf("create: existing %v, error %v", existing, err)
	}
	return u
}

func commit(t *testing.T, s *Store, id, payload string) Unit {
	t.Helper()
	p, err := s.Receive(id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Write([]byte(payload)); err != nil {
		t.Fatal(err)
	}
	u, err := p.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func next(t *testing.T, s *Store, id string, events ...state.Event) (u Unit) {
	t.Helper()
	for _, e := range events {
		var err error
		if u, err = s.Next(t.Context(), id, e); err != nil {
			t.Fatalf("%s: %v", e.Kind, err)
		}
	}
	return u
}

func read(t *testing.T, s *Store, id, name string) string {
	t.Helper()
	if name == Stdin {
		f, err := s.OpenFile(id, name, os.O_RDONLY) // which makes a small one
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	b, err := fsys.ReadFile(s.o.FS, id+"/"+name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	handed  = state.Event{Kind: state.Handed}
	started = state.Event{Kind: state.Started, PID: 7}
	exited  = state.Event{Kind: state.Exited, Stdout: state.Output{Size: 6}}
)

func TestLifeOfAUnit(t *testing.T) {
	t.Parallel()
	for name, disk := range map[string]func(t *testing.T) fsys.FS{
		"on a disk": func(t *testing.T) fsys.FS {
			d, err := fsys.OpenOS(t.TempDir() + "/units")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.Close() })
			return d
		},
		"in memory": func(*testing.T) fsys.FS { return crashfs.New() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, disk(t))
			u := create(t, s, state.Spec{WorkType: "echo", Params: map[string]string{"params": "-n", "secret_key": "s3cret"}})
			if u.State != state.Pending || u.Phase != state.Receiving {
				t.Errorf("created as %s %s", u.State, u.Phase)
			}
			if u = commit(t, s, u.ID, "hello"); u.Phase != state.Queued || u.Stdin.Size != 5 ||
				u.Stdin.SHA256 != "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" {
				t.Errorf("with its payload: %s, %+v", u.Phase, u.Stdin)
			}
			if got := read(t, s, u.ID, Stdin); got != "hello" {
				t.Errorf("stdin holds %q", got)
			}
			next(t, s, u.ID, handed, started)
			if err := s.work(); err != nil {
				t.Fatal(err)
			}
			if got, want := read(t, s, u.ID, statusFile),
				`{"State":1,"Detail":"Running: PID 7","StdoutSize":0,"WorkType":"echo","ExtraData":{"Pid":7,"Params":"-n"}}`+"\n"; got != want {
				t.Errorf("status holds %s, want %s", got, want)
			}
			f, err := s.OpenFile(u.ID, Stdout, os.O_WRONLY|os.O_CREATE|os.O_APPEND)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write([]byte("hello\n")); err != nil {
				t.Fatal(err)
			}
			f.Close()
			out, err := s.Measure(u.ID, Stdout, nil, 0)
			if err != nil || out.Size != 6 {
				t.Errorf("measured %+v, %v", out, err)
			}
			if none, err := s.Measure(u.ID, Stderr, nil, 0); err != nil || none.Size != 0 || none.SHA256 == "" {
				t.Errorf("a file that is not there: %+v, %v", none, err)
			}
			u = next(t, s, u.ID, state.Event{Kind: state.Exited, Stdout: out})
			if u.State != state.Succeeded || u.Spec.Params["secret_key"] != "" {
				t.Errorf("ended as %s with %v", u.State, u.Spec.Params)
			}

			again, err := Open(options(s.o.FS))
			if err != nil {
				t.Fatal(err)
			}
			if v, err := again.Get(u.ID); err != nil || v.State != state.Succeeded || v.Stdout != out || len(v.History) != len(u.History) {
				t.Errorf("after a restart: %+v, %v", v, err)
			}
			if err := again.Release(u.ID); err != nil {
				t.Fatal(err)
			}
			if _, err := again.Get(u.ID); !errors.Is(err, ErrReleased) {
				t.Errorf("after its release: %v", err)
			}
			if err := again.work(); err != nil {
				t.Fatal(err)
			}
			entries, err := again.o.FS.ReadDir(".")
			if err != nil || len(entries) != 2 {
				t.Errorf("left: %v, %v", entries, err)
			}
		})
	}
}

func TestSecretsAreNotKeptForEver(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	s := open(t, disk)
	u := create(t, s, state.Spec{WorkType: "w", Params: map[string]string{"Secret_x": "s3cret", "y": "1"}})
	commit(t, s, u.ID, "")
	if err := s.work(); err != nil {
		t.Fatal(err)
	}
	if status := read(t, s, u.ID, statusFile); strings.Contains(status, "s3cret") {
		t.Errorf("the status file tells a secret: %s", status)
	}
	// Until the unit has ended its worker may need them, over a restart, too.
	s = open(t, disk)
	if v, err := s.Get(u.ID); err != nil || v.Spec.Params["Secret_x"] != "s3cret" {
		t.Fatalf("%+v, %v", v.Spec, err)
	}
	next(t, s, u.ID, handed, started, exited)
	if err := s.snapshot(); err != nil {
		t.Fatal(err)
	}
	entries, err := disk.ReadDir(journalDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if b, err := fsys.ReadFile(disk, journalDir+"/"+e.Name()); err != nil || strings.Contains(string(b), "s3cret") {
			t.Errorf("%s tells a secret of an ended unit, or cannot be read: %v", e.Name(), err)
		}
	}
	if v := open(t, disk).List()[0]; v.Spec.Params["y"] != "1" || v.State != state.Succeeded {
		t.Errorf("came back as %+v", v)
	}
}

func TestSubmissionMakesOneUnit(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	s := open(t, disk)
	ids := make([]string, 20)
	var all sync.WaitGroup
	var mu sync.Mutex
	taken := 0
	id := s.o.NewID
	s.o.NewID = func() string { mu.Lock(); defer mu.Unlock(); return id() }
	for i := range ids {
		all.Go(func() {
			u, existing, err := s.Create(state.Spec{WorkType: "w", Submission: "x"})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if !existing {
				taken++
			}
			ids[i] = u.ID
		})
	}
	all.Wait()
	if taken != 1 || len(slices.Compact(ids)) != 1 || len(s.List()) != 1 {
		t.Fatalf("%d made, ids %v", taken, ids)
	}
	s = open(t, disk)
	if u, existing, err := s.Create(state.Spec{Submission: "x"}); err != nil || !existing || u.ID != ids[0] {
		t.Errorf("after a restart: %s, %v, %v", u.ID, existing, err)
	}
	if err := s.Release(ids[0]); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := s.Create(state.Spec{Submission: "x"}); !errors.Is(err, ErrReleased) {
			t.Errorf("after the release: %v", err)
		}
		if err := s.snapshot(); err != nil {
			t.Fatal(err)
		}
		s = open(t, disk)
	}
}

func TestReleasedUnitsAreForgottenInTheEnd(t *testing.T) {
	t.Parallel()
	s := open(t, crashfs.New())
	for n := range maxReleased + 3 {
		u := create(t, s, state.Spec{WorkType: "w", Submission: fmt.Sprint(n)})
		if err := s.Release(u.ID); err != nil {
			t.Fatal(err)
		}
	}
	changed, _, _ := s.Changes(0)
	if len(changed) != maxReleased || len(s.units) != maxReleased || len(s.submissions) != maxReleased || s.recent.Len() != maxReleased {
		t.Errorf("%d changes, %d units, %d submissions are remembered", len(changed), len(s.units), len(s.submissions))
	}
	if _, err := s.Get("unit0001"); !errors.Is(err, ErrUnknown) {
		t.Errorf("the first one: %v", err)
	}
}

func TestPayloadThatComesTwice(t *testing.T) {
	t.Parallel()
	s := open(t, crashfs.New())
	u := create(t, s, state.Spec{WorkType: "w", Submission: "x"})
	hangs, err := s.Receive(u.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hangs.Write(make([]byte, maxSmall+1)); err != nil {
		t.Fatal(err)
	}
	commit(t, s, u.ID, "whole")
	if v, err := hangs.Commit(t.Context()); err != nil || v.Stdin.Size != 5 {
		t.Errorf("the late one: %+v, %v", v.Stdin, err)
	}
	gone, err := s.Receive(u.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.Write(make([]byte, maxSmall+1)); err != nil {
		t.Fatal(err)
	}
	if err := gone.Abort(); err != nil {
		t.Error(err)
	}
	if got := read(t, s, u.ID, Stdin); got != "whole" {
		t.Errorf("stdin holds %q", got)
	}
	entries, err := s.o.FS.ReadDir(u.ID)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v are left, error %v", entries, err)
	}
}

func TestSmallAndLargePayloads(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, maxSmall - 1, maxSmall, maxSmall + 1, 3 * maxSmall} {
		disk := crashfs.New()
		s := open(t, disk)
		u := create(t, s, state.Spec{WorkType: "w"})
		p, err := s.Receive(u.ID)
		if err != nil {
			t.Fatal(err)
		}
		payload := strings.Repeat("payload,", size/8+1)[:size]
		for at := 0; at < size; at += 700 {
			if _, err := p.Write([]byte(payload[at:min(size, at+700)])); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := p.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		s = open(t, disk.Restart(uint64(size)))
		next(t, s, u.ID, handed)
		if size > 0 && read(t, s, u.ID, Stdin) != payload {
			t.Errorf("%d bytes have become %d", size, len(read(t, s, u.ID, Stdin)))
		}
		if v := next(t, s, u.ID, started); v.Payload != nil || size > 0 && read(t, s, u.ID, Stdin) != payload {
			t.Errorf("%d bytes: once it runs, %d in memory", size, len(v.Payload))
		}
	}
}

func TestNewWorkIsRefusedWithoutRoom(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	s := open(t, disk)
	u := create(t, s, state.Spec{WorkType: "w"})
	disk.SetFree(100 << 20)
	_, _, err := s.Create(state.Spec{WorkType: "w"})
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "100 MiB are free") || !strings.Contains(err.Error(), "1024 MiB are kept") {
		t.Errorf("refused with %v", err)
	}
	// What is there goes on.
	commit(t, s, u.ID, "x")
	next(t, s, u.ID, handed, started, exited)
	disk.SetFree(2 << 30)
	create(t, s, state.Spec{WorkType: "w"})
}

// A disk that cannot be written refuses work, forgets nothing that happens, and
// needs nobody's help when it can be written again.
func TestBrokenDiskHeals(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	s := open(t, disk)
	running := create(t, s, state.Spec{WorkType: "w"})
	commit(t, s, running.ID, "x")
	next(t, s, running.ID, handed, started)

	broken := func(op, name string) error { return syscall.ENOSPC }
	disk.FailWith(broken)
	if _, _, err := s.Create(state.Spec{WorkType: "w"}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a unit was made: %v", err)
	}
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Next(impatient, running.ID, exited); !errors.Is(err, context.Canceled) {
		t.Errorf("an end was reported: %v", err)
	}
	if u, err := s.Get(running.ID); err != nil || u.State != state.Running {
		t.Errorf("shown as %s, %v", u.State, err)
	}
	patient := make(chan error)
	go func() {
		u, err := s.Next(context.Background(), running.ID, exited)
		if err == nil && u.State != state.Succeeded {
			err = fmt.Errorf("state %s", u.State)
		}
		patient <- err
	}()
	if err := s.work(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("work says %v", err)
	}
	disk.FailWith(nil)
	if err := s.work(); err != nil {
		t.Fatal(err)
	}
	if err := <-patient; err != nil {
		t.Error(err)
	}
	other := create(t, s, state.Spec{WorkType: "w"})
	all := open(t, disk.Restart(1)).List()
	if len(all) != 2 || all[0].ID != running.ID && all[1].ID != running.ID || s.Alarms() != nil {
		t.Errorf("after a restart: %v, want %s and %s", all, running.ID, other.ID)
	}
	for _, u := range all {
		if u.ID == running.ID && u.State != state.Succeeded {
			t.Errorf("%s is %s", u.ID, u.State)
		}
	}
}

// Submit alone heals the store, too: nobody waits for Run.
func TestSubmitHeals(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	s := open(t, disk)
	disk.FailWith(func(string, string) error { return syscall.EIO })
	for range 2 {
		if _, _, err := s.Create(state.Spec{WorkType: "w"}); err == nil {
			t.Fatal("a unit was made on a broken disk")
		}
	}
	disk.FailWith(func(op, _ string) error { // directories can be made again, and no more
		if op != "mkdir" {
			return syscall.EIO
		}
		return nil
	})
	if _, _, err := s.Create(state.Spec{WorkType: "w", Submission: "again"}); err == nil {
		t.Fatal("a unit was made on a broken disk")
	}
	if _, _, err := s.Create(state.Spec{WorkType: "w", Submission: "again"}); !errors.Is(err, ErrFull) {
		t.Errorf("error %v", err)
	}
	disk.FailWith(nil)
	create(t, s, state.Spec{WorkType: "w", Submission: "again"})
	if n := len(s.List()); n != 1 {
		t.Errorf("%d units", n)
	}
}

func TestNamesNeverBecomePaths(t *testing.T) {
	t.Parallel()
	s := open(t, crashfs.New())
	for _, id := range []string{"", "..", "../../etc", ".journal", "a/b", "short", strings.Repeat("a", 65), "unit0001\n"} {
		_, get := s.Get(id)
		_, file := s.OpenFile(id, Stdout, os.O_CREATE)
		_, payload := s.Receive(id)
		_, happen := s.Next(t.Context(), id, handed)
		for _, err := range []error{get, file, payload, happen, s.Release(id)} {
			if !errors.Is(err, ErrUnknown) {
				t.Errorf("%q: %v", id, err)
			}
		}
		bad := options(crashfs.New())
		bad.NewID = func() string { return id }
		b, err := Open(bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.Create(state.Spec{}); err == nil {
			t.Errorf("a unit is called %q", id)
		}
	}
	for range 100 {
		if id := newID(); len(id) != 8 || !validID.MatchString(id) {
			t.Fatalf("made %q", id)
		}
	}
}

func TestForeignDirectoriesAreLeftAlone(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	for _, dir := range []string{"legacy01", "orphan01"} {
		if err := disk.Mkdir(dir, fsys.DirMode); err != nil {
			t.Fatal(err)
		}
	}
	if err := fsys.WriteFile(disk, "legacy01/status", []byte(`{"State":2}`)); err != nil {
		t.Fatal(err)
	}
	if err := fsys.WriteFile(disk, "orphan01/stdin", []byte("never acknowledged")); err != nil {
		t.Fatal(err)
	}
	s := open(t, disk)
	if err := s.work(); err != nil {
		t.Fatal(err)
	}
	if _, err := fsys.ReadFile(disk, "legacy01/status"); err != nil {
		t.Error(err)
	}
	if _, err := disk.ReadDir("orphan01"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a crash has left is still there: %v", err)
	}
	s.o.NewID = func() func() string {
		ids := []string{"legacy01", "fresh001"}
		return func() string { id := ids[0]; ids = ids[1:]; return id }
	}()
	if u := create(t, s, state.Spec{}); u.ID != "fresh001" {
		t.Errorf("a new unit is called %s", u.ID)
	}
}

func TestChangesAndWatch(t *testing.T) {
	t.Parallel()
	s := open(t, crashfs.New())
	a, b := create(t, s, state.Spec{}), create(t, s, state.Spec{})
	changed, seq, more := s.Changes(0)
	if len(changed) != 2 || changed[0].ID != a.ID || changed[1].ID != b.ID {
		t.Fatalf("first: %v", changed)
	}
	_, one, err := s.Watch(a.ID)
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, b.ID, "")
	<-more
	select {
	case <-one:
		t.Error("a change of another unit wakes who waits for this one")
	default:
	}
	commit(t, s, a.ID, "")
	<-one
	next(t, s, a.ID, handed)
	changed, seq, more = s.Changes(seq)
	if len(changed) != 2 || changed[0].ID != b.ID || changed[1].ID != a.ID || changed[1].Phase != state.Starting {
		t.Fatalf("then: %v", changed)
	}
	select {
	case <-more:
		t.Error("there is more, and nothing has changed")
	default:
	}
	if err := s.Release(b.ID); err != nil {
		t.Fatal(err)
	}
	<-more
	if changed, seq, _ = s.Changes(seq); len(changed) != 1 || !changed[0].Released || changed[0].ID != b.ID {
		t.Errorf("at last: %v", changed)
	}
	// Whoever watched an earlier run is not told less.
	if changed, _, _ = s.Changes(seq + 1); len(changed) != 2 {
		t.Errorf("after what is yet to come: %v", changed)
	}
}

// Whoever asks a node that was restarted for what is new is told of all that is there:
// its numbers are beyond those of before.
func TestChangesAfterRestart(t *testing.T) {
	t.Parallel()
	disk, now := crashfs.New(), t0
	reopen := func() *Store {
		s, err := Open(Options{FS: disk, Now: func() time.Time { return now }, Reserve: 1})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := reopen()
	var a Unit
	for range 10 {
		a = create(t, s, state.Spec{})
	}
	_, seq, _ := s.Changes(0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	s = reopen()
	commit(t, s, a.ID, "") // counted from 0, only this would be new
	if changed, _, _ := s.Changes(seq); len(changed) != 10 {
		t.Errorf("%d units of 10", len(changed))
	}
}

func TestRetention(t *testing.T) {
	t.Parallel()
	unit := func(id string, end time.Duration, size int64) Unit {
		u := Unit{ID: id}
		u.State, u.Ended, u.Stdout.Size = state.Succeeded, t0.Add(end), size
		return u
	}
	running := Unit{ID: "running"}
	running.State = state.Running
	all := []Unit{unit("b", 2*time.Hour, 10), running, unit("a", time.Hour, 30), unit("c", 3*time.Hour, 20)}
	for _, test := range []struct {
		name string
		r    Retention
		want string
	}{
		{"off", Retention{}, ""},
		{"age", Retention{Age: 90 * time.Minute}, "a b"},
		{"count", Retention{Count: 2}, "a"},
		{"size", Retention{Size: 30}, "a"},
		{"a bit less", Retention{Size: 29}, "a b"},
		{"nothing left", Retention{Size: 1}, "a b c"},
	} {
		if got := strings.Join(test.r.Expired(all, t0.Add(4*time.Hour)), " "); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestRunKeepsUpAndEnds(t *testing.T) {
	t.Parallel()
	disk, err := fsys.OpenOS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	o := options(disk)
	o.NewID = nil
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		s.Run(ctx)
		close(ended)
	}()
	var last Unit
	for range 40 {
		last = create(t, s, state.Spec{WorkType: "w"})
	}
	cancel()
	<-ended
	var status state.LegacyStatus
	if err := json.Unmarshal([]byte(read(t, s, last.ID, statusFile)), &status); err != nil || status.Detail != "Waiting for Input Data" {
		t.Errorf("%+v, %v", status, err)
	}
	if n := s.journal.Segments(); n > maxSegments {
		t.Errorf("%d segments", n)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// 10,000 units list in a fraction of 100 ms.
func BenchmarkList10000(b *testing.B) {
	s, err := Open(Options{FS: crashfs.New()})
	if err != nil {
		b.Fatal(err)
	}
	for range 10_000 {
		if _, _, err := s.Create(state.Spec{WorkType: "w", Params: map[string]string{"params": "-n"}}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if n := len(s.List()); n != 10_000 {
			b.Fatal(n)
		}
	}
}

// BenchmarkOpen10000 is a restart of a node with that many units.
func BenchmarkOpen10000(b *testing.B) {
	disk := crashfs.New()
	s, err := Open(Options{FS: disk})
	if err != nil {
		b.Fatal(err)
	}
	for range 10_000 {
		if _, _, err := s.Create(state.Spec{WorkType: "w"}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if s, err := Open(Options{FS: disk}); err != nil || len(s.List()) != 10_000 {
			b.Fatal(err)
		}
	}
}

// BenchmarkSubmit32 is what 32 clients get who create units on a real disk, each
// with a payload of 100 bytes, all of it durable.
func BenchmarkSubmit32(b *testing.B) {
	disk, err := fsys.OpenOS(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer disk.Close()
	s, err := Open(Options{FS: disk, Reserve: 1})
	if err != nil {
		b.Fatal(err)
	}
	var clients sync.WaitGroup
	for range 32 {
		clients.Go(func() {
			for range b.N {
				u, _, err := s.Create(state.Spec{WorkType: "w"})
				if err != nil {
					b.Error(err)
					return
				}
				p, err := s.Receive(u.ID)
				if err == nil {
					_, err = p.Write(make([]byte, 100))
				}
				if err == nil {
					_, err = p.Commit(context.Background())
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
	b.ReportMetric(float64(32*b.N)/b.Elapsed().Seconds(), "submits/s")
}
