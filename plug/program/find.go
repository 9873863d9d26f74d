package program

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Find is the path of a program: as it is if there is a slash in it, else in PATH.
func Find(name, dir string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, Executable(name)
	}
	for _, v := range env {
		list, ok := strings.CutPrefix(v, "PATH=")
		if !ok {
			continue
		}
		for _, d := range filepath.SplitList(list) {
			// A relative one would have whoever can write there choose what runs.
			if path := filepath.Join(d, name); filepath.IsAbs(d) && Executable(path) == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("command %s: %w in PATH", name, fs.ErrNotExist)
}

// Executable tells why a file cannot be executed by anybody.
func Executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		return &fs.PathError{Op: "execute", Path: path, Err: fs.ErrPermission}
	}
	return nil
}
