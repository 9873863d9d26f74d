//go:build !linux

package supervisor

// Run is the program: units run on Linux only.
func Run([]string) error { return ErrUsage }
