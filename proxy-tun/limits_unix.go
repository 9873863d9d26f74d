//go:build unix

package proxytun

import (
	"fmt"
	"os"
	"syscall"
)

// ownersOnly refuses a file that anybody but root could have written.
func ownersOnly(f *os.File, dir string) error {
	i, err := f.Stat()
	if err != nil {
		return err
	}
	if err := roots(i, f.Name()); err != nil {
		return err
	}
	if i, err = os.Stat(dir); err != nil {
		return err
	}
	return roots(i, dir)
}

func roots(i os.FileInfo, name string) error {
	if s, ok := i.Sys().(*syscall.Stat_t); !ok || s.Uid != 0 || i.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s has mode %04o: it must belong to root, and nobody else may be able to write it", name, i.Mode().Perm())
	}
	return nil
}
