// Package crashfs is a file system in memory that can crash, for tests of what
// must survive that. Of what was not synced a crash keeps what it likes: of the
// writes to a file any, whole or torn; of the changes of names any, whatever their
// order was. It is as hard as POSIX allows and harder than most disks are.
//
//	disk := crashfs.New()
//	disk.CrashAt(n, true) // the n-th change from now is the last
//	...                   // everything fails with ErrCrashed from there on
//	disk = disk.Restart(seed)
package crashfs

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/project-receptor/receptor/workceptor/internal/fsys"
)

// ErrCrashed is what everything gives after the crash.
var ErrCrashed = errors.New("crashfs: crashed")

// FS implements fsys.FS.
type FS struct {
	mu      sync.Mutex
	root    *dir
	renames []change // not synced yet
	changes int      // so far
	crashAt int      // the change that crashes; 0: none
	done    bool     // that change is made
	crashed bool
	fail    func(op, name string) error
	free    uint64
	room    int64 // bytes that files may still grow by
}

// change is a change of names, which happens as a whole.
type change []struct {
	in   *dir
	name string
	to   any // *dir or *file; nil: removed
}

type dir struct {
	now, synced map[string]any
}

func newDir() *dir { return &dir{now: map[string]any{}, synced: map[string]any{}} }

type file struct {
	now, synced []byte
	writes      []write // since the last sync
}

// write is a write, or with a nil data a truncation to at.
type write struct {
	at   int64
	data []byte
}

func (w write) apply(b []byte) []byte {
	if w.data == nil {
		return resize(b, w.at)
	}
	if end := w.at + int64(len(w.data)); end > int64(len(b)) {
		b = resize(b, end)
	}
	copy(b[w.at:], w.data)
	return b
}

func resize(b []byte, n int64) []byte {
	if n <= int64(len(b)) {
		return b[:n]
	}
	return append(b, make([]byte, n-int64(len(b)))...)
}

// New is an empty file system with all the room in the world.
func New() *FS { return &FS{root: newDir(), free: 1 << 40, room: 1 << 40} }

// CrashAt has the n-th change from now fail with the crash, after it was made or
// instead.
func (d *FS) CrashAt(n int, done bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.crashAt, d.done = d.changes+n, done
}

// Changes is how many there were: writes, truncations, syncs, and changes of names.
func (d *FS) Changes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changes
}

// Crashed tells whether it has.
func (d *FS) Crashed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.crashed
}

