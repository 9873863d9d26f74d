//go:build unix

package core

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// harden prepares the process: files are the owner's alone, and a reader of
// the log that goes away, such as a launcher that was killed, ends nothing.
func harden() {
	syscall.Umask(0o077)
	signal.Ignore(syscall.SIGPIPE)
}

// syncDir makes a renaming in the directory last.
func syncDir(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
