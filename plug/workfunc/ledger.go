package workfunc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/project-receptor/receptor/plug/socket"
	"github.com/project-receptor/receptor/plug/wire"
)

// unitID is what is taken for the ID of a unit, and so for the name of a file.
var unitID = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)

// lockName is no ID of a unit.
const lockName = "lock.lock"

// ledger is the units that a worker has, on the disk: a file for each, with the last
// word on it.
type ledger struct {
	root *os.Root
	dir  *os.File // the same, to be synced
	lock io.Closer
}

func openLedger(dir string) (_ *ledger, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	l := new(ledger)
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open the directory of units: %w", err), l.close())
		}
	}()
	if l.lock, err = socket.Lock(filepath.Join(dir, lockName)); err != nil {
		return l, err
	}
	if l.root, err = os.OpenRoot(dir); err != nil {
		return l, err
	}
	l.dir, err = l.root.Open(".")
	return l, err
}

func (l *ledger) close() error {
	var errs []error
	if l.dir != nil {
		errs = append(errs, l.dir.Close())
	}
	if l.root != nil {
		errs = append(errs, l.root.Close())
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	return errors.Join(errs...)
}

// add has a unit be there before it runs. fs.ErrExist: it was there before.
func (l *ledger) add(unit string) error {
	f, err := l.root.OpenFile(unit, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), l.dir.Sync())
}

// end notes how a unit has ended.
func (l *ledger) end(u wire.Unit) error {
	text, err := json.Marshal(u)
	if err != nil {
		return err
	}
	name := u.Unit + ".new"
	f, err := l.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(l.root.Rename(name, u.Unit), l.dir.Sync())
}

// ended tells how a unit has ended that does not run: without a word on that it was
// running when an earlier process died. fs.ErrNotExist: it is not there.
func (l *ledger) ended(unit string) (u wire.Unit, err error) {
	text, err := l.root.ReadFile(unit)
	if err != nil {
		return u, err
	}
	if json.Unmarshal(text, &u) != nil || u.Unit != unit {
		u = wire.Unit{Unit: unit, State: wire.UnitLost, Reason: "the worker's process has died"}
	}
	return u, nil
}

func (l *ledger) remove(unit string) error {
	err := l.root.Remove(unit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
