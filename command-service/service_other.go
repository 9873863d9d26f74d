//go:build !linux

package commandservice

import (
	"context"
	"errors"

	"github.com/project-receptor/receptor/plug"
)

// Watch does nothing here.
func Watch() (status int, done bool) { return 0, false }

// run runs no command: that none of its processes is left is brought about by means of Linux.
func run(context.Context, *plug.Item) error {
	return errors.New("command-service works on Linux only")
}
