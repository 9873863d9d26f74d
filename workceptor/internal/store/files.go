package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math"
	"os"

	"github.com/project-receptor/receptor/workceptor/internal/fsys"
	"github.com/project-receptor/receptor/workceptor/internal/state"
)

// Files of a unit.
const (
	Stdin  = "stdin"
	Stdout = "stdout"
	Stderr = "stderr"

	statusFile = "status"
)

// OpenFile opens Stdin, Stdout or Stderr of a unit. With os.O_CREATE it is made.
func (s *Store) OpenFile(id, name string, flag int) (fsys.File, error) {
	u, err := s.Get(id)
	if err != nil {
		return nil, err
	}
	if name == Stdin && u.Payload != nil {
		if err := s.writeFile(id, name, u.Payload); err != nil {
			return nil, err
		}
	}
	return s.open(id, name, flag)
}

// open opens a file in a unit's directory, which is made if a crash has undone that.
func (s *Store) open(id, name string, flag int) (fsys.File, error) {
	f, err := s.o.FS.OpenFile(id+"/"+name, flag, fsys.FileMode)
	if flag&os.O_CREATE == 0 || !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := s.remakeDir(id); err != nil {
		return nil, err
	}
	return s.o.FS.OpenFile(id+"/"+name, flag, fsys.FileMode)
}

// writeFile gives a file in a unit's directory its content, likewise.
func (s *Store) writeFile(id, name string, content []byte) error {
	err := fsys.WriteFile(s.o.FS, id+"/"+name, content)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.remakeDir(id); err != nil {
		return err
	}
	return fsys.WriteFile(s.o.FS, id+"/"+name, content)
}

func (s *Store) remakeDir(id string) error {
	if err := s.o.FS.Mkdir(id, fsys.DirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Measure makes what is in a unit's Stdout or Stderr durable and returns its size and
// digest. The first bytes, as many as known says, have gone through h, a SHA-256; a nil
// one begins anew. A file that is not there is an empty one.
func (s *Store) Measure(id, name string, h hash.Hash, known int64) (state.Output, error) {
	f, err := s.OpenFile(id, name, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return state.Output{SHA256: digest(sha256.New())}, nil
	}
	if err != nil {
		return state.Output{}, err
	}
	defer f.Close() // nothing was written through it
	if info, err := f.Stat(); h == nil || err != nil || info.Size() < known {
		h, known = sha256.New(), 0 // also if somebody has cut it
	}
	n, err := io.Copy(h, io.NewSectionReader(f, known, math.MaxInt64-known))
	size := known + n
	if err == nil && size > 0 {
		err = s.Sync(id, f)
	}
	if err != nil {
		return state.Output{}, fmt.Errorf("measure %s of unit %s: %w", name, id, err)
	}
	return state.Output{Size: size, SHA256: digest(h)}, nil
}

// Sync makes an open file of a unit durable, with its name.
func (s *Store) Sync(id string, f fsys.File) error {
	return errors.Join(f.Sync(), s.syncDirs(id))
}

func digest(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// syncDirs makes a unit's directory and the names in it durable.
func (s *Store) syncDirs(id string) error {
	return errors.Join(s.o.FS.SyncDir(id), s.o.FS.SyncDir("."))
}

// discard moves a unit's directory into the trash, which Run empties.
func (s *Store) discard(id string) error {
	to := trashDir + "/" + id
	// A directory of that name is there if a crash has undone half of this once.
	if err := fsys.RemoveAll(s.o.FS, to); err != nil {
		return err
	}
	if err := s.o.FS.Rename(id, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.poke()
	return nil
}
