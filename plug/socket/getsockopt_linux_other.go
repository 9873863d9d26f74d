//go:build linux && !(amd64 || arm64 || arm || riscv64 || loong64)

package socket

import (
	"syscall"
	"unsafe"
)

// getsockopt has other numbers here; supplementary groups are not told.
func getsockopt(uintptr, int, int, unsafe.Pointer, *uint32) syscall.Errno { return syscall.ENOSYS }
