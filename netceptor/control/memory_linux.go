package control

import "syscall"

// memoryMiB is the machine's memory, 0 where the system does not tell.
func memoryMiB() uint64 {
	var i syscall.Sysinfo_t
	if syscall.Sysinfo(&i) != nil {
		return 0
	}
	//nolint:unconvert // Totalram has 32 bits on 32-bit systems.
	return uint64(i.Totalram) * uint64(i.Unit) >> 20
}
