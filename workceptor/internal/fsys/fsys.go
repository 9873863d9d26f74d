// Package fsys is what the unit store needs of a file system: a directory that
// nothing in it can lead out of. Two things implement it: OS, which is a directory
// of the system, and crashfs, which forgets what was not synced.
//
// Names are relative to that directory and separated by slashes. Nothing is
// durable before it was synced: a file's content by its Sync, the name of a file or
// directory, new, renamed or removed, by SyncDir of the directory that it is in.
package fsys

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"
)

// FS is a directory with all that is in it. Its methods may be called concurrently.
type FS interface {
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	Mkdir(name string, perm fs.FileMode) error
	Rename(from, to string) error // replaces a file that is there, atomically
	Remove(name string) error     // a file or an empty directory
	ReadDir(name string) ([]fs.DirEntry, error)
	SyncDir(name string) error
	Free() (free, total uint64, err error) // bytes
}

// File is an open file. An *os.File is one.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.WriterAt
	io.Closer
	Stat() (fs.FileInfo, error)
	Sync() error
	Truncate(size int64) error
}

// Files are for their owner only: what units are given, and what they say, is
// nobody else's business.
const (
	DirMode  fs.FileMode = 0o700
	FileMode fs.FileMode = 0o600
)

// Scarce tells of an error whether it is for want of something that there will be more
// of: room on the disk, or descriptors.
func Scarce(err error) bool {
	return slices.ContainsFunc([]error{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE}, func(e error) bool { return errors.Is(err, e) })
}

// ReadFile returns the whole content of a file.
func ReadFile(dir FS, name string) ([]byte, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close() // nothing was written
	return io.ReadAll(f)
}

// WriteFile gives the file name a new content: whoever opens it sees the old one or
// the new one, whole. Nothing is synced.
func WriteFile(dir FS, name string, content []byte) error {
	temp := name + ".tmp"
	f, err := dir.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, FileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, dir.Remove(temp))
	}
	return dir.Rename(temp, name)
}

// RemoveAll removes what has that name, with all that is in it; nothing is fine.
func RemoveAll(dir FS, name string) error {
	err := dir.Remove(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	entries, readErr := dir.ReadDir(name)
	if readErr != nil {
		return err
	}
	for _, e := range entries {
		if err := RemoveAll(dir, path.Join(name, e.Name())); err != nil {
			return err
		}
	}
	return dir.Remove(name)
}