// FailWith has changes fail: fail is asked before each with its name ("write",
// "sync", "rename", ...). nil ends it.
func (d *FS) FailWith(fail func(op, name string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = fail
}

// SetFree sets what Free says, of a total of 1 TiB.
func (d *FS) SetFree(n uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free = n
}

// SetRoom sets how many bytes files may grow by from now on; then the disk is full.
func (d *FS) SetRoom(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = n
}

// Restart is the file system after a crash or, if it has not crashed, after the
// power has failed now. What was not synced is kept as seed has it.
func (d *FS) Restart(seed uint64) *FS {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.crashed = true
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, c := range d.renames {
		if rng.IntN(2) == 0 {
			c.sync()
		}
	}
	after := New()
	after.root = survivor(rng, d.root, map[any]any{}).(*dir)
	return after
}

// survivor is what a crash leaves of a file or directory.
func survivor(rng *rand.Rand, of any, known map[any]any) any {
	if s, ok := known[of]; ok {
		return s
	}
	switch of := of.(type) {
	case *dir:
		s := newDir()
		known[of] = s
		for _, name := range slices.Sorted(maps.Keys(of.synced)) {
			s.synced[name] = survivor(rng, of.synced[name], known)
		}
		s.now = maps.Clone(s.synced)
		return s
	case *file:
		b := slices.Clone(of.synced)
		for _, w := range of.writes {
			switch rng.IntN(3) {
			case 0: // whole
			case 1:
				continue // not at all
			default:
				if w.data != nil {
					w.data = w.data[:rng.IntN(len(w.data)+1)]
				}
			}
			b = w.apply(b)
		}
		s := &file{now: b, synced: slices.Clone(b)}
		known[of] = s
		return s
	}
	panic("neither a file nor a directory")
}

func (c change) sync() {
	for _, e := range c {
		if e.to == nil {
			delete(e.in.synced, e.name)
		} else {
			e.in.synced[e.name] = e.to
		}
	}
}

// begin counts a change. It is to be done if that says so, and fails with the
// error, after it was done or not.
func (d *FS) begin(op, name string) (do bool, err error) {
	if d.crashed {
		return false, ErrCrashed
	}
	if d.fail != nil {
		if err := d.fail(op, name); err != nil {
			return false, &fs.PathError{Op: op, Path: name, Err: err}
		}
	}
	d.changes++
	if d.changes == d.crashAt {
		d.crashed = true
		return d.done, ErrCrashed
	}
	return true, nil
}

// find returns the directory that name is in, its last element, and what is there.
func (d *FS) find(op, name string) (in *dir, last string, it any, err error) {
	if d.crashed {
		return nil, "", nil, ErrCrashed
	}
	at := d.root
	elements := strings.Split(path.Clean(name), "/")
	for _, e := range elements[:len(elements)-1] {
		next, ok := at.now[e].(*dir)
		if !ok {
			return nil, "", nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
		at = next
	}
	last = elements[len(elements)-1]
	if last == "." {
		return nil, "", d.root, nil
	}
	return at, last, at.now[last], nil
}

// rename applies a change of names.
func (d *FS) rename(c change) {
	for _, e := range c {
		if e.to == nil {
			delete(e.in.now, e.name)
		} else {
			e.in.now[e.name] = e.to
		}
	}
	d.renames = append(d.renames, c)
}

// OpenFile implements fsys.FS.
func (d *FS) OpenFile(name string, flag int, _ fs.FileMode) (fsys.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	in, last, it, err := d.find("open", name)
	if err != nil {
		return nil, err
	}
	f, isFile := it.(*file)
	switch {
	case it != nil && !isFile:
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	case it != nil && flag&os.O_EXCL != 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrExist}
	case it == nil && flag&os.O_CREATE == 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	case it == nil:
		do, err := d.begin("create", name)
		f = &file{}
		if do {
			d.rename(change{{in, last, f}})
		}
		if err != nil {
			return nil, err
		}
	case flag&os.O_TRUNC != 0:
		if err := d.write(f, name, write{}); err != nil {
			return nil, err
		}
	}
	return &handle{fs: d, file: f, name: name, appends: flag&os.O_APPEND != 0}, nil
}

// write does one write or truncation.
func (d *FS) write(f *file, name string, w write) error {
	op := "write"
	if w.data == nil {
		op = "truncate"
	}
	if w.data != nil {
		if grows := w.at + int64(len(w.data)) - int64(len(f.now)); grows > d.room {
			return &fs.PathError{Op: op, Path: name, Err: syscall.ENOSPC}
		}
	}
	do, err := d.begin(op, name)
	if do {
		before := len(f.now)
		w.data = slices.Clone(w.data)
		f.now = w.apply(f.now)
		f.writes = append(f.writes, w)
		if w.data != nil {
			d.room -= int64(len(f.now) - before)
		}
	}
	return err
}

// Mkdir implements fsys.FS.
func (d *FS) Mkdir(name string, _ fs.FileMode) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	in, last, it, err := d.find("mkdir", name)
	if err != nil {
		return err
	}
	if it != nil {
		return &fs.PathError{Op: "mkdir", Path: name, Err: fs.ErrExist}
	}
	do, err := d.begin("mkdir", name)
	if do {
		d.rename(change{{in, last, newDir()}})
	}
	return err
}

