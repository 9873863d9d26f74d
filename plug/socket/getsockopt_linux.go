//go:build amd64 || arm64 || arm || riscv64 || loong64

package socket

import (
	"syscall"
	"unsafe"
)

func getsockopt(fd uintptr, level, name int, value unsafe.Pointer, size *uint32) syscall.Errno {
	_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, uintptr(level), uintptr(name), uintptr(value), uintptr(unsafe.Pointer(size)), 0)
	return errno
}
