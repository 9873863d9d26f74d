package launcher

import (
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// try does something with the rights of the user, on a thread that ends with it.
func (as *identity) try(do func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: what the thread has become it stays
		if unix.Gettid() == unix.Getpid() {
			// The first thread does not end, and the process would be the user's with it.
			// While it is held here, what is tried has another.
			result <- as.try(do)
			runtime.UnlockOSThread()
			return
		}
		err := as.becomeThread()
		if err == nil {
			err = do()
		}
		result <- err
	}()
	return <-result
}

func (as *identity) becomeThread() error {
	groups := make([]int, len(as.Groups))
	for i, g := range as.Groups {
		groups[i] = int(g)
	}
	if err := unix.Setgroups(groups); err != nil {
		return os.NewSyscallError("setgroups", err)
	}
	// The calls of the packages would be for all threads.
	gid, uid := uintptr(as.GID), uintptr(as.UID)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
		return os.NewSyscallError("setresgid", errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return os.NewSyscallError("setresuid", errno)
	}
	return nil
}

func access(path, what string) error {
	mode := map[string]uint32{canRead: unix.R_OK, canWrite: unix.W_OK | unix.X_OK, canExecute: unix.X_OK}[what]
	return unix.Access(path, mode)
}

// keepNetAdmin leaves a program that becomes another user CAP_NET_ADMIN, if there is
// that to be left: the program says what it lacks.
func keepNetAdmin(cmd *exec.Cmd) {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&h, &sets[0]); err == nil && sets[0].Permitted&(1<<unix.CAP_NET_ADMIN) != 0 {
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN}
	}
}