// Rename implements fsys.FS.
func (d *FS) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	in, last, it, err := d.find("rename", from)
	if err != nil {
		return err
	}
	if it == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	toIn, toLast, there, err := d.find("rename", to)
	if err != nil {
		return err
	}
	if _, isDir := there.(*dir); isDir {
		return &fs.PathError{Op: "rename", Path: to, Err: fs.ErrExist}
	}
	do, err := d.begin("rename", from)
	if do {
		d.rename(change{{toIn, toLast, it}, {in, last, nil}})
	}
	return err
}

// Remove implements fsys.FS.
func (d *FS) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	in, last, it, err := d.find("remove", name)
	if err != nil {
		return err
	}
	if it == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	if sub, ok := it.(*dir); ok && len(sub.now) > 0 {
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
	}
	do, err := d.begin("remove", name)
	if do {
		d.rename(change{{in, last, nil}})
	}
	return err
}

// ReadDir implements fsys.FS.
func (d *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _, it, err := d.find("readdir", name)
	if err != nil {
		return nil, err
	}
	of, ok := it.(*dir)
	if !ok {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	var all []fs.DirEntry
	for _, name := range slices.Sorted(maps.Keys(of.now)) {
		in := info{name: name}
		if f, ok := of.now[name].(*file); ok {
			in.size = int64(len(f.now))
		} else {
			in.mode = fs.ModeDir
		}
		all = append(all, fs.FileInfoToDirEntry(in))
	}
	return all, nil
}

// SyncDir implements fsys.FS.
func (d *FS) SyncDir(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _, it, err := d.find("sync", name)
	if err != nil {
		return err
	}
	of, ok := it.(*dir)
	if !ok {
		return &fs.PathError{Op: "sync", Path: name, Err: fs.ErrNotExist}
	}
	do, err := d.begin("syncdir", name)
	if do {
		d.renames = slices.DeleteFunc(d.renames, func(c change) bool {
			for _, e := range c {
				if e.in == of {
					c.sync()
					return true
				}
			}
			return false
		})
	}
	return err
}

// Free implements fsys.FS.
func (d *FS) Free() (free, total uint64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.free, 1 << 40, nil
}

// Flip flips one bit of a file, on the disk.
func (d *FS) Flip(name string, bit int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _, it, err := d.find("flip", name)
	if err != nil {
		return err
	}
	f, ok := it.(*file)
	if !ok || bit/8 >= int64(len(f.now)) {
		return &fs.PathError{Op: "flip", Path: name, Err: fs.ErrInvalid}
	}
	f.now[bit/8] ^= 1 << (bit % 8)
	f.synced = slices.Clone(f.now)
	f.writes = nil
	return nil
}

// handle implements fsys.File.
type handle struct {
	fs      *FS
	file    *file
	name    string
	at      int64
	appends bool
}

func (h *handle) Read(b []byte) (int, error) {
	n, err := h.ReadAt(b, h.at)
	h.at += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

func (h *handle) ReadAt(b []byte, at int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.fs.crashed {
		return 0, ErrCrashed
	}
	if at >= int64(len(h.file.now)) {
		return 0, io.EOF
	}
	n := copy(b, h.file.now[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) Write(b []byte) (int, error) {
	if h.appends {
		st, err := h.Stat()
		if err != nil {
			return 0, err
		}
		h.at = st.Size()
	}
	n, err := h.WriteAt(b, h.at)
	h.at += int64(n)
	return n, err
}

func (h *handle) WriteAt(b []byte, at int64) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.fs.write(h.file, h.name, write{at: at, data: b}); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (h *handle) Truncate(size int64) error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return h.fs.write(h.file, h.name, write{at: size})
}

func (h *handle) Sync() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	do, err := h.fs.begin("sync", h.name)
	if do {
		h.file.synced = slices.Clone(h.file.now)
		h.file.writes = nil
	}
	return err
}

func (h *handle) Close() error { return nil }

func (h *handle) Stat() (fs.FileInfo, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.fs.crashed {
		return nil, ErrCrashed
	}
	return info{name: path.Base(h.name), size: int64(len(h.file.now))}, nil
}

// info implements fs.FileInfo.
type info struct {
	name string
	size int64
	mode fs.FileMode
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }
