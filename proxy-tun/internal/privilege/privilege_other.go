//go:build !linux

package privilege

// Narrow does nothing here, where there are no interfaces to be made.
func Narrow(Options) error { return nil }

// FromFile tells whether the process has its rights from its file.
func FromFile() (bool, error) { return false, nil }
