package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/project-receptor/receptor/workceptor/internal/fsys"
	"github.com/project-receptor/receptor/workceptor/internal/fsys/crashfs"
)

// contents are the records of a journal, as type, unit and payload, and the damage.
type contents struct {
	records []string
	damage  []Damage
}

func open(t *testing.T, disk fsys.FS) (*Journal, contents) {
	t.Helper()
	j, c, err := tryOpen(disk)
	if err != nil {
		t.Fatal(err)
	}
	return j, c
}

func tryOpen(disk fsys.FS) (*Journal, contents, error) {
	var c contents
	j, err := Open(Options{FS: disk, Dir: "j", SegmentSize: 200}, func(r Record) {
		c.records = append(c.records, fmt.Sprintf("%d %s %s", r.Type, r.Unit, r.Payload))
	}, func(d Damage) { c.damage = append(c.damage, d) })
	return j, c, err
}

func record(n int) Record {
	return Record{Type: 1, Unit: "u" + strconv.Itoa(n%3), Payload: []byte(strconv.Itoa(n))}
}

func text(n int) string { return fmt.Sprintf("1 u%d %d", n%3, n) }

func texts(from, to int) []string {
	var all []string
	for n := from; n < to; n++ {
		all = append(all, text(n))
	}
	return all
}

