//go:build !linux

package workercommand

import (
	"context"
	"errors"

	"github.com/project-receptor/receptor/plug"
)

// run runs no units: they are kept apart, found again and ended by means of Linux.
func run(context.Context, *plug.Item) error {
	return errors.New("units of work-command run on Linux only")
}
