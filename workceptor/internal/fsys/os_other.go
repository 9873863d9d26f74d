//go:build !linux && !darwin

package fsys

import (
	"math"
	"os"
)

// syncDir does nothing: these systems do not sync directories.
func syncDir(*os.File) error { return nil }

// space does not know: a full disk is noticed when a write fails.
func space(*os.File) (free, total uint64, err error) { return math.MaxUint64, math.MaxUint64, nil }
