//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package ctl

import "golang.org/x/sys/unix"

const (
	getTermiosRequest = unix.TIOCGETA
	setTermiosRequest = unix.TIOCSETA
)
