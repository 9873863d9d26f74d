package fsys

import (
	"errors"
	"io/fs"
	"os"
)

// OS is a directory of the system. No name and no symbolic link in it leads out.
type OS struct{ root *os.Root }

// OpenOS opens a directory, which is made if it is not there, with mode DirMode.
func OpenOS(path string) (*OS, error) {
	if err := os.MkdirAll(path, DirMode); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &OS{root: root}, nil
}

// Close closes the directory. Files opened through it stay open.
func (o *OS) Close() error { return o.root.Close() }

// OpenFile implements FS. The File is an *os.File.
func (o *OS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := o.root.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err // not a nil *os.File in an interface
	}
	return f, nil
}

// Mkdir implements FS.
func (o *OS) Mkdir(name string, perm fs.FileMode) error { return o.root.Mkdir(name, perm) }

// Rename implements FS.
func (o *OS) Rename(from, to string) error { return o.root.Rename(from, to) }

// Remove implements FS.
func (o *OS) Remove(name string) error { return o.root.Remove(name) }

// ReadDir implements FS.
func (o *OS) ReadDir(name string) ([]fs.DirEntry, error) {
	d, err := o.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer d.Close() // nothing was written
	return d.ReadDir(-1)
}

// SyncDir implements FS.
func (o *OS) SyncDir(name string) error {
	d, err := o.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(syncDir(d), d.Close())
}

// Free implements FS.
func (o *OS) Free() (free, total uint64, err error) {
	d, err := o.root.Open(".")
	if err != nil {
		return 0, 0, err
	}
	defer d.Close() // nothing was written
	return space(d)
}
