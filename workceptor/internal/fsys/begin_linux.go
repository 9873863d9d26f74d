package fsys

import (
	"os"
	"syscall"
)

// BeginSync has the system begin to write a part of a file to the disk, so that Sync
// has less to wait for. It promises nothing, and does nothing where it cannot be had.
func BeginSync(f File, from, n int64) {
	const write = 2 // SYNC_FILE_RANGE_WRITE, sync_file_range(2)
	file, ok := f.(*os.File)
	if !ok {
		return
	}
	if c, err := file.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { _ = syscall.SyncFileRange(int(fd), from, n, write) }) // Sync tells what is wrong
	}
}
