//go:build !linux

package control

// memoryMiB is the machine's memory, 0 where the system does not tell.
func memoryMiB() uint64 { return 0 }
