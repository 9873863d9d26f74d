//go:build unix

package main

import (
	"fmt"
	"os"
	"syscall"
)

// terminate asks a process to end.
func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// stopped says what is wrong with how a process has ended that was asked to.
func stopped(err error) error {
	if err != nil {
		return fmt.Errorf("SIGTERM: expected an orderly end with status 0, got %w", err)
	}
	return nil
}