func write(t *testing.T, j *Journal, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := j.Enqueue(true, nil, record(n)).Wait(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatWasWrittenComesBack(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	j, _ := open(t, disk)
	write(t, j, 0, 50) // several segments
	if j.Segments() < 3 {
		t.Errorf("%d segments: the test wants several", j.Segments())
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.Enqueue(true, nil, record(0)).Wait(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	j, got := open(t, disk.Restart(1))
	if !slices.Equal(got.records, texts(0, 50)) || got.damage != nil {
		t.Errorf("came back: %v, damage %v", got.records, got.damage)
	}
	write(t, j, 50, 60)
	_, got = open(t, j.o.FS)
	if !slices.Equal(got.records, texts(0, 60)) || got.damage != nil {
		t.Errorf("came back: %v, damage %v", got.records, got.damage)
	}
}

func TestInvalidRecordHarmsNobody(t *testing.T) {
	t.Parallel()
	j, _ := open(t, crashfs.New())
	bad := j.Enqueue(true, nil, Record{Type: 1, Unit: "../../x"})
	good := j.Enqueue(true, nil, record(0))
	if err := good.Wait(); err != nil {
		t.Error(err)
	}
	if err := bad.Wait(); err == nil {
		t.Error("a path was written as a unit's name")
	}
	if _, got := open(t, j.o.FS); !slices.Equal(got.records, texts(0, 1)) {
		t.Errorf("came back: %v", got.records)
	}
}

func TestSnapshotReplaces(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	j, _ := open(t, disk)
	write(t, j, 0, 50)
	err := j.Snapshot(func(put func(Record) error) error {
		// Records that come while it is made are in neither place lost.
		write(t, j, 100, 103)
		return errors.Join(put(record(48)), put(record(49)))
	})
	if err != nil {
		t.Fatal(err)
	}
	write(t, j, 103, 104)
	entries, err := disk.ReadDir("j")
	if err != nil || len(entries) > 3 {
		t.Errorf("%d files after a snapshot, error %v", len(entries), err)
	}
	_, got := open(t, disk.Restart(2))
	if want := append(texts(48, 50), texts(100, 104)...); !slices.Equal(got.records, want) || got.damage != nil {
		t.Errorf("came back: %v, damage %v; want %v", got.records, got.damage, want)
	}
}

// Nobody knows what a failed sync has left: nothing goes on before all was
// written anew.
func TestFailureLastsUntilSnapshot(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"write", "sync", "create", "syncdir"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			disk := crashfs.New()
			j, _ := open(t, disk)
			write(t, j, 0, 3)
			disk.FailWith(func(o, _ string) error {
				if o == op {
					return syscall.EIO
				}
				return nil
			})
			var err error
			n := 3
			for ; err == nil && n < 100; n++ { // until a segment is full, for those who make files
				err = j.Enqueue(true, nil, record(n)).Wait()
			}
			if !errors.Is(err, syscall.EIO) {
				t.Fatalf("%s fails, and writing says %v", op, err)
			}
			if err := j.Snapshot(func(func(Record) error) error { return nil }); err == nil && op != "rename" {
				t.Error("a snapshot was made on a broken disk")
			}
			disk.FailWith(nil)
			if err := j.Enqueue(true, nil, record(n)).Wait(); !errors.Is(err, ErrFailed) {
				t.Errorf("after the failure: %v", err)
			}
			if err := j.Snapshot(func(put func(Record) error) error { return put(record(0)) }); err != nil {
				t.Fatal(err)
			}
			write(t, j, 200, 203)
			_, got := open(t, disk.Restart(3))
			if want := append(texts(0, 1), texts(200, 203)...); !slices.Equal(got.records, want) || got.damage != nil {
				t.Errorf("came back: %v, damage %v; want %v", got.records, got.damage, want)
			}
		})
	}
}

// countingFS counts syncs of files.
type countingFS struct {
	fsys.FS
	syncs atomic.Int32
}

type countingFile struct {
	fsys.File
	of *countingFS
}

func (c *countingFS) OpenFile(name string, flag int, perm fs.FileMode) (fsys.File, error) {
	f, err := c.FS.OpenFile(name, flag, perm)
	return countingFile{f, c}, err
}

func (c countingFile) Sync() error {
	c.of.syncs.Add(1)
	return c.File.Sync()
}

func TestManyShareOneSync(t *testing.T) {
	t.Parallel()
	disk := &countingFS{FS: crashfs.New()}
	j, err := Open(Options{FS: disk, Dir: "j"}, func(Record) {}, func(Damage) {})
	if err != nil {
		t.Fatal(err)
	}
	var order []int
	entries := make([]*Entry, 100)
	for n := range entries {
		entries[n] = j.Enqueue(true, func(err error) { order = append(order, n) }, record(n))
	}
	var all sync.WaitGroup
	for _, e := range entries {
		all.Go(func() {
			if err := e.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := disk.syncs.Load(); n != 2 { // one to begin the segment
		t.Errorf("%d syncs", n)
	}
	if !slices.IsSorted(order) || len(order) != 100 {
		t.Errorf("done in the order %v", order)
	}
}

// TestCrashAnywhere stops a journal at each change of the disk. Whatever a crash
// leaves: what was acknowledged comes back, in order, nothing is made up, no
// damage is seen, and the journal goes on.
func TestCrashAnywhere(t *testing.T) {
	t.Parallel()
	crashes := 0
	for at := 2; ; at++ {
		disk := crashfs.New()
		disk.CrashAt(at/2, at%2 == 0)
		durable := make(map[string]bool)
		attempted := 0
		if j, _, err := tryOpen(disk); err == nil {
			attempted = crashingWorkload(j, durable)
		}
		if !disk.Crashed() {
			break
		}
		for seed := range uint64(8) {
			crashes++
			after := disk.Restart(seed)
			j, got := open(t, after)
			if got.damage != nil {
				t.Fatalf("crash %d, seed %d: damage %v", at, seed, got.damage)
			}
			checkCrashed(t, fmt.Sprintf("crash %d, seed %d", at, seed), got.records, durable, attempted)
			write(t, j, 50, 53)
			// What was torn is mended: it is no damage later.
			_, again := open(t, after.Restart(seed))
			if want := append(got.records, texts(50, 53)...); !slices.Equal(again.records, want) || again.damage != nil {
				t.Fatalf("crash %d, seed %d: after going on: %v, %v", at, seed, again.records, again.damage)
			}
		}
	}
	t.Logf("%d crashes", crashes)
}

// crashingWorkload writes 24 records, every third without a sync, and makes two
// snapshots, until the disk crashes. It notes what is durable, and returns how many
// it tried.
func crashingWorkload(j *Journal, durable map[string]bool) (attempted int) {
	for n := range 24 {
		sync := n%3 != 1
		if err := j.Enqueue(sync, nil, record(n)).Wait(); err != nil {
			return n + 1
		}
		if n == 9 || n == 17 {
			err := j.Snapshot(func(put func(Record) error) error {
				for i := range n + 1 {
					if err := put(record(i)); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return n + 1
			}
			sync = true
		}
		if sync {
			for i := range n + 1 {
				durable[text(i)] = true
			}
		}
	}
	return 24
}

// checkCrashed checks what came back after a crash.
func checkCrashed(t *testing.T, where string, records []string, durable map[string]bool, attempted int) {
	t.Helper()
	attempts := texts(0, attempted)
	found := 0
	for i, r := range records {
		if !slices.Contains(attempts, r) || i > 0 && byNumber(records[i-1], r) >= 0 {
			t.Fatalf("%s: %v came back", where, records)
		}
		if durable[r] {
			found++
		}
	}
	if found != len(durable) {
		t.Fatalf("%s: %d of %d durable records came back: %v", where, found, len(durable), records)
	}
}

// TestAnyBitFlips: one bad bit costs one record at most, which is reported with
// its place unless it was the last, and keeps nothing from opening.
func TestAnyBitFlips(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	j, _ := open(t, disk)
	write(t, j, 0, 8)
	if err := j.Snapshot(func(put func(Record) error) error {
		for n := range 8 {
			if err := put(record(n)); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	write(t, j, 8, 24)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := disk.ReadDir("j")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		in, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		for bit := range in.Size() * 8 {
			flipped := disk.Restart(0)
			if err := flipped.Flip("j/"+e.Name(), bit); err != nil {
				t.Fatal(err)
			}
			_, got := open(t, flipped)
			lost := slices.DeleteFunc(texts(0, 24), func(s string) bool { return slices.Contains(got.records, s) })
			if len(lost) > 1 || len(got.records)+len(lost) != 24 || !slices.IsSortedFunc(got.records, byNumber) {
				t.Fatalf("%s, bit %d: came back %v", e.Name(), bit, got.records)
			}
			if len(lost) == 1 && lost[0] != text(23) && len(got.damage) != 1 {
				t.Fatalf("%s, bit %d: %s is lost, damage %v", e.Name(), bit, lost[0], got.damage)
			}
		}
	}
}

func byNumber(a, b string) int {
	number := func(s string) int {
		n, err := strconv.Atoi(s[strings.LastIndex(s, " ")+1:])
		if err != nil {
			panic(err)
		}
		return n
	}
	return number(a) - number(b)
}
