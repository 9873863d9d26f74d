//go:build !linux

package successor

import "errors"

// Replace is not possible here: a process does not tell its command line.
func Replace(string, int) (int, error) { return 0, errors.New("not on this system") }
