//go:build !linux

package launcher

import (
	"errors"
	"os"
)

// canHold: here a process that is no child of ours is but a number, which may
// have been given to another.
const canHold = false

func hold(int) (*os.Process, error) { return nil, errors.ErrUnsupported }

func awaitEnd(*os.Process) error { return errors.ErrUnsupported }
